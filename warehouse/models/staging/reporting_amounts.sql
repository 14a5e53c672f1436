-- Amounts of milestones in the reporting currency, exact and rounded to its minor unit, at three rates.
-- A rate is multiplied, never divided; each amount is rounded once, half away from zero.
-- grain: id
with converted as (
    select
        m.id,
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
    from kantata_stg.billing_milestones m
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
    *,
    (round(at_date * units) * unit)::decimal(38, 6) as rounded_at_date,
    (round(at_month_end * units) * unit)::decimal(38, 6) as rounded_at_month_end,
    (round(today * units) * unit)::decimal(38, 6) as rounded_today
from converted
