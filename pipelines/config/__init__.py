"""Settings, secrets and targets, resolved the way dlt resolves them."""
