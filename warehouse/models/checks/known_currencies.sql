-- The subunit of every currency is known, also of those milestones had before; else there is no amount
-- in money. It is known once `currencies` has a row for it and `milestones models` has run.
-- severity: warning
select currency, count(distinct id) as milestones
from (
    select id, currency from kantata_marts.billing_milestones where amount is null
    union all
    select id, currency
    from kantata_marts.billing_milestone_history
    where amount is null and currency is not null
) without_amount
group by currency
