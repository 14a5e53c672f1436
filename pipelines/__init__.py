"""Sync Kantata's billing milestones into a warehouse, and write approved changes back."""

import os

# dlt reads these when it is imported. Telemetry is always off; the others are defaults that the
# environment overrides. dlt would log a warning for each Arrow batch; merging one table at a time
# keeps memory flat; load ids must exist from the first row on.
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
for _name, _value in {
    "RUNTIME__LOG_LEVEL": "CRITICAL",
    "NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID": "true",
    "LOAD__TRUNCATE_STAGING_DATASET": "true",
    "LOAD__DELETE_COMPLETED_JOBS": "true",
    "LOAD__RAISE_ON_MAX_RETRIES": "3",
    "LOAD__WORKERS": "1",
}.items():
    os.environ.setdefault(_name, _value)
