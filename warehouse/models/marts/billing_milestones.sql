-- One row for each milestone that is not deleted, with its project, task, invoice and status. A milestone
-- whose project the token's user can no longer read keeps its last values.
-- grain: id
-- index: workspace_id
-- index: date_to_invoice
--
-- id: The milestone's id.
-- title: The milestone's title.
-- workspace_id: The project's id.
-- project: The project's title.
-- story_id: The id of the task it depends on.
-- task: The title of that task; null if the task is deleted.
-- billing_type: fixed_date or upon_completion.
-- status: invoiced (has an invoice_id, also of a draft), unscheduled (has no date), overdue (its date is before as_of), otherwise scheduled.
-- date_to_invoice: The date from which it can be invoiced; null if it is unscheduled.
-- days_overdue: Days from date_to_invoice to as_of if it is overdue, otherwise 0.
-- currency: ISO code.
-- amount_in_cents: The amount in minor units of the currency.
-- amount: The amount in money; null if the currency's minor unit is unknown.
-- invoice_id: The id of its invoice; null if it is not invoiced.
-- invoice_status: The status of that invoice.
-- invoice_is_draft: Whether that invoice is a draft.
-- invoice_date: The date of that invoice.
-- created_at: When it was created in Kantata.
-- updated_at: Kantata's updated_at, which does not change with every edit.
-- observed_at: When the connector first read its current values.
-- access_lost_at: When its project became unreadable for the token's user; null if it is readable.
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
