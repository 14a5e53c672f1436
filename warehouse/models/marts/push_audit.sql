-- Everything that happened to a change request, in order: one row for each event, as of the last push.
-- kind: view
-- grain: event_number
--
-- event_number: Rises with time, over all changes.
-- change_id: The change request.
-- happened_at: When.
-- who: Who did it: a person, or milestones push.
-- what: What happened, in words.
-- status_before: The change's status before; null when it was proposed.
-- status_after: Its status after; the same for a remark.
-- request_id: Kantata's name for the request that was sent.
-- db_user: The ledger's database user, on Postgres.
-- action: create, update or delete.
-- milestone_id: The milestone; null of a create that was not applied.
-- workspace_id: Its project.
-- project: The project's title.
-- currency: ISO code.
-- amount_before: As the proposer saw it, in the currency.
-- amount_after: As asked, in the currency; null if it was not to change.
-- date_to_invoice_before: As the proposer saw it.
-- date_to_invoice_after: As asked; null if it was not to change.
-- fields_before: All that the proposer saw, as JSON.
-- fields_after: All that was asked, as JSON.
-- reason: Why, in the proposer's words.
-- proposer: Who asked.
-- approver: Who approved it.
-- approved_digest: SHA-256 of what was approved.
-- status: How far the change has come.
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
