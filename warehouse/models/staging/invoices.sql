-- Invoices with their state, and the day on which they were first observed as paid.
-- grain: id
select
    i.id,
    i.title,
    i.status,
    i.draft,
    case
        when i.status in ('cancelled', 'deleted') then i.status
        when i.draft then 'draft'
        when i.status = 'accepted payment' and coalesce(i.balance_in_cents, 0) = 0 then 'paid'
        else 'issued'
    end as state,
    i.currency,
    i.balance_in_cents,
    i.balance_in_cents::decimal(20, 0) * c.unit_per_subunit as balance,
    i.invoice_date,
    i.due_date,
    p.paid_observed_at,
    k.first_day as paid_on
from kantata.invoices i
left join kantata.currencies c on c.iso_code = i.currency
left join kantata.invoice_payments p on p.invoice_id = i.id
left join kantata_stg.calendar k
    on k.period = 'payment' and k.starts_at = p.paid_observed_at
