"""The ledger: change requests, their approvals, and the result of each."""
