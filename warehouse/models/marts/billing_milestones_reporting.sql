-- Each milestone that is not deleted, with its amount in the reporting currency at three rates: the rate of its
-- date, of its month's end, and of as_of. Empty without WAREHOUSE__REPORTING_CURRENCY.
-- grain: id
--
-- id: The milestone's id.
-- workspace_id: The project's id.
-- project: The project's title.
-- client_id: The id of the project's client.
-- client: The client's name.
-- project_lead: The name of the project's lead.
-- status: As in billing_milestones.
-- invoice_state: As in billing_milestones.
-- date_to_invoice: The date from which it can be invoiced; null if it is unscheduled.
-- currency: ISO code of the milestone.
-- amount: The amount in that currency.
-- reporting_currency: ISO code of the currency of all columns named *_reporting.
-- amount_at_date_reporting: The amount at the rate of date_to_invoice, rounded to the minor unit of the reporting currency; null without a date or a rate. For a date after the last rate, the last rate is used.
-- exact_at_date_reporting: The same amount before rounding. For a total, sum these and round the sum.
-- rate_at_date: The rate that was used: what one unit of currency is worth in the reporting currency.
-- rate_date_at_date: The date of that rate.
-- rate_source_at_date: The source of that rate: kantata, the name of your file of rates, or same currency.
-- amount_at_month_end_reporting: The amount at the rate of the last day of the month of date_to_invoice.
-- exact_at_month_end_reporting: The same amount before rounding.
-- rate_at_month_end: The rate that was used.
-- rate_date_at_month_end: The date of that rate.
-- rate_source_at_month_end: The source of that rate.
-- amount_today_reporting: The amount at the rate of as_of.
-- exact_today_reporting: The same amount before rounding.
-- rate_today: The rate that was used.
-- rate_date_today: The date of that rate.
-- rate_source_today: The source of that rate.
-- Amounts are multiplied by a rate, never divided. Each amount is rounded once, half away from zero.
with converted as (
    select
        m.id,
        m.workspace_id,
        m.project,
        m.client_id,
        m.client,
        m.project_lead,
        m.status,
        m.invoice_state,
        m.date_to_invoice,
        m.currency,
        m.amount,
        t.reporting_currency,
        c.subunit_to_unit::decimal(6, 0) as units,
        c.unit_per_subunit as unit,
        (m.amount * d.rate)::decimal(38, 16) as at_date,
        d.rate as rate_at_date,
        d.rate_date as rate_date_at_date,
        d.rate_source as rate_source_at_date,
        (m.amount * e.rate)::decimal(38, 16) as at_month_end,
        e.rate as rate_at_month_end,
        e.rate_date as rate_date_at_month_end,
        e.rate_source as rate_source_at_month_end,
        (m.amount * n.rate)::decimal(38, 16) as today,
        n.rate as rate_today,
        n.rate_date as rate_date_today,
        n.rate_source as rate_source_today
    from kantata_marts.billing_milestones m
    join kantata_stg.today t on t.reporting_currency is not null
    left join kantata.currencies c on c.iso_code = t.reporting_currency
    left join kantata_stg.rates d on d.currency = m.currency and d.day = m.date_to_invoice
    left join kantata_stg.rates e
        on e.currency = m.currency
        and e.day = (
            date_trunc('month', m.date_to_invoice) + interval '1 month' - interval '1 day'
        )::date
    left join kantata_stg.rates n on n.currency = m.currency and n.day = t.as_of
)

select
    id,
    workspace_id,
    project,
    client_id,
    client,
    project_lead,
    status,
    invoice_state,
    date_to_invoice,
    currency,
    amount,
    reporting_currency,
    (round(at_date * units) * unit)::decimal(38, 6) as amount_at_date_reporting,
    at_date as exact_at_date_reporting,
    rate_at_date,
    rate_date_at_date,
    rate_source_at_date,
    (round(at_month_end * units) * unit)::decimal(38, 6) as amount_at_month_end_reporting,
    at_month_end as exact_at_month_end_reporting,
    rate_at_month_end,
    rate_date_at_month_end,
    rate_source_at_month_end,
    (round(today * units) * unit)::decimal(38, 6) as amount_today_reporting,
    today as exact_today_reporting,
    rate_today,
    rate_date_today,
    rate_source_today
from converted
