"""Find private files that others on this machine may read or change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from pipelines.config.console_settings import console_settings
from pipelines.config.providers import dlt_providers
from pipelines.config.targets import ERROR_LOG
from pipelines.runtime.exit_codes import ExitCode
from warehouse.errors import WarehouseMisconfigured
from warehouse.private_files import is_posix
from warehouse.target import Target

from .check_result import CheckResult

_QUESTION = "file rights"
_RIGHTS = {4: "read", 2: "change"}


def file_rights(target: Target) -> Iterator[CheckResult]:
    """Yield a result for each private file that others may read or change, or one that none is.

    A right of a group can be meant, so it is no failure. The file for readers is not private.
    """
    if not is_posix():
        return
    found = [each for path in _private_paths(target) for each in _rights_of_others(path)]
    yield from found or [CheckResult(_QUESTION, "only their owner can read the private files")]


def _private_paths(target: Target) -> list[Path]:
    """Return the files and folders that only their owner needs, if they exist."""
    providers = [each for each in dlt_providers() if each.supports_secrets]
    secrets = [Path(file) for each in providers for file in each.present_locations]
    users = console_settings().users
    paths = (*secrets, target.folder, target.loader, _ledger(target), users, ERROR_LOG)
    return [path for path in dict.fromkeys(paths) if path and os.path.exists(path)]


def _ledger(target: Target) -> Path | None:
    """Return the ledger's SQLite file; None if it is on Postgres, or its setting is invalid."""
    try:
        url = target.ledger_url
    except WarehouseMisconfigured:
        return None
    return Path(sa.make_url(url).database or "") if url.startswith("sqlite") else None


def _rights_of_others(path: Path) -> Iterator[CheckResult]:
    """Yield a result if all users may read or change a path, else one if its group may."""
    mode = path.stat().st_mode
    if path.is_file():  # who cannot enter its folder cannot open it
        folder = Path(os.path.realpath(path)).parent.stat().st_mode
        if not folder & 0o001:
            mode &= ~0o007
        if not folder & 0o010:
            mode &= ~0o070
    if may := _allowed(mode):
        yield CheckResult(
            _QUESTION,
            f"every user of this machine can {may} {path}: chmod o-rwx {path}",
            ExitCode.ACTION_REQUIRED,
        )
    elif may := _allowed(mode >> 3):
        yield CheckResult(_QUESTION, f"the group {_group(path)} can {may} {path}")


def _allowed(bits: int) -> str:
    """Return what the last three bits of a file mode allow, in words; empty if nothing."""
    return " and ".join(word for bit, word in _RIGHTS.items() if bits & bit)


def _group(path: Path) -> str:
    """Return the name of a file's group; its number if it has no name."""
    try:
        return path.group()
    except KeyError:
        return str(path.stat().st_gid)
