-- The forecast contains the whole backlog, and the backlog every scheduled or overdue milestone.
-- severity: blocking
with forecast as (
    select currency, sum(milestones) as milestones, sum(subunits) as subunits
    from kantata_marts.billing_forecast
    group by currency
),

backlog as (
    select currency, sum(milestones) as milestones, sum(subunits) as subunits
    from kantata_marts.billing_backlog
    group by currency
),

listed as (
    select currency, count(*) as milestones, sum(amount_in_cents) as subunits
    from kantata_marts.billing_milestones
    where status in ('scheduled', 'overdue')
    group by currency
)

select
    coalesce(f.currency, b.currency, l.currency) as currency,
    f.milestones as in_forecast,
    b.milestones as in_backlog,
    l.milestones,
    f.subunits as subunits_in_forecast,
    b.subunits as subunits_in_backlog,
    l.subunits
from listed l
full join forecast f on f.currency = l.currency
full join backlog b on b.currency = l.currency
where l.milestones is distinct from f.milestones
    or l.milestones is distinct from b.milestones
    or l.subunits is distinct from f.subunits
    or l.subunits is distinct from b.subunits
