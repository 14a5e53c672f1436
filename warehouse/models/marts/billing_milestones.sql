-- One row for each milestone that is not deleted, with its project, task, invoice and status. A milestone
-- whose project the token's user can no longer read keeps its last values.
-- grain: id
-- index: workspace_id
-- index: date_to_invoice
-- metric: billed = sum(amount) where status = 'invoiced' (money by currency, client, project, project_lead): The amount on invoices, drafts included.
-- metric: billed_draft = sum(amount) where invoice_state = 'draft' (money by currency, client, project, project_lead): The amount on draft invoices.
-- metric: billed_open = sum(amount) where invoice_state = 'issued' (money by currency, client, project, project_lead): The amount on invoices that are issued and not paid.
-- metric: billed_paid = sum(amount) where invoice_state = 'paid' (money by currency, client, project, project_lead): The amount on paid invoices.
-- metric: overdue = sum(amount) where status = 'overdue' (money by currency, client, project, project_lead): The amount that is not invoiced although its date has passed.
-- metric: scheduled = sum(amount) where status = 'scheduled' (money by currency, client, project, project_lead): The amount that is not invoiced and has a date today or later.
-- metric: unscheduled = sum(amount) where status = 'unscheduled' (money by currency, client, project, project_lead): The amount that is not invoiced and has no date; it is in no backlog.
-- metric: milestones = count(*) (count by status, currency, client, project, project_lead): Milestones that are not deleted.
-- metric: days_to_invoice = avg(days_to_invoice) (days by currency, client, project, project_lead): Days from date_to_invoice to the date of the invoice, on average over milestones.
-- metric: days_to_pay = avg(days_to_pay) (days by currency, client, project, project_lead): Days from the date of the invoice to the day it was first observed as paid, on average over milestones.
--
-- id: The milestone's id.
-- title: The milestone's title.
-- workspace_id: The project's id.
-- project: The project's title.
-- story_id: The id of the task it depends on.
-- task: The title of that task; null if the task is deleted.
-- billing_type: fixed_date or upon_completion.
-- status: invoiced (has an invoice_id, even that of a draft), unscheduled (has no date), overdue (its date is before as_of), otherwise scheduled.
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
-- access_lost_at: When the token's user lost access to its project; null if the user has access.
-- client_id: The id of the project's client (its primary workspace group).
-- client: The client's name; null without a client. If hidden_fields contains client: the last visible name, or null.
-- project_lead_id: The user id of the project's lead in your own company.
-- project_lead: That lead's name.
-- client_lead: The name of the project's lead at the client.
-- project_status: The project's status, such as In Progress.
-- project_stage: The project's stage.
-- hidden_fields: The columns that Kantata hides from the token's user. Possible are client, project_lead, client_lead, project_status and project_stage. A hidden column has its last visible value, or null. If no column is hidden, hidden_fields is null.
-- invoice_state: The state of its invoice: draft, issued, paid (its status is accepted payment, and nothing is left to pay), cancelled or deleted; null without an invoice, or if the invoice was not read.
-- invoice_due_date: The date by which that invoice is to be paid.
-- days_to_invoice: Days from date_to_invoice to the invoice's date, negative if the invoice is earlier. Only for issued and paid invoices, otherwise null.
-- paid_observed_at: When the connector first observed that invoice as paid; null if it is not paid, or if it was already paid when the connector first observed it.
-- days_to_pay: Days from the invoice's date to the day of paid_observed_at. Kantata gives no date of payment.
select
    m.id,
    m.title,
    m.workspace_id,
    w.project,
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
        when m.invoice_id is null and m.date_to_invoice < t.as_of
        then t.as_of::date - m.date_to_invoice::date
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
    m.access_lost_at,
    w.client_id,
    w.client,
    w.project_lead_id,
    w.project_lead,
    w.client_lead,
    w.project_status,
    w.project_stage,
    case
        when w.workspace_id is null
        then 'client, project_lead, client_lead, project_stage, project_status'
        else w.hidden_fields
    end as hidden_fields,
    i.state as invoice_state,
    i.due_date as invoice_due_date,
    case
        when i.state in ('issued', 'paid') then i.invoice_date::date - m.date_to_invoice::date
    end::bigint as days_to_invoice,
    case when i.state = 'paid' then i.paid_observed_at end as paid_observed_at,
    case when i.state = 'paid' then i.paid_on::date - i.invoice_date::date end::bigint as days_to_pay
from kantata_stg.billing_milestones m
cross join kantata_stg.today t
left join kantata_stg.projects w on w.workspace_id = m.workspace_id
left join kantata.stories s on s.id = m.story_id
left join kantata_stg.invoices i on i.id = m.invoice_id
