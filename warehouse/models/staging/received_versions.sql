-- The values of versions that were written before version 3 of the warehouse, when a version had only
-- the record as received. They are read from that record, once.
-- A field that a record lacks keeps the value of the version before, as in the raw table: absent is not
-- null. Only title, date_to_invoice and invoice_id can be absent; a record without another field is
-- rejected.
-- NUL, which Postgres accepts in no text, becomes U+FFFD, as in the raw table. chr(1), which JSON has
-- only escaped, temporarily replaces an escaped backslash, so that \\u0000 remains unchanged.
-- A date in the year 0000, which Postgres does not have, becomes null.
-- An amount may be written as 12.0 or 1e3, but the cast to decimal(20, 0) is some hundred times slower
-- than the one to bigint.
-- Postgres parses each record once for each of its fields. With jsonb it would not, but DuckDB has no
-- jsonb.
-- kind: step
-- grain: id, version
with parsed as (
    select
        id,
        version,
        record ->> 'title' as title,
        record ->> 'workspace_id' as workspace_id,
        record ->> 'currency' as currency,
        case
            when record ->> 'amount_in_cents' ~ '^-?[0-9]+$'
            then (record ->> 'amount_in_cents')::bigint
            else (record ->> 'amount_in_cents')::decimal(20, 0)::bigint
        end as amount_in_cents,
        case
            when record ->> 'date_to_invoice' not like '0000%'
            then (record ->> 'date_to_invoice')::date
        end as date_to_invoice,
        record ->> 'invoice_id' as invoice_id,
        -- A JSON null becomes the text null here; an SQL null means that the field is absent.
        coalesce(record ->> 'title', (record -> 'title')::text) is not null as has_title,
        coalesce(record ->> 'date_to_invoice', (record -> 'date_to_invoice')::text) is not null
            as has_date_to_invoice,
        coalesce(record ->> 'invoice_id', (record -> 'invoice_id')::text) is not null
            as has_invoice_id
    from (
        select
            id,
            version,
            case
                when strpos(raw, '\u0000') = 0 then raw
                else replace(
                    replace(replace(raw, '\\', chr(1)), '\u0000', '\ufffd'), chr(1), '\\'
                )
            end::json as record
        from kantata.billing_milestone_versions
        where amount_in_cents is null and raw is not null
    ) received
),

-- Few milestones have gaps; the others need no sorting.
gaps as (
    select distinct id
    from parsed
    where not (has_title and has_date_to_invoice and has_invoice_id)
),

counted as (
    select
        p.*,
        -- A version that has the field starts a group; the next versions that lack it belong to it.
        count(case when has_title then 1 end) over so_far as titles,
        count(case when has_date_to_invoice then 1 end) over so_far as dates,
        count(case when has_invoice_id then 1 end) over so_far as invoices
    from parsed p
    join gaps g on g.id = p.id
    window so_far as (partition by p.id order by p.version)
)

select
    p.id,
    p.version,
    p.title,
    p.workspace_id,
    p.currency,
    p.amount_in_cents,
    p.date_to_invoice,
    p.invoice_id
from parsed p
left join gaps g on g.id = p.id
where g.id is null
union all
select
    id,
    version,
    max(title) over (partition by id, titles) as title,
    workspace_id,
    currency,
    amount_in_cents,
    max(date_to_invoice) over (partition by id, dates) as date_to_invoice,
    max(invoice_id) over (partition by id, invoices) as invoice_id
from counted
