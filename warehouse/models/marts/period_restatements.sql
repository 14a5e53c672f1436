-- Each milestone whose amount in a closed month differs now from the amount that was frozen. A milestone counts by
-- its own date and by the date of its invoice. A milestone that changed its client or currency has two rows.
-- kind: view
-- grain: month, client_id, currency, milestone_id
--
-- month: The first day of the closed month.
-- client_id: The id of the client.
-- client: The client's name.
-- currency: ISO code.
-- milestone_id: The milestone's id.
-- title: The milestone's title; null if it is deleted.
-- workspace_id: The project's id; null if the milestone is deleted.
-- project: The project's title; null if the milestone is deleted.
-- dated_before: Its amount at the close if its date was in the month, otherwise 0.
-- dated_after: Its amount now if its date is in the month, otherwise 0.
-- billed_before: Its amount at the close if it was on an issued or paid invoice dated in the month, otherwise 0.
-- billed_after: Its amount now if it is on such an invoice, otherwise 0.
-- date_to_invoice_before: Its date at the close; null in the row of its new client or currency.
-- date_to_invoice_after: Its date now; null if it is deleted.
-- invoice_id_before: Its invoice at the close.
-- invoice_id_after: Its invoice now.
-- invoice_date_before: The date of that invoice at the close.
-- invoice_date_after: The date of its invoice now.
-- invoice_state_before: The state of that invoice at the close.
-- invoice_state_after: The state of its invoice now.
-- observed_at: When the connector first observed the cause of the difference: the new version of the milestone, or the present values of the invoice or of the project.
-- observed_run_id: The run that made this observation.
-- closed_at: When the month was closed.
-- closed_by: Who closed it.
-- closed_run_id: The run whose state was frozen.
-- closed_timezone: The reporting_timezone at the close.
with closes as (
    select c.*, (c.month + interval '1 month')::date as next_month
    from kantata.period_closes c
    where not exists (select 1 from kantata.period_reopens r where r.close_number = c.close_number)
),

-- Milestones with a date, or an invoice of a date, in a closed month.
present_ids as (
    select c.close_number, m.id
    from closes c
    join kantata_marts.billing_milestones m
        on date_trunc('month', m.date_to_invoice)::date = c.month
    union
    select c.close_number, m.id
    from closes c
    join kantata_marts.billing_milestones m on date_trunc('month', m.invoice_date)::date = c.month
),

-- What was frozen of a milestone, and what it is now.
sides as (
    select
        f.close_number,
        f.milestone_id,
        f.client_id,
        f.client,
        f.currency,
        true as is_frozen,
        f.amount_in_cents,
        f.amount,
        f.date_to_invoice,
        f.invoice_id,
        f.invoice_date,
        f.invoice_state
    from kantata.period_close_milestones f
    union all
    select
        p.close_number,
        p.id,
        m.client_id,
        m.client,
        m.currency,
        false,
        m.amount_in_cents,
        m.amount,
        m.date_to_invoice,
        m.invoice_id,
        m.invoice_date,
        m.invoice_state
    from present_ids p
    join kantata_marts.billing_milestones m on m.id = p.id
),

counted as (
    select
        s.*,
        c.month,
        coalesce(s.date_to_invoice >= c.month and s.date_to_invoice < c.next_month, false)
            as is_dated,
        coalesce(
            s.invoice_date >= c.month
            and s.invoice_date < c.next_month
            and s.invoice_state in ('issued', 'paid'),
            false
        ) as is_billed
    from sides s
    join closes c on c.close_number = s.close_number
),

compared as (
    select
        close_number,
        month,
        client_id,
        coalesce(max(case when not is_frozen then client end), max(client)) as client,
        currency,
        milestone_id,
        count(case when is_frozen and is_dated then 1 end) as was_dated,
        count(case when not is_frozen and is_dated then 1 end) as is_dated,
        count(case when is_frozen and is_billed then 1 end) as was_billed,
        count(case when not is_frozen and is_billed then 1 end) as is_billed,
        max(case when is_frozen then amount_in_cents end) as cents_before,
        max(case when not is_frozen then amount_in_cents end) as cents_after,
        max(case when is_frozen then amount end) as amount_before,
        max(case when not is_frozen then amount end) as amount_after,
        max(case when is_frozen then date_to_invoice end) as date_to_invoice_before,
        max(case when is_frozen then invoice_id end) as invoice_id_before,
        max(case when is_frozen then invoice_date end) as invoice_date_before,
        max(case when is_frozen then invoice_state end) as invoice_state_before
    from counted
    group by close_number, month, client_id, currency, milestone_id
),

