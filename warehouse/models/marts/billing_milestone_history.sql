-- One row for each observed version of a milestone: when it was valid, its values, and the values of
-- the version before. If a milestone is deleted, its last version is the deletion, with its last values.
-- grain: id, version
-- index: valid_from
-- kind: changed
--
-- id: The milestone's id.
-- version: 1, 2, 3 … in the order the versions were observed.
-- change_type: created, updated, deleted or restored.
-- valid_from: When the connector first observed this version, not when somebody changed the milestone. Never earlier than valid_from of the version before.
-- valid_to: When the next version was observed; null for the last version.
-- title: The milestone's title.
-- workspace_id: The project's id.
-- currency: ISO code.
-- amount_in_cents: The amount in minor units of the currency.
-- amount: The amount in money; null if the currency's minor unit is unknown.
-- date_to_invoice: The date from which it can be invoiced; null if it is unscheduled.
-- invoice_id: The id of its invoice; null if it is not invoiced.
-- previous_change_type: The change_type of the version before. All previous_… columns are null in the first version.
-- previous_currency: The currency of the version before.
-- previous_amount_in_cents: The amount of the version before, in minor units of its currency.
-- previous_date_to_invoice: The date_to_invoice of the version before.
-- previous_invoice_id: The invoice_id of the version before.
-- previous_amount: The amount of the version before, in money.
-- project: The project's title now. This and all columns below show the state of today, not that of the version.
-- client_id: The id of the project's client.
-- client: The client's name; null without a client. If hidden_fields contains client: the last visible name, or null.
-- project_lead_id: The user id of the project's lead in your own company.
-- project_lead: That lead's name.
-- client_lead: The name of the project's lead at the client.
-- project_status: The project's status.
-- project_stage: The project's stage.
-- hidden_fields: As in billing_milestones.
with versions as (
    select
        v.id,
        v.version,
        v.change_type,
        -- A clock may go back between two runs, but the order of the versions is certain.
        max(v.observed_at) over versions_of as valid_from,
        case
            when lead(v.version) over versions_of is not null
            then greatest(
                max(v.observed_at) over versions_of, lead(v.observed_at) over versions_of
            )
        end as valid_to,
        v.title,
        v.workspace_id,
        v.currency,
        v.amount_in_cents,
        v.amount_in_cents::decimal(20, 0) * coalesce(v.minor_unit, c.unit_per_subunit) as amount,
        v.date_to_invoice,
        v.invoice_id,
        lag(v.change_type) over versions_of as previous_change_type,
        lag(v.currency) over versions_of as previous_currency,
        lag(v.amount_in_cents) over versions_of as previous_amount_in_cents,
        lag(v.date_to_invoice) over versions_of as previous_date_to_invoice,
        lag(v.invoice_id) over versions_of as previous_invoice_id,
        lag(v.amount_in_cents::decimal(20, 0) * coalesce(v.minor_unit, c.unit_per_subunit))
            over versions_of as previous_amount
    from kantata.billing_milestone_versions v
    left join kantata.currencies c on c.iso_code = v.currency
    where v.id in (select id from kantata_stg.changed)
    window versions_of as (partition by v.id order by v.version)
)

-- The columns of projects come last: sorted with the versions, they would not fit into memory.
select
    v.*,
    w.project,
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
from versions v
left join kantata_stg.projects w on w.workspace_id = v.workspace_id
