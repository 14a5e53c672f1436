-- The billing backlog by month and currency. It assumes that each milestone is invoiced on its date, and each
-- overdue milestone in the month of as_of.
-- grain: month, currency
--
-- month: The first day of the month, starting with the month of as_of. Only months with milestones have a row.
-- currency: ISO code.
-- milestones: The number of milestones.
-- subunits: The sum of their amounts, in minor units of the currency.
-- amount: The sum of their amounts, in money; null if the currency's minor unit is unknown.
-- overdue: The part of amount that is overdue.
-- cumulative: The sum of amount for this month and all earlier months.
select
    month,
    currency,
    milestones,
    subunits,
    amount,
    overdue,
    sum(amount) over (partition by currency order by month) as cumulative
from (
    select
        greatest(date_trunc('month', m.date_to_invoice), date_trunc('month', t.as_of))::date
            as month,
        m.currency,
        count(*) as milestones,
        sum(m.amount_in_cents)::decimal(38, 0) as subunits,
        sum(m.amount) as amount,
        sum(case when m.status = 'overdue' or m.amount is null then m.amount else 0 end) as overdue
    from kantata_marts.billing_milestones m
    cross join kantata_stg.today t
    where m.status in ('scheduled', 'overdue')
    group by 1, 2
) months
