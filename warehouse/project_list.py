"""The projects that a new milestone may belong to, as people name them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .database import DATASET
from .errors import ChangeRefused
from .shared_reader import SharedReader

_MOST_OFFERED = 500  # projects
_MOST_NAMED = 5
_WITH_ID = re.compile(r"(?:(.*)\()?([0-9]{1,20})(?(1)\))", re.DOTALL)
_PROJECTS = f"select id, title from {DATASET}.workspaces"


def offered_projects(reader: SharedReader) -> list[str]:
    """Return the first projects by title, each as its title and id."""
    sql = f"{_PROJECTS} where title is not null order by lower(title), id limit {_MOST_OFFERED}"
    return list(map(_label, reader.rows(sql)))


def project_id(reader: SharedReader, text: str) -> str:
    """Return the id of the project that a text names: by its id, its title, or both.

    A number in brackets is an id only after the title of its project: it may be part of a title.

    Raises:
        ChangeRefused: If there is none, or several.
    """
    text = text.strip()
    if not text:
        raise ChangeRefused("the project is missing: choose one, or write its title or id")
    named = _with_title(reader, text)
    if with_id := _with_id(reader, text):
        named = [with_id, *(row for row in named if row[0] != with_id[0])]
    if len(named) == 1:
        return str(named[0][0])
    if named:
        raise ChangeRefused(
            f"several projects are named {text[:80]!r}: choose {_some(named)}, "
            "or write the id alone"
        )
    similar = reader.rows(
        f"{_PROJECTS} where strpos(lower(title), lower(%s)) > 0 order by lower(title), id limit 99",
        text,
    )
    hint = f"choose {_some(similar)}" if similar else "write its title or id as in Kantata"
    raise ChangeRefused(f"there is no project {text[:80]!r} in the warehouse: {hint}")


def _with_title(reader: SharedReader, text: str) -> list[tuple[str, str | None]]:
    """Return the projects that have this title."""
    sql = f"{_PROJECTS} where lower(trim(title)) = lower(%s) order by id limit 99"
    return [(row[0], row[1]) for row in reader.rows(sql, text)]


def _with_id(reader: SharedReader, text: str) -> tuple[str, str | None] | None:
    """Return the project whose id a text is, alone or in brackets after its title."""
    if (found := _WITH_ID.fullmatch(text)) is None:
        return None
    before, id_ = found.groups()
    for _, title in reader.rows(f"{_PROJECTS} where id = %s", id_):
        if before is None or _letters(before) == _letters(title or ""):
            return id_, title
    return None


def _letters(title: str) -> str:
    """Return a title as it is compared: a field of a form keeps no line end, for example."""
    return "".join(title.split()).casefold()


def _some(rows: Sequence[tuple[str, str | None]]) -> str:
    """Return the first of some projects for a message."""
    named = " or ".join(map(_label, rows[:_MOST_NAMED]))
    return f"{named}, or another one" if len(rows) > _MOST_NAMED else named


def _label(row: tuple[str, str | None]) -> str:
    """Return a project as its title and id."""
    return f"{row[1]} ({row[0]})" if row[1] else row[0]
