"""Fixed values of Kantata's requests: addresses, page sizes, timeouts, attempts, references."""

from __future__ import annotations

API_URL = "https://api.mavenlink.com/api/v1"
PER_PAGE = 200  # API.md#pagination: the largest page
ONLY_PER_REQUEST = 100  # API.md#unknowns, U13: the limit is unknown, so the URL is kept short
MOST_CREATES = 100  # API.md#create: milestones in one request
MILESTONE_INCLUDES = "workspace,story,invoices,external_references"
ATTEMPTS = 5
MOST_IN_FLIGHT = 200
CONNECT_TIMEOUT = 10.0  # seconds
READ_TIMEOUT = 190.0  # seconds: Kantata gives up on a request after three minutes
REQUEST_DEADLINE = 240.0  # seconds for one request as a whole
MOST_BYTES = 256 * 2**20  # of one response, decompressed; a page of 200 milestones has 1 MiB
LONGEST_WAIT = 300.0  # seconds: if Kantata asks for more by Retry-After, the run ends
LONGEST_READ = 12 * 3600.0  # seconds that one run may read
BATCH_ROWS = 10_000  # tables of this size let dlt load as fast as Arrow can
MILESTONES_PATH = "billing_milestones"
# A created milestone carries an external reference to the change, by which it is found again.
REFERENCE_SERVICE = "milestones"
REFERENCE_MODEL = "change"
