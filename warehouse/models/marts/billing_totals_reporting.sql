-- Totals over all currencies in the reporting currency, by month, status and client. Exact amounts are
-- added, and the sum is rounded once. Empty without WAREHOUSE__REPORTING_CURRENCY.
-- To add up rows, sum the exact_… columns, and check that each without_rate_… is 0. Otherwise exact_… is null, and
-- SQL leaves nulls out of a sum.
-- grain: month, status, client_id
--
-- month: The first day of the month of date_to_invoice; null for unscheduled milestones.
-- status: As in billing_milestones.
-- client_id: The id of the client; null if the project has no client. If the client is hidden: the last visible id, or null.
-- client: The client's name.
-- reporting_currency: ISO code of the currency of all columns named *_reporting.
-- milestones: The number of milestones.
-- without_rate_at_date: The number of these milestones without a rate on their date, or without a date. If it is not 0, the sum at that rate is null.
-- amount_at_date_reporting: The sum at the rates of each date_to_invoice.
-- exact_at_date_reporting: The same sum before rounding.
-- rounding_at_date_reporting: amount_at_date_reporting minus the sum of the rounded amounts of its milestones.
-- without_rate_at_month_end: The number of milestones without a rate at their month's end, or without a date.
-- amount_at_month_end_reporting: The sum at the rates of the month's end.
-- exact_at_month_end_reporting: The same sum before rounding.
-- rounding_at_month_end_reporting: amount_at_month_end_reporting minus the sum of the rounded amounts of its milestones.
-- without_rate_today: The number of milestones without a rate on as_of.
-- amount_today_reporting: The sum at the rates of as_of.
-- exact_today_reporting: The same sum before rounding.
-- rounding_today_reporting: amount_today_reporting minus the sum of the rounded amounts of its milestones.
with sums as (
    select
        date_trunc('month', date_to_invoice)::date as month,
        status,
        client_id,
        min(client) as client,
        reporting_currency,
        count(*) as milestones,
        count(*) - count(exact_at_date_reporting) as without_rate_at_date,
        sum(exact_at_date_reporting) as at_date,
        sum(amount_at_date_reporting) as rounded_at_date,
        count(*) - count(exact_at_month_end_reporting) as without_rate_at_month_end,
        sum(exact_at_month_end_reporting) as at_month_end,
        sum(amount_at_month_end_reporting) as rounded_at_month_end,
        count(*) - count(exact_today_reporting) as without_rate_today,
        sum(exact_today_reporting) as today,
        sum(amount_today_reporting) as rounded_today
    from kantata_marts.billing_milestones_reporting
    group by 1, 2, 3, 5
),

totals as (
    select
        s.*,
        case
            when s.without_rate_at_date = 0
            then (round(s.at_date * c.subunit_to_unit::decimal(6, 0)) * c.unit_per_subunit)
        end::decimal(38, 6) as total_at_date,
        case
            when s.without_rate_at_month_end = 0
            then (round(s.at_month_end * c.subunit_to_unit::decimal(6, 0)) * c.unit_per_subunit)
        end::decimal(38, 6) as total_at_month_end,
        case
            when s.without_rate_today = 0
            then (round(s.today * c.subunit_to_unit::decimal(6, 0)) * c.unit_per_subunit)
        end::decimal(38, 6) as total_today
    from sums s
    left join kantata.currencies c on c.iso_code = s.reporting_currency
)

select
    month,
    status,
    client_id,
    client,
    reporting_currency,
    milestones,
    without_rate_at_date,
    total_at_date as amount_at_date_reporting,
    case when without_rate_at_date = 0 then at_date end as exact_at_date_reporting,
    (total_at_date - rounded_at_date)::decimal(38, 6) as rounding_at_date_reporting,
    without_rate_at_month_end,
    total_at_month_end as amount_at_month_end_reporting,
    case when without_rate_at_month_end = 0 then at_month_end end as exact_at_month_end_reporting,
    (total_at_month_end - rounded_at_month_end)::decimal(38, 6) as rounding_at_month_end_reporting,
    without_rate_today,
    total_today as amount_today_reporting,
    case when without_rate_today = 0 then today end as exact_today_reporting,
    (total_today - rounded_today)::decimal(38, 6) as rounding_today_reporting
from totals
