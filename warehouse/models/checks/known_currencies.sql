-- The minor unit of every currency is known, also of currencies that milestones had before; without it
-- there is no amount in money. To add one, insert a row into `currencies` and run `milestones models`.
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
