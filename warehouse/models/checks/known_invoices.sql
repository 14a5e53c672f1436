-- The invoice of every invoiced milestone was read.
-- severity: warning
select m.id, m.invoice_id
from kantata_marts.billing_milestones m
left join kantata.invoices i on i.id = m.invoice_id
where m.invoice_id is not null and i.id is null
