-- Each milestone that is not deleted with its amount in the reporting currency, converted at three rates:
-- that of its date, that of its month's end, and that of as_of. Empty without reporting_currency.
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
-- reporting_currency: ISO code of the currency that all columns named *_reporting are in.
-- amount_at_date_reporting: The amount at the rate of date_to_invoice, rounded to the currency's minor unit; null without a date or a rate. For a date after the last rate, that is the last rate.
-- exact_at_date_reporting: The same before rounding: sum these, and round the sum.
-- rate_at_date: That rate: what one unit of currency is worth in the reporting currency.
-- rate_date_at_date: The date of that rate.
-- rate_source_at_date: Its source: kantata, the name of the file, or same currency.
-- amount_at_month_end_reporting: The amount at the rate of the last day of the month of date_to_invoice.
-- exact_at_month_end_reporting: The same before rounding.
-- rate_at_month_end: That rate.
-- rate_date_at_month_end: The date of that rate.
-- rate_source_at_month_end: Its source.
-- amount_today_reporting: The amount at the rate of as_of.
-- exact_today_reporting: The same before rounding.
-- rate_today: That rate.
-- rate_date_today: The date of that rate.
-- rate_source_today: Its source.
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
    r.reporting_currency,
    r.rounded_at_date as amount_at_date_reporting,
    r.at_date as exact_at_date_reporting,
    r.rate_at_date,
    r.rate_date_at_date,
    r.rate_source_at_date,
    r.rounded_at_month_end as amount_at_month_end_reporting,
    r.at_month_end as exact_at_month_end_reporting,
    r.rate_at_month_end,
    r.rate_date_at_month_end,
    r.rate_source_at_month_end,
    r.rounded_today as amount_today_reporting,
    r.today as exact_today_reporting,
    r.rate_today,
    r.rate_date_today,
    r.rate_source_today
from kantata_marts.billing_milestones m
join kantata_stg.reporting_amounts r on r.id = m.id
