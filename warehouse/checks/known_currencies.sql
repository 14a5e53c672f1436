-- Every milestone's currency is one whose subunit is known; else it has no amount in money.
-- severity: warning
select currency, count(*) as milestones, sum(amount_in_cents) as subunits
from kantata_marts.billing_milestones
where amount is null
group by currency
