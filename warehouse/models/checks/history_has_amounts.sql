-- Each version tells amount and currency; only that which says of a milestone never read that it is
-- deleted does not.
-- severity: blocking
select id, version, change_type, currency, amount_in_cents
from kantata_marts.billing_milestone_history
where (currency is null or amount_in_cents is null)
    and not (version = 1 and change_type = 'deleted')
