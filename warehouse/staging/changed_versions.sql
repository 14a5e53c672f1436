-- The versions of milestones whose history is built anew, typed; a deleted one has its last values.
-- `offset 0` keeps Postgres from parsing each record once for each of its fields.
-- grain: id, version
select
    v.id,
    v.version,
    v.change_type,
    v.observed_at,
    v.record ->> 'title' as title,
    v.record ->> 'workspace_id' as workspace_id,
    v.record ->> 'currency' as currency,
    (v.record ->> 'amount_in_cents')::decimal(20, 0)::bigint as amount_in_cents,
    (v.record ->> 'date_to_invoice')::date as date_to_invoice,
    v.record ->> 'invoice_id' as invoice_id
from (
    select id, version, change_type, observed_at, raw::json as record
    from kantata.billing_milestone_versions
    where id in (select id from kantata_stg.changed)
    offset 0
) v
