-- The last closing of the backlog bridge equals the billing backlog.
-- severity: blocking
with ends as (
    select distinct on (currency) currency, closing
    from kantata_marts.backlog_bridge
    order by currency, month desc
),

backlog as (
    select currency, sum(amount) as amount from kantata_marts.billing_backlog group by currency
)

select coalesce(e.currency, b.currency) as currency, e.closing, b.amount as backlog
from ends e
full join backlog b on b.currency = e.currency
where coalesce(e.closing, 0) <> coalesce(b.amount, 0)
