"""A naming convention of dlt that stores names in upper case."""

from __future__ import annotations

from dlt.common.normalizers.naming.snake_case import NamingConvention as SnakeCase


class NamingConvention(SnakeCase):
    """Snake case, in upper case."""

    def normalize_identifier(self, identifier: str) -> str:
        """Return the name by which a table or a column is stored."""
        return super().normalize_identifier(identifier).upper()

    @property
    def is_case_sensitive(self) -> bool:
        """Upper and lower case are different."""
        return True
