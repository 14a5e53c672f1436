-- All milestones that are not deleted, by month of date_to_invoice, currency and status.
-- grain: month, currency, status
--
-- month: The first day of the month; null for milestones without a date.
-- currency: ISO code.
-- status: As in billing_milestones.
-- milestones: The number of milestones.
-- subunits: The sum of their amounts, in minor units of the currency.
-- amount: The sum of their amounts, in money; null if the currency's minor unit is unknown.
select
    date_trunc('month', date_to_invoice)::date as month,
    currency,
    status,
    count(*) as milestones,
    sum(amount_in_cents)::decimal(38, 0) as subunits,
    sum(amount) as amount
from kantata_marts.billing_milestones
group by 1, 2, 3