restated as (
    select *
    from compared
    where was_dated <> is_dated
        or was_billed <> is_billed
        or (
            was_dated + was_billed > 0
            and (cents_before <> cents_after or amount_before <> amount_after)
        )
),

-- The last version that changed what is compared.
versions as (
    select r.close_number, r.milestone_id, max(h.valid_from) as valid_from
    from (select distinct close_number, milestone_id, month from restated) r
    join kantata_marts.billing_milestone_history h on h.id = r.milestone_id
    where h.version = 1
        or h.change_type in ('deleted', 'restored')
        or h.currency <> h.previous_currency
        or h.amount_in_cents <> h.previous_amount_in_cents
        or h.amount <> h.previous_amount
        or h.invoice_id is distinct from h.previous_invoice_id
        or coalesce(date_trunc('month', h.date_to_invoice)::date = r.month, false)
        <> coalesce(date_trunc('month', h.previous_date_to_invoice)::date = r.month, false)
    group by r.close_number, r.milestone_id
),

observed as (
    select
        r.*,
        m.title,
        m.workspace_id,
        m.project,
        m.date_to_invoice as date_to_invoice_after,
        m.invoice_id as invoice_id_after,
        m.invoice_date as invoice_date_after,
        m.invoice_state as invoice_state_after,
        c.closed_at,
        c.closed_by,
        c.run_id as closed_run_id,
        c.reporting_timezone as closed_timezone,
        -- A later version made the difference; without one, the invoice or the client did.
        case
            when v.valid_from > c.observed_until then v.valid_from
            when r.was_billed <> r.is_billed and i.observed_at > c.observed_until then i.observed_at
            else greatest(d.observed_at, v.valid_from)
        end as observed_at
    from restated r
    join closes c on c.close_number = r.close_number
    join versions v on v.close_number = r.close_number and v.milestone_id = r.milestone_id
    left join kantata_marts.billing_milestones m on m.id = r.milestone_id
    left join kantata.invoices i on i.id = coalesce(m.invoice_id, r.invoice_id_before)
    left join kantata.project_details d on d.id = m.workspace_id
),

-- When the observations of each run ended, by their own clock. Runs of earlier releases have only the time of
-- their machine.
reads as (
    select coalesce(observed_until, finished_at) as read_until, min(run_id) as run_id
    from kantata.sync_runs
    where (cursor_at is not null or status = 'proven')
        and coalesce(observed_until, finished_at) is not null
    group by coalesce(observed_until, finished_at)
),

-- The end of the first read that ended after each moment of an observation.
moments as (
    select moment, min(read_until) over (order by moment desc) as read_until
    from (
        select moment, max(read_until) as read_until
        from (
            select read_until as moment, read_until
            from reads
            union all
            select observed_at, null
            from observed
        ) all_moments
        group by moment
    ) by_moment
)

select
    o.month,
    o.client_id,
    o.client,
    o.currency,
    o.milestone_id,
    o.title,
    o.workspace_id,
    o.project,
    (case when o.was_dated > 0 then o.amount_before else 0 end)::decimal(38, 6) as dated_before,
    (case when o.is_dated > 0 then o.amount_after else 0 end)::decimal(38, 6) as dated_after,
    (case when o.was_billed > 0 then o.amount_before else 0 end)::decimal(38, 6) as billed_before,
    (case when o.is_billed > 0 then o.amount_after else 0 end)::decimal(38, 6) as billed_after,
    o.date_to_invoice_before,
    o.date_to_invoice_after,
    o.invoice_id_before,
    o.invoice_id_after,
    o.invoice_date_before,
    o.invoice_date_after,
    o.invoice_state_before,
    o.invoice_state_after,
    o.observed_at,
    r.run_id as observed_run_id,
    o.closed_at,
    o.closed_by,
    o.closed_run_id,
    o.closed_timezone
from observed o
left join moments u on u.moment = o.observed_at
left join reads r on r.read_until = u.read_until
