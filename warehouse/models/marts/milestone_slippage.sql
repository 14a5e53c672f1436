-- How far each milestone that is not deleted has moved since it was first observed.
-- grain: id
-- kind: changed
-- metric: slippage = avg(days_slipped) where status <> 'invoiced' (days by currency, client, project, project_lead): Days from the first date to the current date, on average over the milestones that are not invoiced.
--
-- id: The milestone's id.
-- title: The milestone's title.
-- workspace_id: The project's id.
-- project: The project's title.
-- status: As in billing_milestones.
-- currency: ISO code.
-- first_date_to_invoice: The first date that was observed; null if there never was a date.
-- date_to_invoice: The current date.
-- days_slipped: Days from the first date to the current date, negative if the current date is earlier; null if either date is missing.
-- date_moves: How often the date changed.
-- first_amount_in_cents: The first amount that was observed, in minor units of the currency at that time.
-- amount_in_cents: The current amount.
-- amount_change: The current amount minus the first, in money; null if the currency changed or its minor unit is unknown.
-- amount_moves: How often the amount or the currency changed.
-- client_id: The id of the project's client.
-- client: The client's name; null without a client. If hidden_fields contains client: the last visible name, or null.
-- project_lead_id: The user id of the project's lead in your own company.
-- project_lead: That lead's name.
-- client_lead: The name of the project's lead at the client.
-- project_status: The project's status.
-- project_stage: The project's stage.
-- hidden_fields: As in billing_milestones.
with moves as (
    select
        id,
        min(case when version = 1 then amount_in_cents end) as first_amount_in_cents,
        min(case when version = 1 then amount end) as first_amount,
        min(case when version = 1 then currency end) as first_currency,
        count(
            case
                when version > 1 and date_to_invoice is distinct from previous_date_to_invoice
                then 1
            end
        ) as date_moves,
        count(
            case
                when amount_in_cents <> previous_amount_in_cents or currency <> previous_currency
                then 1
            end
        ) as amount_moves,
        -- The date of the first version that has one: version and date in days form one number,
        -- whose minimum needs no sorting.
        min(version * 10000000 + (date_to_invoice::date - date '0001-01-01')) as first_dated
    from kantata_marts.billing_milestone_history
    where id in (select id from kantata_stg.changed)
    group by id
),

-- The columns of projects come last: joined with the moves, they would not fit into memory.
slipped as (
    select
        m.id,
        m.title,
        m.workspace_id,
        m.status,
        m.currency,
        date '0001-01-01' + (h.first_dated % 10000000)::integer as first_date_to_invoice,
        m.date_to_invoice,
        (m.date_to_invoice::date - date '0001-01-01' - h.first_dated % 10000000)::bigint as days_slipped,
        h.date_moves,
        h.first_amount_in_cents,
        m.amount_in_cents,
        case
            when h.first_currency = m.currency
            then (m.amount - h.first_amount)::decimal(32, 6)
        end as amount_change,
        h.amount_moves
    from kantata_marts.billing_milestones m
    join moves h on h.id = m.id
)

select
    s.id,
    s.title,
    s.workspace_id,
    w.project,
    s.status,
    s.currency,
    s.first_date_to_invoice,
    s.date_to_invoice,
    s.days_slipped,
    s.date_moves,
    s.first_amount_in_cents,
    s.amount_in_cents,
    s.amount_change,
    s.amount_moves,
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
    end as hidden_fields
from slipped s
left join kantata_stg.projects w on w.workspace_id = s.workspace_id
