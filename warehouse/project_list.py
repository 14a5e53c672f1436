"""The projects that a new milestone may belong to, as people name them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .database import DATASET
from .errors import ChangeRefused
from .shared_reader import SharedReader

_MOST_OFFERED = 500  # projects
_MOST_NAMED = 5
_WITH_ID = re.compile(r"(?:.*\()?([0-9]{1,20})\)?")
_PROJECTS = f"select id, title from {DATASET}.workspaces"


def offered_projects(reader: SharedReader) -> list[str]:
    """Return the first projects by title, each as its title and id."""
    sql = f"{_PROJECTS} where title is not null order by lower(title), id limit {_MOST_OFFERED}"
    return list(map(_label, reader.rows(sql)))


def project_id(reader: SharedReader, text: str) -> str:
    """Return the id of the project that a text names: by its id, its title, or both.

    Raises:
        ChangeRefused: If there is none, or several.
    """
    text = text.strip()
    if not text:
        raise ChangeRefused("the project is missing: choose one, or write its title or id")
    found = _WITH_ID.fullmatch(text)
    if found and reader.rows(f"{_PROJECTS} where id = %s", found[1]):
        return found[1]
    named = reader.rows(f"{_PROJECTS} where lower(title) = lower(%s) order by id limit 99", text)
    if len(named) == 1:
        return str(named[0][0])
    if named:
        raise ChangeRefused(f"several projects have this title: choose {_some(named)}")
    similar = reader.rows(
        f"{_PROJECTS} where strpos(lower(title), lower(%s)) > 0 order by lower(title), id limit 99",
        text,
    )
    hint = f"choose {_some(similar)}" if similar else "write its title or id as in Kantata"
    raise ChangeRefused(f"there is no project {text[:80]!r} in the warehouse: {hint}")


def _some(rows: Sequence[tuple[str, str | None]]) -> str:
    """Return the first of some projects for a message."""
    named = " or ".join(map(_label, rows[:_MOST_NAMED]))
    return f"{named}, or another one" if len(rows) > _MOST_NAMED else named


def _label(row: tuple[str, str | None]) -> str:
    """Return a project as its title and id."""
    return f"{row[1]} ({row[0]})" if row[1] else row[0]
