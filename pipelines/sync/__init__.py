"""Sync the account into the warehouse."""
