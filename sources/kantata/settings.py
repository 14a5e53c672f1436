"""What is asked of Kantata, and what is declared of its answers.

A declared column exists from the first load with its type, also while every value is null. To
change a declared type later is a migration of everybody's warehouse: declare with care, and leave
to schema evolution what nothing depends on.
"""

from __future__ import annotations

API_URL = "https://api.mavenlink.com/api/v1"
PER_PAGE = 200  # API.md#pagination: the largest page
ONLY_PER_REQUEST = 100  # API.md#unknowns, U13: the limit is unknown, so keep the URL short
MILESTONE_INCLUDES = "workspace,story,invoices,external_references"
ATTEMPTS = 5
CONNECT_TIMEOUT = 10.0  # seconds
READ_TIMEOUT = 190.0  # seconds: Kantata gives up on a request after three minutes
BATCH_ROWS = 10_000  # dlt is at the floor of Arrow's speed with tables of this size


MILESTONES_PATH = "billing_milestones"
