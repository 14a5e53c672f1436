-- One row for each milestone that is not deleted, with its project, task and invoice, and where it
-- stands. Those of projects the token's user cannot see any more keep their last values.
-- grain: id
-- index: workspace_id
-- index: date_to_invoice
--
-- id: The milestone.
-- title: Its title.
-- workspace_id: The project.
-- project: The project's title.
-- story_id: The task it depends on.
-- task: The task's title; null if it is deleted.
-- billing_type: fixed_date or upon_completion.
-- status: invoiced (it has an invoice_id, drafts included), unscheduled (no date), overdue (its date is before as_of), else scheduled.
-- date_to_invoice: When it can be invoiced; null if it is unscheduled.
-- days_overdue: Days from date_to_invoice to as_of if it is overdue, else 0.
-- currency: ISO code.
-- amount_in_cents: The amount in subunits of the currency.
-- amount: The amount in money; null if the currency is unknown.
-- invoice_id: The invoice it is on; null if it is not invoiced.
-- invoice_status: That invoice's status.
-- invoice_is_draft: Whether that invoice is a draft.
-- invoice_date: That invoice's date.
-- created_at: When it was created in Kantata.
-- updated_at: Kantata's updated_at, which does not move with every change.
-- observed_at: When its present values were first read.
-- access_lost_at: Since when its project cannot be read; null if it can.
select
    m.id,
    m.title,
    m.workspace_id,
    w.title as project,
    m.story_id,
    s.title as task,
    m.billing_type,
    case
        when m.invoice_id is not null then 'invoiced'
        when m.date_to_invoice is null then 'unscheduled'
        when m.date_to_invoice < t.as_of then 'overdue'
        else 'scheduled'
    end as status,
    m.date_to_invoice,
    case
        when m.invoice_id is null and m.date_to_invoice < t.as_of then t.as_of - m.date_to_invoice
        else 0
    end::bigint as days_overdue,
    m.currency,
    m.amount_in_cents,
    m.amount,
    m.invoice_id,
    i.status as invoice_status,
    i.draft as invoice_is_draft,
    i.invoice_date,
    m.created_at,
    m.updated_at,
    m.observed_at,
    m.access_lost_at
from kantata_stg.billing_milestones m
cross join kantata_stg.today t
left join kantata.workspaces w on w.id = m.workspace_id
left join kantata.stories s on s.id = m.story_id
left join kantata.invoices i on i.id = m.invoice_id
