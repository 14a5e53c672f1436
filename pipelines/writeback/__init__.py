"""Writing approved changes back to the Kantata account."""
