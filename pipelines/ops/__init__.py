"""The scheduled job, alerts, checks and migration."""
