"""Everything that moves data, or starts what does."""

import os

# dlt reads these when it is imported. Telemetry is off whatever else is configured; the others
# may be set otherwise. A warning for each Arrow batch would drown everything else; merges of one
# table at a time keep memory flat; hashes and load ids must be there from the first row on.
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
