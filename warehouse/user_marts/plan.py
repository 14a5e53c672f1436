"""Which users' marts must be built, in which order, and what is wrong before anything is built."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from warehouse.database import DATASET, STAGING, Database
from warehouse.words import counted

from .files import SCHEMA, UserFile, UserFolder, read_folder
from .registry import BuiltMart, built_marts


@dataclass(frozen=True, kw_only=True)
class PlannedMart:
    """A user's mart that can be built.

    Args:
        file: Its file.
        checks: The checks to run when it is built: the last of the marts that they read.
        built_from: The digest of all that it is built from.
        is_current: Whether it was built from that already.
    """

    file: UserFile
    checks: tuple[UserFile, ...]
    built_from: str
    is_current: bool


@dataclass(frozen=True, kw_only=True)
class UserPlan:
    """What to do about users' marts in a run.

    Args:
        marts: Those that can be built, each after those it reads.
        built: Those that exist, by name.
        dropped: The names of tables whose files were removed.
        problems: What is wrong with files, a line each.
    """

    marts: tuple[PlannedMart, ...] = ()
    built: Mapping[str, BuiltMart] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def has_work(self) -> bool:
        """Whether the plan changes a table."""
        return bool(self.dropped) or any(not mart.is_current for mart in self.marts)

    @property
    def warnings(self) -> list[str]:
        """What the checks of marts found when they were built, for those the plan leaves alone."""
        return [
            line
            for mart in self.marts
            if mart.is_current
            for line in self.built[mart.file.name].warnings
        ]


def plan_user_marts(database: Database, folder: Path | None, always: bool = False) -> UserPlan:
    """Return the plan of users' marts.

    Args:
        database: A connection, in which our marts are built.
        folder: The folder of their SQL files; None if it is not configured.
        always: Whether to build all of them, even if nothing changed.

    Raises:
        WarehouseMisconfigured: If the folder cannot be read.
    """
    built = built_marts(database)
    if folder is None:
        return UserPlan(built=built, problems=_without_folder(built))
    if "today" not in database.tables(STAGING):
        return UserPlan()
    found = read_folder(folder)
    marts = _with_digests(
        _ordered(found), found.checks, _read_states(database), {} if always else built
    )
    return UserPlan(
        marts=marts,
        built=built,
        dropped=tuple(name for name in built if name not in {*found.marts, *found.broken}),
        problems=(*found.problems, *_unknown_in_checks(found)),
    )


@dataclass(frozen=True)
class _States:
    """What the digests of a plan contain of our marts.

    Args:
        tables: The build of our marts.
        views: The last run, since views change with each.
    """

    tables: str
    views: str


def _read_states(database: Database) -> _States:
    """Return what the digests of a plan contain of our marts."""
    build = database.rows(
        "select as_of, reporting_timezone, run_id, models, reporting_currency, rates "
        f"from {STAGING}.today"
    )
    last = database.rows(f"select max(run_id) from {DATASET}.sync_runs")
    return _States(str(build), str(last))


def file_problems(folder: Path) -> tuple[int, list[str]]:
    """Return the number of marts in a folder that a plan can build, and what is wrong with others.

    Raises:
        WarehouseMisconfigured: If the folder cannot be read.
    """
    found = read_folder(folder)
    marts = _ordered(found)
    return len(marts), [*found.problems, *_unknown_in_checks(found)]


def _without_folder(built: Mapping[str, BuiltMart]) -> tuple[str, ...]:
    """Return the problem of a plan for tables whose folder is not configured any more."""
    if not built:
        return ()
    return (
        f"{counted(len(built), 'table')} in {SCHEMA} "
        f"{'is' if len(built) == 1 else 'are'} not rebuilt, since WAREHOUSE__MODELS is not set: "
        "set it; or, to drop them, set it to an empty folder",
    )


def _ordered(found: UserFolder) -> list[UserFile]:
    """Return the marts a plan can build, each after those it reads; add problems of the others."""
    marts = dict(found.marts)
    while True:
        for name, file in list(marts.items()):
            if problem := _reference_problem(file, found, marts):
                found.problems.append(problem)
                found.broken.add(name)
                del marts[name]
                break
        else:
            try:
                order = TopologicalSorter({n: sorted(f.reads) for n, f in marts.items()})
                return [marts[name] for name in order.static_order()]
            except CycleError as error:
                cycle = sorted(set(error.args[1]))
                for name in cycle:
                    found.problems.append(_cycle_problem(marts[name], cycle, marts))
                    found.broken.add(name)
                for name in cycle:
                    del marts[name]


def _reference_problem(
    file: UserFile, found: UserFolder, marts: Mapping[str, UserFile]
) -> str | None:
    """Return the problem of a planned mart that reads one that cannot be built; None if none."""
    if missing := sorted(file.reads - marts.keys()):
        name = missing[0]
        why = "whose file has a problem" if name in found.broken else "and no file builds it"
        return file.problem(f"it reads {SCHEMA}.{name}, {why}")
    return None


def _cycle_problem(file: UserFile, cycle: Iterable[str], marts: Mapping[str, UserFile]) -> str:
    """Return the problem of a mart that cannot be planned, since it reads itself in the end."""
    others = [marts[name].path for name in cycle if name != file.name]
    if not others:
        return file.problem(f"it reads itself, {SCHEMA}.{file.name}")
    return file.problem(f"it reads itself in the end, through {' and '.join(others)}")


def _unknown_in_checks(found: UserFolder) -> list[str]:
    """Return the problems of checks that no planned mart can run."""
    return [
        check.problem(f"it reads {SCHEMA}.{name}, and no file builds it")
        for check in found.checks
        for name in sorted(check.reads - found.marts.keys() - found.broken)
    ]


def _with_digests(
    marts: Iterable[UserFile],
    checks: Iterable[UserFile],
    states: _States,
    built: Mapping[str, BuiltMart],
) -> tuple[PlannedMart, ...]:
    """Return the marts of a plan with their checks, and whether each is current."""
    planned: dict[str, PlannedMart] = {}
    waiting = list(checks)
    for file in marts:
        known = {*planned, file.name}
        own = tuple(c for c in waiting if file.name in c.reads and c.reads <= known)
        waiting = [check for check in waiting if check not in own]
        reads = frozenset(file.reads).union(*(check.reads for check in own)) - {file.name}
        has_views = any(part.reads_views for part in (file, *own))
        parts = [
            states.tables, states.views if has_views else "", file.text,
            [planned[name].built_from for name in sorted(reads)],
            [(check.path, check.text) for check in own],
        ]  # fmt: skip
        digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
        last = built.get(file.name)
        planned[file.name] = PlannedMart(
            file=file,
            checks=own,
            built_from=digest,
            is_current=last is not None and last.built_from == digest,
        )
    return tuple(planned.values())
