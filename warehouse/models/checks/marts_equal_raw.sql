-- The marts have the same milestones as the raw table, with the same number and sum by currency.
-- severity: blocking
with raw as (
    select currency, count(*) as milestones, sum(amount_in_cents) as subunits
    from kantata.billing_milestones
    where deleted_at is null
    group by currency
),

marts as (
    select currency, count(*) as milestones, sum(amount_in_cents) as subunits
    from kantata_marts.billing_milestones
    group by currency
)

select
    coalesce(r.currency, m.currency) as currency,
    r.milestones as raw_milestones,
    m.milestones,
    r.subunits as raw_subunits,
    m.subunits
from raw r
full join marts m on m.currency = r.currency
where r.milestones is distinct from m.milestones or r.subunits is distinct from m.subunits
