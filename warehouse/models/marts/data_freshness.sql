-- How current and complete the marts are: one row.
-- kind: view
--
-- as_of: The day that all marts use as today, in reporting_timezone: the day of the run after which they were last built.
-- reporting_timezone: The time zone that decides which day is today, and where a month begins.
-- models_run_id: The run after which the marts were last built. A run that changed nothing does not rebuild them, except on a new day.
-- read_up_to: Kantata's time at the start of the last validated run. Later changes in Kantata are not included. Runs that only read back what a push wrote do not count.
-- last_proven_at: When the last validated run ended.
-- last_scan_at: When the last validated full scan ended.
-- last_run_status: The status of the last run: running, proven (validated), unproven (loaded, but the totals differ, so not published), failed or stopped.
-- last_run_error: Why the last run failed.
-- milestones: The number of milestones in the marts that are not deleted.
-- out_of_reach: The number of these milestones whose project can no longer be read (access lost).
-- rejected_records: The number of rejected records as of the last validated run; the marts show older values for them.
-- first_scan_at: When the first validated full scan ended. Nothing is known of earlier times.
-- age_minutes: Whole minutes from read_up_to to your query: the age of the figures that you read.
-- week_starts_at: The moment at which the week of as_of begins, on Monday, in reporting_timezone.
-- lake_run_id: The run that the lake shows: the last run that was copied completely. Null without a lake.
-- lake_copied_at: When that copy was completed.
-- lake_age_minutes: Whole minutes from lake_copied_at to your query.
-- lake_error: Why the last copy to the lake failed; null if it did not.
-- first_scan_observed_until: The end of the first validated full scan by the clock of valid_from, which may differ from that of first_scan_at. A first version with a later valid_from is of a milestone that did not exist before.
select
    t.as_of,
    t.reporting_timezone,
    t.run_id as models_run_id,
    (select max(cursor_at) from kantata.sync_runs where status = 'proven' and mode <> 'touched')
        as read_up_to,
    (select max(finished_at) from kantata.sync_runs where status = 'proven') as last_proven_at,
    (select max(finished_at) from kantata.sync_runs where status = 'proven' and mode = 'scan')
        as last_scan_at,
    r.status as last_run_status,
    r.error as last_run_error,
    t.milestones,
    t.out_of_reach,
    t.rejected_records,
    (select min(finished_at) from kantata.sync_runs where status = 'proven' and mode = 'scan')
        as first_scan_at,
    floor(extract(epoch from current_timestamp - (
        select max(cursor_at) from kantata.sync_runs
        where status = 'proven' and mode <> 'touched'
    )) / 60)::bigint as age_minutes,
    (select starts_at from kantata_stg.calendar where period = 'week') as week_starts_at,
    l.run_id as lake_run_id,
    l.copied_at as lake_copied_at,
    floor(extract(epoch from current_timestamp - l.copied_at) / 60)::bigint as lake_age_minutes,
    l.problem as lake_error,
    (
        select coalesce(observed_until, finished_at) from kantata.sync_runs
        where run_id = (
            select min(run_id) from kantata.sync_runs where status = 'proven' and mode = 'scan'
        )
    ) as first_scan_observed_until
from kantata_stg.today t
left join kantata.lake_copies l on l.table_name = 'published_runs'
left join kantata.sync_runs r on r.run_id = (select max(run_id) from kantata.sync_runs)
