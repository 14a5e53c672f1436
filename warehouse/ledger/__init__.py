"""The ledger of changes: proposals, approvals and what happened to them."""
