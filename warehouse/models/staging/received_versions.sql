-- The values of versions that were written before version 3 of the warehouse, when a version had only
-- its record as received: read from that, once.
-- A field that a record lacks has the value of the version before, as it has in the raw table: absent
-- is not null. Only those that title, date_to_invoice or invoice_id can be; without the others a record
-- is rejected.
-- NUL, which Postgres takes into no text, becomes U+FFFD, as in the raw table; chr(1), which JSON has
-- only escaped, stands meanwhile for an escaped backslash, so that \\u0000 stays what it is.
-- A year 0000, which Postgres does not know, is no date.
-- An amount can be 12.0 or 1e3, but text becomes decimal(20, 0) some hundred times slower than bigint.
-- Postgres parses each record once for each of its fields: its jsonb would be faster, and DuckDB has
-- none.
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
        -- A null is a JSON null here, and no field is none.
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

-- Few milestones have gaps; all others are spared the sorting.
gaps as (
    select distinct id
    from parsed
    where not (has_title and has_date_to_invoice and has_invoice_id)
),

counted as (
    select
        p.*,
        -- A version that has the field begins a group, with those after it that lack it.
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
