"""Reading the SQL files of this package: each is one relation or one check, with its documentation.

The comment at the top of a file describes a row, then sets ``grain:``, ``index:``, ``kind:`` or
``severity:``, then describes each column.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from graphlib import TopologicalSorter
from importlib.resources import files
from itertools import takewhile

from warehouse.database import MARTS, STAGING

_OPTION = re.compile(r"(grain|index|kind|metric|severity): (.+)")
_COLUMN = re.compile(r"([a-z_0-9]+): (.+)")


class Severity(StrEnum):
    """What a finding of a check means."""

    BLOCKING = "blocking"  # figures are wrong: the marts are not changed
    WARNING = "warning"  # a person should look at it


class ModelKind(StrEnum):
    """What a SQL file is used for."""

    TABLE = "table"  # a mart that is rebuilt as a whole
    CHANGED = "changed"  # a mart of which only the milestones in ``changed`` are rebuilt
    VIEW = "view"  # a mart that changes with every run, or a staging relation
    STEP = "step"  # a staging relation whose grain another relation checks
    CHECK = "check"  # its rows are what is wrong


@dataclass(frozen=True, kw_only=True)
class Model:
    """The content of a SQL file.

    Args:
        name: The name of the relation or check.
        about: What a row is, or what must be true.
        columns: The description of each column; empty for staging and checks.
        grain: The columns that identify a row; none if there is only one row.
        indexes: The columns of further indexes, on Postgres.
        kind: What it is used for.
        severity: What a finding means, for a check.
        metrics: The metrics that are defined on a mart, as written: see ``metrics``.
        sql: The query.
        text: The whole file; empty for a check that is derived from a relation's grain.
    """

    name: str
    about: str
    columns: dict[str, str]
    grain: tuple[str, ...]
    indexes: tuple[str, ...]
    kind: ModelKind
    severity: Severity
    sql: str
    text: str = ""
    metrics: tuple[str, ...] = ()

    @property
    def is_large(self) -> bool:
        """Whether the SQL file's relation has at least one row for each milestone."""
        return self.grain[:1] == ("id",)


_DEFAULT_KINDS = {
    "staging": ModelKind.VIEW,
    "marts": ModelKind.TABLE,
    "checks": ModelKind.CHECK,
}
# A view whose query groups by its grain, and takes seconds if many months are closed.
_GROUPED = frozenset({"period_restatements"})


@cache
def staging() -> tuple[Model, ...]:
    """Return the SQL files of the views between the raw tables and the marts."""
    return _read_folder("staging")


@cache
def marts() -> tuple[Model, ...]:
    """Return the SQL files of the marts, each after the marts it reads."""
    models = {model.name: model for model in _read_folder("marts")}
    sources = {name: _marts_read(model) for name, model in models.items()}
    return tuple(models[name] for name in TopologicalSorter(sources).static_order())


def _marts_read(model: Model) -> list[str]:
    """Return the marts that a SQL file reads, itself or through a staging view."""
    views = [view.sql for view in staging() if f"{STAGING}.{view.name}" in model.sql]
    return re.findall(rf"{MARTS}\.(\w+)", "\n".join([model.sql, *views]))


@cache
def checks() -> tuple[Model, ...]:
    """Return all checks: that each relation has each row once, then those in SQL files."""
    grains = (
        grain_check(schema, model)
        for schema, models in ((STAGING, staging()), (MARTS, marts()))
        for model in models
        if model.kind is not ModelKind.STEP and model.name not in _GROUPED
    )
    return (*grains, *_read_folder("checks"))


def grain_check(schema: str, model: Model) -> Model:
    """Return the check that a SQL file's relation has one row for each value of its grain."""
    relation, keys = f"{schema}.{model.name}", ", ".join(model.grain)
    sql = f"select {keys}, count(*) as copies from {relation} group by {keys} having count(*) > 1"
    if not keys:
        sql = f"select count(*) as copies from {relation} having count(*) <> 1"
    return Model(
        name=f"grain_of_{model.name}",
        about=f"{relation} has one row{f' for each {keys}' if keys else ''}.",
        columns={},
        grain=(),
        indexes=(),
        kind=ModelKind.CHECK,
        severity=Severity.BLOCKING,
        sql=sql,
    )


@cache
def models_digest() -> str:
    """Return the digest of all SQL files; if a release changes one, all marts are rebuilt."""
    texts = [f"{m.name}\0{m.text}" for m in (*staging(), *marts(), *checks())]
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=16).hexdigest()


def _read_folder(folder: str) -> tuple[Model, ...]:
    """Return the models in the SQL files of a folder, sorted by file name."""
    paths = sorted(files(__package__).joinpath(folder).iterdir(), key=lambda file: file.name)
    default = _DEFAULT_KINDS[folder]
    return tuple(
        parse_model(file.name.removesuffix(".sql"), file.read_text(encoding="utf-8"), default)
        for file in paths
        if file.name.endswith(".sql")
    )


def parse_model(name: str, text: str, default_kind: ModelKind) -> Model:
    """Return the model in the text of a SQL file."""
    lines = text.splitlines()
    comment = takewhile(lambda line: line.startswith("--"), lines)
    comments = [line.removeprefix("--").strip() for line in comment]
    sql = "\n".join(line for line in lines if not line.startswith("--")).strip()
    about: list[str] = []
    options: dict[str, list[str]] = {}
    columns: dict[str, str] = {}
    for line in filter(None, comments):
        if option := _OPTION.fullmatch(line):
            options.setdefault(option[1], []).append(option[2])
        elif options and (column := _COLUMN.fullmatch(line)):
            columns[column[1]] = column[2]
        else:
            about.append(line)
    return Model(
        name=name,
        about=" ".join(about),
        columns=columns,
        grain=_split_names(options.get("grain", [])),
        indexes=tuple(options.get("index", [])),
        kind=ModelKind(options.get("kind", [default_kind])[0]),
        severity=Severity(options.get("severity", ["warning"])[0]),
        sql=sql,
        text=text,
        metrics=tuple(options.get("metric", [])),
    )


def _split_names(values: Sequence[str]) -> tuple[str, ...]:
    """Return the column names in the options of a SQL file, which commas separate."""
    return tuple(name.strip() for value in values for name in value.split(","))
