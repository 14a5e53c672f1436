-- The monthly schedule contains every milestone once.
-- severity: blocking
with schedule as (
    select currency, sum(milestones) as milestones, sum(subunits) as subunits
    from kantata_marts.billing_schedule_monthly
    group by currency
),

listed as (
    select currency, count(*) as milestones, sum(amount_in_cents) as subunits
    from kantata_marts.billing_milestones
    group by currency
)

select
    coalesce(s.currency, l.currency) as currency,
    s.milestones as in_schedule,
    l.milestones,
    s.subunits as subunits_in_schedule,
    l.subunits
from schedule s
full join listed l on l.currency = s.currency
where s.milestones is distinct from l.milestones or s.subunits is distinct from l.subunits
