-- One row for each event of a change request, in order, as of the last push.
-- kind: view
-- grain: event_number
--
-- event_number: The number of the event; later events have higher numbers, across all changes.
-- change_id: The id of the change request.
-- happened_at: When it happened.
-- who: The person who did it, or a command, such as milestones push.
-- what: What happened, in words.
-- status_before: The change's status before; null when it was proposed.
-- status_after: The change's status after; equal to status_before if the step changed no status.
-- request_id: Kantata's id of the request that was sent.
-- db_user: The database user that wrote the event to the ledger, on Postgres.
-- action: create, update or delete.
-- milestone_id: The milestone's id; null for a create that was not applied.
-- workspace_id: The project's id.
-- project: The project's title.
-- currency: ISO code.
-- amount_before: The amount that the proposer saw, in money, computed with the minor unit that the currency has now.
-- amount_after: The requested amount, with the same minor unit; null if the request does not change the amount.
-- date_to_invoice_before: The date that the proposer saw.
-- date_to_invoice_after: The requested date; null if the request does not change the date.
-- fields_before: All fields that the proposer saw, as JSON.
-- fields_after: All requested fields, as JSON.
-- reason: The reason, in the proposer's words.
-- proposer: The person who proposed the change.
-- approver: The person who approved it.
-- approved_digest: The SHA-256 digest of the change as it was approved.
-- status: The current status of the change, as of the last push.
select
    e.event_number,
    e.change_id,
    e.happened_at,
    e.who,
    e.what,
    e.status_before,
    e.status_after,
    e.request_id,
    e.db_user,
    c.action,
    c.milestone_id,
    c.workspace_id,
    w.title as project,
    c.currency,
    (c.fields_before::json ->> 'amount_in_cents')::decimal(20, 0) * u.unit_per_subunit
        as amount_before,
    (c.fields_after::json ->> 'amount_in_cents')::decimal(20, 0) * u.unit_per_subunit
        as amount_after,
    (c.fields_before::json ->> 'date_to_invoice')::date as date_to_invoice_before,
    (c.fields_after::json ->> 'date_to_invoice')::date as date_to_invoice_after,
    c.fields_before,
    c.fields_after,
    c.reason,
    c.proposer,
    c.approver,
    c.approved_digest,
    c.status
from kantata.change_events e
join kantata.change_requests c on c.change_id = e.change_id
left join kantata.workspaces w on w.id = c.workspace_id
left join kantata.currencies u on u.iso_code = c.currency
