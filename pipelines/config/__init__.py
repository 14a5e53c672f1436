"""Settings, secrets and targets, read the way dlt reads them."""
