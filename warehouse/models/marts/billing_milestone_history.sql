-- One row for each version of a milestone that was observed, with the time it was valid, and what
-- it was before. Of a deleted milestone the last version says so, with its last values.
-- grain: id, version
-- index: valid_from
-- kind: history
--
-- id: The milestone.
-- version: 1, 2, 3 … in the order they were observed.
-- change_type: created, updated, deleted or restored.
-- valid_from: When it was first observed, not when somebody changed it. Never before the last one.
-- valid_to: When the next version was observed; null for the last one.
-- title: Its title.
-- workspace_id: The project.
-- currency: ISO code.
-- amount_in_cents: The amount in subunits of the currency.
-- amount: The amount in money; null if the currency is unknown.
-- date_to_invoice: When it can be invoiced; null if it is unscheduled.
-- invoice_id: The invoice it is on; null if it is not invoiced.
-- previous_change_type: change_type of the version before; null in the first one, as all previous_…
-- previous_currency: The currency before.
-- previous_amount_in_cents: The amount before, in subunits of the currency before.
-- previous_date_to_invoice: The date before.
-- previous_invoice_id: The invoice before.
select
    v.id,
    v.version,
    v.change_type,
    -- Clocks can go back between two runs; the order of the versions cannot.
    max(v.observed_at) over versions_of as valid_from,
    case
        when lead(v.version) over versions_of is not null
        then greatest(max(v.observed_at) over versions_of, lead(v.observed_at) over versions_of)
    end as valid_to,
    v.title,
    v.workspace_id,
    v.currency,
    v.amount_in_cents,
    v.amount_in_cents::decimal(20, 0) * c.unit_per_subunit as amount,
    v.date_to_invoice,
    v.invoice_id,
    lag(v.change_type) over versions_of as previous_change_type,
    lag(v.currency) over versions_of as previous_currency,
    lag(v.amount_in_cents) over versions_of as previous_amount_in_cents,
    lag(v.date_to_invoice) over versions_of as previous_date_to_invoice,
    lag(v.invoice_id) over versions_of as previous_invoice_id
from kantata.billing_milestone_versions v
left join kantata.currencies c on c.iso_code = v.currency
where v.id in (select id from kantata_stg.changed)
window versions_of as (partition by v.id order by v.version)
