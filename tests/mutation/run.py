"""Mutation tests: whether the tests notice small faults in the modules that finance relies on.

Each mutant is written to a copy of the code, and the tests of its module run on it until one
fails: then the mutant is killed. A mutant that survives is a case that no test has, or is
equivalent and belongs to `equivalent.py`. Run it with `make mutation`.
"""

from __future__ import annotations

import argparse
import gc
import os
import py_compile
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.mutants import Mutant, mutants
from tests.mutation.subjects import SUBJECTS, Subject
from tests.support.sampling import seed

ROOT = Path(__file__).parents[2]
ENOUGH = 0.85  # of the mutants are killed
_COPIED = ("pipelines", "sources", "warehouse", "tests", ".dlt")
_FILES = ("pyproject.toml", "README.md")
# What tests import and is not ours: imported once, so that a child starts in milliseconds.
_IMPORTS = (
    "pytest", "xdist.plugin", "xdist.dsession", "pytest_timeout", "_hypothesis_pytestplugin",
    "hypothesis", "pyarrow", "pyarrow.compute", "orjson", "requests", "sqlalchemy", "dlt",
)  # fmt: skip
_LOCAL = "not postgres and not lost_ledger_connection"
_SECONDS = 600  # after which a test run counts as hanging


def _end(group: int) -> None:
    """Kill what is left of a group of processes."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


class Copy:
    """A copy of the code, in which one module at a time is a mutant."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in _COPIED:
            ignored = shutil.ignore_patterns("__pycache__")
            if (ROOT / name).exists():
                shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        for name in _FILES:
            shutil.copy(ROOT / name, folder / name)

    def write(self, path: str, source: str) -> None:
        """Write a module, so that Python sees a change within a second of the same size."""
        file = self.folder / path
        file.write_text(source, encoding="utf-8")
        mode = py_compile.PycInvalidationMode.CHECKED_HASH
        py_compile.compile(str(file), doraise=True, invalidation_mode=mode)

    def passes(self, subject: Subject, seconds: float = _SECONDS) -> bool:
        """Return whether all tests of a module pass on the copy as it is, within some seconds.

        Raises:
            RuntimeError: If there are none.
        """
        child = os.fork()
        if child == 0:
            os.setsid()  # so that all that it starts can be ended with it
            self._test(subject)
        # An alarm of the child itself would be lost, since pytest-timeout uses the same timer.
        end = threading.Timer(seconds, _end, [child])
        end.start()
        try:
            _, status = os.waitpid(child, 0)
        finally:
            end.cancel()
            end.join()  # a fork must not copy a thread that holds a lock
            _end(child)
        code = os.waitstatus_to_exitcode(status)
        if code in (3, 4, 5):
            raise RuntimeError(f"no test of {subject.path} ran: {self.output()}")
        return code == 0

    def output(self) -> str:
        """Return what the last test run printed."""
        return (self.folder / "output").read_text(encoding="utf-8", errors="replace")

    def _test(self, subject: Subject) -> None:
        """Run the tests of a module in this process, and end it with the exit code."""
        code = 3
        try:
            os.chdir(self.folder)
            os.environ["PYTHONPATH"] = str(self.folder)
            sys.path[:] = [
                str(self.folder),
                *(p for p in sys.path if Path(p or ".").resolve() != ROOT),
            ]
            for name in [n for n in sys.modules if n.partition(".")[0] in _COPIED]:
                del sys.modules[name]
            out = os.open(self.folder / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            options = ["-x", "-q", "-n0", "--tb=no", "-p", "no:cacheprovider", "-p", "no:anyio"]
            options += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
            options += [f"--basetemp={self.folder / 'tmp'}"]
            # Of the others, those without a server: a file for a ledger, a file for a warehouse.
            options += ["--noconftest"] if subject.is_quick else ["-k", _LOCAL]
            code = int(import_module("pytest").main([*options, *subject.tests]))
        except Exception:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)


def main(arguments: Sequence[str]) -> int:
    """Test the mutants, print those that survive; return 1 if too many do."""
    options = _parser().parse_args(arguments)
    for name in _IMPORTS:
        import_module(name)
    gc.collect()
    gc.freeze()  # so that a collection in a child does not walk through it
    chosen = random.Random(options.seed)
    killed = counted = 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="milestones-mutation-") as folder:
        code = Copy(Path(folder))
        for subject in SUBJECTS:
            if not _is_wanted(subject, options):
                continue
            found = _mutants_of(subject)
            if options.limit is not None and len(found) > options.limit:
                found = chosen.sample(found, options.limit)
            survivors = _survivors(code, subject, found)
            killed += len(found) - len(survivors)
            counted += len(found)
            _report(subject, len(found), survivors)
    used = sum(
        sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    share = killed / max(counted, 1)
    print(
        f"{killed} of {counted} mutants killed ({share:.0%}), seed {options.seed[:12]}: "
        f"{used:.0f} CPU-seconds in {time.monotonic() - started:.0f} seconds"
    )
    return 0 if share >= ENOUGH else 1


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="make mutation MUTATION='…'")
    parser.add_argument("modules", nargs="*", help="parts of paths; else all with quick tests")
    parser.add_argument("--all", action="store_true", help="modules whose tests take long, too")
    parser.add_argument("--limit", type=int, help="the most mutants of each module")
    parser.add_argument("--seed", default=seed(), help="which mutants a limit leaves: the commit")
    return parser


def _is_wanted(subject: Subject, options: argparse.Namespace) -> bool:
    """Return whether a module was asked for."""
    if options.modules:
        return any(part in subject.path for part in options.modules)
    return subject.is_quick or options.all


def _mutants_of(subject: Subject) -> list[Mutant]:
    """Return the mutants of a module that are not equivalent to it.

    Raises:
        RuntimeError: If an equivalent mutant does not exist any more.
    """
    equivalent = EQUIVALENT.get(subject.path, {})
    found = mutants((ROOT / subject.path).read_text(encoding="utf-8"))
    if gone := equivalent.keys() - {mutant.name for mutant in found}:
        raise RuntimeError(f"remove from tests/mutation/equivalent.py: {', '.join(sorted(gone))}")
    return [mutant for mutant in found if mutant.name not in equivalent]


def _survivors(code: Copy, subject: Subject, found: Sequence[Mutant]) -> list[Mutant]:
    """Return the mutants of a module with which its tests pass.

    Raises:
        RuntimeError: If its tests fail without any fault.
    """
    original = (ROOT / subject.path).read_text(encoding="utf-8")
    code.write(subject.path, original)
    began = time.monotonic()
    if not code.passes(subject):
        raise RuntimeError(f"without a fault, a test of {subject.path} fails: {code.output()}")
    seconds = 10 + 3 * (time.monotonic() - began)  # a fault may make a loop endless
    survivors = []
    for mutant in found:
        code.write(subject.path, mutant.source)
        if code.passes(subject, seconds):
            survivors.append(mutant)
    code.write(subject.path, original)
    return survivors


def _report(subject: Subject, count: int, survivors: Sequence[Mutant]) -> None:
    """Print the result of a module: a line for it, and one for each mutant that survives."""
    equivalent = len(EQUIVALENT.get(subject.path, {}))
    print(
        f"{subject.path}: {count} mutants, {count - len(survivors)} killed, {len(survivors)} "
        f"survive; {equivalent} equivalent",
        flush=True,
    )
    for mutant in survivors:
        print(f"  {subject.path}:{mutant.line} {mutant.name}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
