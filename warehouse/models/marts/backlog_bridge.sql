-- How the billing backlog (scheduled, not invoiced) went from month to month, by currency, as it
-- was observed: opening + new + increased - decreased - invoiced - deleted = closing.
-- grain: month, currency
--
-- month: The first day of the month in which changes were observed, in reporting_timezone; no month is left out.
-- currency: ISO code. A milestone whose currency changed leaves the one and enters the other.
-- opening: The backlog when the month began: the closing of the month before.
-- new: First observed in this month; until the first scan ended, those that were not invoiced: all the backlog there was.
-- increased: Amounts that rose, and milestones that got a date, or an invoice without one.
-- decreased: Amounts that fell, and milestones that lost their date.
-- invoiced: Put on an invoice, at the amount it is there, less what came off one.
-- deleted: Deleted, less those that came back.
-- closing: The backlog when the month ended, or now.
with recursive observed as not materialized (
    select
        date_trunc('month', h.valid_from at time zone t.reporting_timezone)::date as month,
        h.change_type = 'deleted' as is_deleted,
        coalesce(h.previous_change_type = 'deleted', false) as was_deleted,
        h.currency,
        h.previous_currency,
        -- What it brings: it is in the backlog if it has a date, and then or without one billed.
        case
            when h.invoice_id is not null or h.date_to_invoice is not null then h.amount_in_cents
            else 0
        end as worth,
        case
            when h.previous_invoice_id is not null or h.previous_date_to_invoice is not null
            then h.previous_amount_in_cents
            else 0
        end as worth_before,
        case when h.invoice_id is not null then h.amount_in_cents else 0 end as billed,
        case when h.previous_invoice_id is not null then h.previous_amount_in_cents else 0 end
            as billed_before,
        -- Nobody knows when that was billed which the first scan found on an invoice.
        h.version = 1 and coalesce(h.valid_from <= f.ended_at, true) as is_stock
    from kantata_marts.billing_milestone_history h
    cross join kantata_stg.today t
    cross join (
        select min(finished_at) as ended_at
        from kantata.sync_runs
        where status = 'proven' and mode = 'scan'
    ) f
),

-- What each version moved, of the currency it has and of the one it had.
moved as (
    select
        month,
        currency,
        previous_currency is null as is_new,
        case
            when is_stock then worth - billed
            when currency is distinct from previous_currency then worth
            else worth - worth_before
        end as worth,
        case
            when is_stock then 0
            when currency is distinct from previous_currency then billed
            else billed - billed_before
        end as billed,
        0::bigint as deleted -- its type is that of the whole column on DuckDB
    from observed
    where not is_deleted
    union all
    select month, previous_currency, false, -worth_before, -billed_before, 0
    from observed
    where not is_deleted and currency <> previous_currency
    union all
    -- It goes and comes back with what it had before.
    select
        month,
        previous_currency,
        false,
        0,
        0,
        case when is_deleted then worth_before - billed_before else billed_before - worth_before end
    from observed
    where is_deleted <> was_deleted
),

movements as (
    select
        month,
        currency,
        sum(case when is_new then worth else 0 end) as new,
        sum(case when not is_new and worth > 0 then worth else 0 end) as increased,
        sum(case when not is_new and worth < 0 then -worth else 0 end) as decreased,
        sum(billed) as invoiced,
        sum(deleted) as deleted,
        sum(worth - billed - deleted) as net
    from moved
    where currency is not null
    group by 1, 2
),

months as (
    select
        currency,
        min(month) as month,
        greatest(
            max(month), (select date_trunc('month', as_of)::date from kantata_stg.today)
        ) as last
    from movements
    group by currency
    union all
    select currency, (month + interval '1 month')::date, last from months where month < last
),

closings as (
    select
        n.month,
        n.currency,
        coalesce(m.new, 0) as new,
        coalesce(m.increased, 0) as increased,
        coalesce(m.decreased, 0) as decreased,
        coalesce(m.invoiced, 0) as invoiced,
        coalesce(m.deleted, 0) as deleted,
        coalesce(m.net, 0) as net,
        sum(coalesce(m.net, 0)) over (partition by n.currency order by n.month) as closing
    from months n
    left join movements m on m.month = n.month and m.currency = n.currency
)

select
    b.month,
    b.currency,
    (b.closing - b.net)::decimal(26, 0) * c.unit_per_subunit as opening,
    b.new::decimal(26, 0) * c.unit_per_subunit as new,
    b.increased::decimal(26, 0) * c.unit_per_subunit as increased,
    b.decreased::decimal(26, 0) * c.unit_per_subunit as decreased,
    b.invoiced::decimal(26, 0) * c.unit_per_subunit as invoiced,
    b.deleted::decimal(26, 0) * c.unit_per_subunit as deleted,
    b.closing::decimal(26, 0) * c.unit_per_subunit as closing
from closings b
left join kantata.currencies c on c.iso_code = b.currency
