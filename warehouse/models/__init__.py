"""The marts and their checks: SQL files, and building them."""
