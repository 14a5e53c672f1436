-- How the billing backlog (dated and not invoiced) changed from month to month, by currency, as
-- the connector observed it: opening + new + increased - decreased - invoiced - deleted = closing.
-- grain: month, currency
-- metric: billed_in_month = sum(invoiced) (money by currency, month): The amounts put on invoices in a month, as observed, minus the amounts taken off.
--
-- month: The first day of the month in which the changes were observed, in reporting_timezone. Every month has a row.
-- currency: ISO code. A milestone whose currency changed leaves one currency and enters the other.
-- opening: The backlog at the start of the month; equal to closing of the month before.
-- new: Amounts of milestones first observed in this month, with a date or an invoice. The backlog that the first full scan found is included. Milestones that this scan found on an invoice are not.
-- increased: Rises of amounts, and the whole amounts of undated milestones as soon as they get a date or an invoice. If they get an invoice, the amount is also in invoiced, so closing does not change.
-- decreased: Falls of amounts, and the whole amounts of milestones that lost their date and are not on an invoice.
-- invoiced: Amounts put on invoices, minus amounts taken off invoices.
-- deleted: Amounts of deleted milestones that are not on an invoice, minus those of restored ones.
-- closing: The backlog at the end of the month, or now.
with moved_at as (
    -- All changes of one moment are one row, since a run observes many at once.
    select
        moment,
        currency,
        sum(new) as new,
        sum(increased) as increased,
        sum(decreased) as decreased,
        sum(invoiced) as invoiced,
        sum(deleted) as deleted,
        sum(net) as net
    from kantata_stg.backlog_movements
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
