"""The warehouse: raw tables, marts, ledger, locks, and the file that readers open."""
