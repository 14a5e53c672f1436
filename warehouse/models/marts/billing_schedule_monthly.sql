-- Milestones by month of date_to_invoice, currency and status: all that are not deleted.
-- grain: month, currency, status
--
-- month: The first day of the month; null for unscheduled ones and invoiced ones without a date.
-- currency: ISO code.
-- status: As in billing_milestones.
-- milestones: How many.
-- subunits: Their sum in subunits of the currency.
-- amount: Their sum in money; null if the currency is unknown.
select
    date_trunc('month', date_to_invoice)::date as month,
    currency,
    status,
    count(*) as milestones,
    sum(amount_in_cents)::decimal(38, 0) as subunits,
    sum(amount) as amount
from kantata_marts.billing_milestones
group by 1, 2, 3
