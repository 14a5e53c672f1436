"""Which names of a Postgres database are accepted, and what is read from them."""

from __future__ import annotations

import pytest

from warehouse.errors import WarehouseMisconfigured
from warehouse.postgres_url import postgres_parameters, postgres_uri


@pytest.mark.parametrize(
    ("url", "parameters"),
    [
        ("postgresql://ann:pw@db:5433/x", "user=ann password=pw host=db port=5433 dbname=x"),
        ("postgres://ann@db/x", "user=ann host=db dbname=x"),
        ("postgresql+psycopg2://ann@db/x", "user=ann host=db dbname=x"),
        ("postgresql://a%20b:p%40w@db/d%20b", "user='a b' password=p@w host=db dbname='d b'"),
        ("postgresql:///x?host=/var/run/postgresql", "dbname=x host=/var/run/postgresql"),
        ("postgresql://%2Frun%2Fpg/x", "host=/run/pg dbname=x"),
        ("postgresql://one:1,two:2/x", "host=one,two port=1,2 dbname=x"),
        (
            "postgresql://[::1]:1/x?sslmode=prefer",
            "host=::1 port=1 dbname=x sslmode=prefer",
        ),
        ("host=db user='a b' dbname=x", "host=db user='a b' dbname=x"),
        ("service=billing", "service=billing"),
    ],
)
def test_accepted(url: str, parameters: str) -> None:
    """What libpq takes is read as libpq reads it; the URI made of it says the same."""
    found = postgres_parameters(url, "IT")
    assert found == postgres_parameters(parameters, "IT")
    assert postgres_parameters(postgres_uri(found), "IT") == found


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://ann:pw@db/x?schema=y", "IT has the parameter schema, which Postgres"),
        ("postgresql://ann:pw@db/x?pgbouncer=true", "IT has the parameter pgbouncer"),
        ("host=db foo=pw", "IT has the parameter foo"),
        ("postgresql://ann:p@w@db/x", "IT must have the form"),
        ("postgresql://ann:p/w@db/x", "IT must have the form"),
        ("postgresql://ann:pw@db:0/x", "IT must have the form"),
        ("postgresql://ann:pw@db:99999/x", "IT must have the form"),
        ("postgresql://ann:p%zw@db/x", "IT must have the form"),
        ("mysql://ann:pw@db/x", "IT must have the form"),
        ("ann:pw@db/x", "IT must have the form"),
        ("", "IT must have the form"),
    ],
)
def test_refused(url: str, message: str) -> None:
    """The message names the setting, and a parameter that does not exist, but no password."""
    with pytest.raises(WarehouseMisconfigured) as refused:
        postgres_parameters(url, "IT")
    assert message in str(refused.value)
    assert "pw" not in str(refused.value)
