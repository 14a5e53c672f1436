-- The slippage contains every milestone once, with its current status and amount.
-- severity: blocking
with slippage as (
    select currency, status, count(*) as milestones, sum(amount_in_cents) as subunits
    from kantata_marts.milestone_slippage
    group by currency, status
),

listed as (
    select currency, status, count(*) as milestones, sum(amount_in_cents) as subunits
    from kantata_marts.billing_milestones
    group by currency, status
)

select
    coalesce(s.currency, l.currency) as currency,
    coalesce(s.status, l.status) as status,
    s.milestones as in_slippage,
    l.milestones,
    s.subunits as subunits_in_slippage,
    l.subunits
from slippage s
full join listed l on l.currency = s.currency and l.status = s.status
where s.milestones is distinct from l.milestones or s.subunits is distinct from l.subunits
