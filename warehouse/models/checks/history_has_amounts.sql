-- Each version has an amount and a currency, except the only version of a deleted milestone that was
-- never read.
-- severity: blocking
select id, version, change_type, currency, amount_in_cents
from kantata_marts.billing_milestone_history
where (currency is null or amount_in_cents is null)
    and not (version = 1 and change_type = 'deleted')
