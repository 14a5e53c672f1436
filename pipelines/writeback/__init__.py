"""From approved changes to the account."""
