-- How far these figures can be relied on: one row.
-- kind: view
--
-- as_of: The day all marts call today, in reporting_timezone: that of the run they were last built after.
-- reporting_timezone: Decides which day it is, and where a month begins.
-- models_run_id: The run the marts were last built after; runs that changed nothing build nothing.
-- read_up_to: Kantata's time when the last proven run began: what happened later is not in here.
-- last_proven_at: When that run ended.
-- last_scan_at: When the last proven run that read everything ended.
-- last_run_status: How the last run stands: running, proven, unproven, failed or stopped.
-- last_run_error: Why it failed.
-- milestones: Milestones that are not deleted, in the marts.
-- out_of_reach: Those among them whose project cannot be read any more.
-- rejected_records: Records that could not be typed, so that older values stand, as of the last proven run.
-- first_scan_at: When the first proven run that read everything ended: nothing is known of times before.
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
        as first_scan_at
from kantata_stg.today t
left join kantata.sync_runs r on r.run_id = (select max(run_id) from kantata.sync_runs)
