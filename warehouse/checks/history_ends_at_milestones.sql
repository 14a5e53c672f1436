-- The last version of each milestone has the values the milestone has.
-- severity: warning
select
    m.id,
    h.version,
    h.currency as version_currency,
    m.currency,
    h.amount_in_cents as version_amount_in_cents,
    m.amount_in_cents,
    h.date_to_invoice as version_date_to_invoice,
    m.date_to_invoice,
    h.invoice_id as version_invoice_id,
    m.invoice_id
from kantata_marts.billing_milestones m
left join kantata_marts.billing_milestone_history h on h.id = m.id and h.valid_to is null
where h.currency is distinct from m.currency
    or h.amount_in_cents is distinct from m.amount_in_cents
    or h.date_to_invoice is distinct from m.date_to_invoice
    or h.invoice_id is distinct from m.invoice_id
