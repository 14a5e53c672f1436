-- How the billing backlog (scheduled, not invoiced) went from month to month, by currency, as it
-- was observed: opening + new + increased - decreased - invoiced - deleted = closing.
-- grain: month, currency
--
-- month: The first day of the month in which changes were observed, in reporting_timezone; no month is left out.
-- currency: ISO code. A milestone whose currency changed leaves the one and enters the other.
-- opening: The backlog when the month began: the closing of the month before.
-- new: First observed in this month. In the month of the first sync that is all there was.
-- increased: Amounts that rose, and milestones that got a date.
-- decreased: Amounts that fell, and milestones that lost their date.
-- invoiced: Put on an invoice, less those whose invoice was cancelled or deleted.
-- deleted: Deleted, less those that came back.
-- closing: The backlog when the month ended, or now.
with recursive steps as (
    select
        date_trunc('month', h.valid_from at time zone t.reporting_timezone)::date as month,
        coalesce(h.currency, h.previous_currency) as currency,
        h.previous_currency,
        case
            when h.version = 1 then 'new'
            when h.change_type in ('deleted', 'restored') then 'deleted'
            when (h.invoice_id is null) <> (h.previous_invoice_id is null) then 'invoiced'
            else 'changed'
        end as kind,
        case
            when h.change_type = 'deleted' then 0
            when h.invoice_id is null and h.date_to_invoice is not null then h.amount_in_cents
            else 0
        end as after,
        case
            when h.version = 1 or h.previous_change_type = 'deleted' then 0
            when h.previous_invoice_id is null and h.previous_date_to_invoice is not null
            then h.previous_amount_in_cents
            else 0
        end as before
    from kantata_marts.billing_milestone_history h
    cross join kantata_stg.today t
),

deltas as (
    select
        month,
        currency,
        kind,
        case when currency is distinct from previous_currency then after else after - before end
            as delta
    from steps
    union all
    select month, previous_currency, kind, -before from steps where currency <> previous_currency
),

movements as (
    select
        month,
        currency,
        sum(case when kind = 'new' then delta else 0 end) as new,
        sum(case when kind = 'changed' and delta > 0 then delta else 0 end) as increased,
        sum(case when kind = 'changed' and delta < 0 then -delta else 0 end) as decreased,
        sum(case when kind = 'invoiced' then -delta else 0 end) as invoiced,
        sum(case when kind = 'deleted' then -delta else 0 end) as deleted,
        sum(delta) as net
    from deltas
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
