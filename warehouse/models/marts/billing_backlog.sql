-- The billing backlog (dated and not invoiced) by project and currency, and by age on as_of.
-- grain: workspace_id, currency
-- metric: backlog = sum(amount) (money by currency, client, project, project_lead): The amount that has a date, past or future, and is not invoiced.
--
-- workspace_id: The project's id.
-- project: The project's title.
-- currency: ISO code.
-- milestones: The number of milestones.
-- subunits: The sum of their amounts, in minor units of the currency.
-- amount: The sum of their amounts, in money: not_due and the four age columns together. Null if the currency's minor unit is unknown.
-- not_due: The part with a date after as_of.
-- age_0_30: The part with a date on as_of or up to 30 days before.
-- age_31_60: The part with a date 31 to 60 days before as_of.
-- age_61_90: The part with a date 61 to 90 days before as_of.
-- age_over_90: The part with a date more than 90 days before as_of.
-- client_id: The id of the project's client.
-- client: The client's name; null without a client. If hidden_fields contains client: the last visible name, or null.
-- project_lead_id: The user id of the project's lead in your own company.
-- project_lead: That lead's name.
-- client_lead: The name of the project's lead at the client.
-- project_status: The project's status.
-- project_stage: The project's stage.
-- hidden_fields: As in billing_milestones.
select
    workspace_id,
    project,
    currency,
    count(*) as milestones,
    sum(amount_in_cents)::decimal(38, 0) as subunits,
    sum(amount) as amount,
    sum(case when age < 0 then amount else nothing end) as not_due,
    sum(case when age between 0 and 30 then amount else nothing end) as age_0_30,
    sum(case when age between 31 and 60 then amount else nothing end) as age_31_60,
    sum(case when age between 61 and 90 then amount else nothing end) as age_61_90,
    sum(case when age > 90 then amount else nothing end) as age_over_90,
    -- Each is the same for all milestones of a project.
    min(client_id) as client_id,
    min(client) as client,
    min(project_lead_id) as project_lead_id,
    min(project_lead) as project_lead,
    min(client_lead) as client_lead,
    min(project_status) as project_status,
    min(project_stage) as project_stage,
    min(hidden_fields) as hidden_fields
from (
    select
        m.*,
        t.as_of::date - m.date_to_invoice::date as age,
        case when m.amount is not null then 0 end as nothing
    from kantata_marts.billing_milestones m
    cross join kantata_stg.today t
    where m.status in ('scheduled', 'overdue')
) backlog
group by workspace_id, project, currency
