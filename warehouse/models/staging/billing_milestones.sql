-- Milestones that are not deleted, with their amount in money.
-- grain: id
select
    m.id,
    m.title,
    m.workspace_id,
    m.story_id,
    m.billing_type,
    m.date_to_invoice,
    m.currency,
    m.amount_in_cents,
    m.amount_in_cents::decimal(20, 0) * c.unit_per_subunit as amount,
    m.invoice_id,
    m.created_at,
    m.updated_at,
    m.observed_at,
    m.access_lost_at
from kantata.billing_milestones m
left join kantata.currencies c on c.iso_code = m.currency
where m.deleted_at is null
