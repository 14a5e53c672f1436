"""The marts and their checks: SQL files, and the code that builds them."""
