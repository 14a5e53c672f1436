"""From the account to the warehouse."""
