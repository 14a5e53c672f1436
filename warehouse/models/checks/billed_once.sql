-- No milestone is on two invoices that count. Drafts and cancelled invoices do not count.
-- severity: warning
select
    l.billing_milestone_id,
    count(*) as invoices,
    string_agg(l.invoice_id, ', ' order by l.invoice_id) as invoice_ids
from kantata.billing_milestone_invoices l
join kantata.invoices i on i.id = l.invoice_id
join kantata_marts.billing_milestones m on m.id = l.billing_milestone_id
where l.removed_at is null
    and i.draft is distinct from true
    and i.status is distinct from 'cancelled'
group by l.billing_milestone_id
having count(*) > 1
