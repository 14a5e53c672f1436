-- Open invoices with milestones on them. An invoice is open if it is issued, and its balance is not 0 or is hidden by
-- Kantata. Each row has the milestones' amounts next to the balance. An invoice may also bill hours, expenses or taxes,
-- and payments lower its balance. Kantata shows neither what else was billed nor what a payment was for.
-- grain: invoice_id
-- metric: receivables = sum(balance) (money by currency, client, age): The amount left to pay of issued invoices with milestones on them.
-- metric: past_due = sum(balance) where days_past_due > 0 (money by currency, client, age): The amount left to pay of issued invoices with milestones on them, after their due date.
--
-- invoice_id: The invoice's id.
-- invoice: The invoice's title.
-- client_id: The id of the client; null if the projects of its milestones have several clients or none.
-- client: The client's name; null if there are several clients or none. If hidden_fields contains client: the last visible name, or null.
-- hidden_fields: As in billing_milestones, taken from one of its milestones that has hidden fields.
-- currency: ISO code of the invoice.
-- invoice_date: The invoice's date.
-- due_date: The date by which it is to be paid; null if there is no such date.
-- days_past_due: Days from due_date to as_of, negative if the invoice is not due yet; null without due_date.
-- age: How long the invoice is past due: not due, 1-30 days, 31-60 days, 61-90 days, over 90 days, or no due date.
-- balance_in_cents: What is left to pay, in minor units of the currency; null if Kantata does not show it.
-- balance: What is left to pay, in money.
-- milestones: The number of milestones on the invoice in its currency.
-- milestone_amount: The sum of their amounts, in money, before any payment.
-- other_milestones: The number of milestones on the invoice in another currency; milestone_amount leaves them out.
-- other_at_least: The part of the balance that exceeds milestone_amount, or 0. At least this part does not come from milestones. If payments already covered a part of the milestones, the true part is larger. Null if other_milestones is not 0, or if the balance or the minor unit is unknown.
-- projects: The number of projects of its milestones.
with billed as (
    select
        m.invoice_id,
        min(m.client_id) as client_id,
        min(m.client) as client,
        max(m.hidden_fields) as hidden_fields,
        count(case when m.currency = i.currency then 1 end) as milestones,
        count(case when m.currency is distinct from i.currency then 1 end) as other_milestones,
        sum(case when m.currency = i.currency then m.amount end) as milestone_amount,
        count(distinct m.workspace_id) as projects,
        count(distinct coalesce(m.client_id, '')) as clients
    from kantata_marts.billing_milestones m
    join kantata_stg.invoices i on i.id = m.invoice_id
    where i.state = 'issued'
    group by m.invoice_id
)

select
    i.id as invoice_id,
    i.title as invoice,
    case when b.clients = 1 then b.client_id end as client_id,
    case when b.clients = 1 then b.client end as client,
    b.hidden_fields,
    i.currency,
    i.invoice_date,
    i.due_date,
    (t.as_of::date - i.due_date::date)::bigint as days_past_due,
    case
        when i.due_date is null then 'no due date'
        when t.as_of <= i.due_date then 'not due'
        when t.as_of::date - i.due_date::date <= 30 then '1-30 days'
        when t.as_of::date - i.due_date::date <= 60 then '31-60 days'
        when t.as_of::date - i.due_date::date <= 90 then '61-90 days'
        else 'over 90 days'
    end as age,
    i.balance_in_cents,
    i.balance::decimal(38, 6) as balance,
    b.milestones,
    b.milestone_amount::decimal(38, 6) as milestone_amount,
    b.other_milestones,
    case
        when b.other_milestones = 0 and i.balance - b.milestone_amount is not null
        then greatest(i.balance - b.milestone_amount, 0)
    end::decimal(38, 6) as other_at_least,
    b.projects
from billed b
join kantata_stg.invoices i on i.id = b.invoice_id
cross join kantata_stg.today t
where i.balance_in_cents is distinct from 0
