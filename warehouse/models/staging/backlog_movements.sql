-- What each observed version of a milestone changed in the billing backlog, in its currency and in the
-- currency before, which may be several rows. The bridge sums them by month, and the close of a month by
-- client.
-- kind: step
with observed as not materialized (
    select
        h.id,
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
        h.version = 1 and coalesce(h.valid_from <= f.observed_until, true) as is_stock
    from kantata_marts.billing_milestone_history h
    cross join (
        -- By the clock of observations. Runs of earlier releases have only the time of their machine.
        select max(coalesce(observed_until, finished_at)) as observed_until
        from kantata.sync_runs
        where run_id = (
            select min(run_id) from kantata.sync_runs where status = 'proven' and mode = 'scan'
        )
    ) f
),

-- What each version changed, in its currency and in the currency before.
moved as (
    select
        id,
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
    select id, moment, previous_currency, false, -worth_before, -billed_before, 0
    from observed
    where not is_deleted and currency <> previous_currency
    union all
    -- A milestone is deleted and restored with the values it had before.
    select
        id,
        moment,
        previous_currency,
        false,
        0,
        0,
        case when is_deleted then worth_before - billed_before else billed_before - worth_before end
    from observed
    where is_deleted <> was_deleted
)

select
    id,
    moment,
    currency,
    case when is_new then worth else 0 end as new,
    case when not is_new then greatest(worth, 0) else 0 end as increased,
    case when not is_new then greatest(-worth, 0) else 0 end as decreased,
    billed as invoiced,
    deleted,
    worth - billed - deleted as net
from moved
where currency is not null
