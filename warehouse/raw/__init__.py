"""The raw tables: their schema, what they hold, and the rows of ``sync_runs``."""
