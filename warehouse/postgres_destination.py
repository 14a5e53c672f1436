"""dlt's Postgres destination, for every connection that libpq can make.

dlt itself needs host, user, password and database, and writes a space in them in a way that its two
drivers read differently.
"""

from __future__ import annotations

from typing import Any

from dlt.common.configuration import configspec
from dlt.common.typing import TSecretStrValue
from dlt.destinations import postgres
from dlt.destinations.impl.postgres.configuration import (
    PostgresClientConfiguration,
    PostgresCredentials,
)

from .postgres_url import postgres_parameters, postgres_uri

_FIELDS = {"user": "username", "password": "password", "dbname": "database", "host": "host"}


@configspec(init=False)
class LibpqCredentials(PostgresCredentials):
    """The parameters of a connection to Postgres; what is missing, libpq takes from elsewhere."""

    # dlt requires them.
    database: str | None = None  # type: ignore[assignment]
    username: str | None = None  # type: ignore[assignment]
    password: TSecretStrValue | None = None  # type: ignore[assignment]
    host: str | None = None  # type: ignore[assignment]
    port: int | None = None  # type: ignore[assignment]

    def parse_native_representation(self, native_value: Any) -> None:  # noqa: ANN401 - as in dlt
        """Take the parameters from the name of a Postgres database."""
        found = postgres_parameters(str(native_value), "DESTINATION__POSTGRES__CREDENTIALS")
        for parameter, field in _FIELDS.items():
            setattr(self, field, found.pop(parameter, None))
        if found.get("port", "").isdecimal():  # else there are several
            self.port = int(found.pop("port"))
        self.connect_timeout = int(found.pop("connect_timeout", self.connect_timeout))
        self.client_encoding = found.pop("client_encoding", None)
        self.query = dict(found)

    def to_native_representation(self) -> str:
        """Return a URI with all parameters, for libpq."""
        fields = {name: getattr(self, field) for name, field in _FIELDS.items()}
        fields["port"] = self.port
        return postgres_uri({n: v for n, v in fields.items() if v is not None} | self.get_query())


@configspec
class _Configuration(PostgresClientConfiguration):
    """dlt's configuration of Postgres, with these credentials."""

    credentials: LibpqCredentials = None  # type: ignore[assignment] # resolved by dlt


class LibpqDestination(postgres):
    """dlt's Postgres destination, with these credentials."""

    spec = _Configuration  # type: ignore[assignment] # a narrower one

    @property
    def destination_type(self) -> str:
        """The type that dlt stores in its state."""
        return "dlt.destinations.postgres"
