-- How the billing backlog (scheduled and not invoiced) changed from month to month, by currency, as
-- the connector observed it: opening + new + increased - decreased - invoiced - deleted = closing.
-- grain: month, currency
-- metric: billed_in_month = sum(invoiced) (money by currency, month): What was put on invoices in a month, as observed, less what was taken off.
--
-- month: The first day of the month in which the changes were observed, in reporting_timezone. Every month has a row.
-- currency: ISO code. A milestone whose currency changed leaves one currency and enters the other.
-- opening: The backlog at the start of the month, which is the closing of the month before.
-- new: Milestones first observed in this month. Those observed before the first full scan ended count unless they were invoiced: together they are the backlog that existed then.
-- increased: Amounts that rose, and milestones that got a date, or an invoice without having a date.
-- decreased: Amounts that fell, and milestones that lost their date.
-- invoiced: Milestones put on an invoice, at their amount on it, minus those taken off an invoice.
-- deleted: Milestones deleted, minus those restored.
-- closing: The backlog at the end of the month, or now.
with observed as not materialized (
    select
        h.valid_from as moment,
        h.change_type = 'deleted' as is_deleted,
        coalesce(h.previous_change_type = 'deleted', false) as was_deleted,
        h.currency,
        h.previous_currency,
        -- The amount counts if the milestone has a date or an invoice. It is in money, since two
        -- versions may have different minor units.
        case
            when h.invoice_id is not null or h.date_to_invoice is not null then h.amount
            else 0
        end as worth,
        case
            when h.previous_invoice_id is not null or h.previous_date_to_invoice is not null
            then h.previous_amount
            else 0
        end as worth_before,
        case when h.invoice_id is not null then h.amount else 0 end as billed,
        case when h.previous_invoice_id is not null then h.previous_amount else 0 end
            as billed_before,
        -- For a milestone that the first scan found on an invoice, the month of billing is unknown.
        h.version = 1 and coalesce(h.valid_from <= f.ended_at, true) as is_stock
    from kantata_marts.billing_milestone_history h
    cross join (
        select min(finished_at) as ended_at
        from kantata.sync_runs
        where status = 'proven' and mode = 'scan'
    ) f
),

-- What each version changed, in its currency and in the currency before.
moved as (
    select
        moment,
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
        0::decimal(38, 6) as deleted -- on DuckDB the column gets this type
    from observed
    where not is_deleted
    union all
    select moment, previous_currency, false, -worth_before, -billed_before, 0
    from observed
    where not is_deleted and currency <> previous_currency
    union all
    -- A milestone is deleted and restored with the values it had before.
    select
        moment,
        previous_currency,
        false,
        0,
        0,
        case when is_deleted then worth_before - billed_before else billed_before - worth_before end
    from observed
    where is_deleted <> was_deleted
),

-- All changes of one moment are one row, since a run observes many at once.
moved_at as (
    select
        moment,
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

movements as (
    select
        k.first_day as month,
        m.currency,
        sum(m.new) as new,
        sum(m.increased) as increased,
        sum(m.decreased) as decreased,
        sum(m.invoiced) as invoiced,
        sum(m.deleted) as deleted,
        sum(m.net) as net
    from moved_at m
    join kantata_stg.calendar k
        on k.period = 'month' and m.moment >= k.starts_at and m.moment < k.ends_at
    group by 1, 2
),

months as (
    select k.first_day as month, c.currency
    from (select currency, min(month) as first, max(month) as last from movements group by 1) c
    cross join kantata_stg.today t
    join kantata_stg.calendar k
        on k.period = 'month'
        and k.first_day >= c.first
        and k.first_day <= greatest(c.last, t.as_of)
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
    case when c.unit_per_subunit is not null then (b.closing - b.net)::decimal(38, 6) end as opening,
    case when c.unit_per_subunit is not null then b.new::decimal(38, 6) end as new,
    case when c.unit_per_subunit is not null then b.increased::decimal(38, 6) end as increased,
    case when c.unit_per_subunit is not null then b.decreased::decimal(38, 6) end as decreased,
    case when c.unit_per_subunit is not null then b.invoiced::decimal(38, 6) end as invoiced,
    case when c.unit_per_subunit is not null then b.deleted::decimal(38, 6) end as deleted,
    case when c.unit_per_subunit is not null then b.closing::decimal(38, 6) end as closing
from closings b
left join kantata.currencies c on c.iso_code = b.currency
