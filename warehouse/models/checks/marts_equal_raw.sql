-- The milestones of the marts are those of the raw table: as many, and the same sum.
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
