"""The copy of published runs as open tables (Delta Lake), for engines of others."""
