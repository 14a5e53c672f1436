-- The last version of each milestone has its current values, and is a deletion exactly if the milestone
-- is deleted or has no row.
-- severity: blocking
select
    coalesce(m.id, h.id) as id,
    m.id is not null as has_milestone,
    m.deleted_at,
    h.version,
    h.change_type,
    h.currency as version_currency,
    m.currency,
    h.amount_in_cents as version_amount_in_cents,
    m.amount_in_cents,
    h.date_to_invoice as version_date_to_invoice,
    m.date_to_invoice,
    h.invoice_id as version_invoice_id,
    m.invoice_id
from kantata.billing_milestones m
full join (select * from kantata_marts.billing_milestone_history where valid_to is null) h
    on h.id = m.id
where (coalesce(h.change_type, 'deleted') <> 'deleted')
    <> (m.id is not null and m.deleted_at is null)
    or (
        m.id is not null
        and m.deleted_at is null
        and (
            h.currency is distinct from m.currency
            or h.amount_in_cents is distinct from m.amount_in_cents
            or h.date_to_invoice is distinct from m.date_to_invoice
            or h.invoice_id is distinct from m.invoice_id
        )
    )
