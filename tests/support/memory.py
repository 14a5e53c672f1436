"""Remember what libraries find out again and again, and what never changes.

dlt asks the same of the same types in each run, for a tenth of the CPU time of a sync. A comment of
its own, in `validate_dict`, says that it should remember the answers. It also writes all columns as
YAML for a trace that nobody reads; libyaml writes the same text in a tenth of the time. typer's
runner builds the whole command line for each command, which a process of ours does once. Processes
that tests start with `COMMAND` do without.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, partial, wraps
from types import SimpleNamespace
from typing import Any

import typer.testing
import yaml
from dlt.common import typing, validation
from dlt.common.configuration.specs import base_configuration
from dlt.extract import extract

# Functions of a type, whose result depends on nothing else.
_PURE = (
    (typing, ("extract_inner_type", "is_literal_type", "is_optional_type", "is_union_type")),
    (base_configuration, ("is_hint_not_resolvable", "is_secret_hint")),
)


def remember_types() -> None:
    """Let each such function find out only once what it returns for a type."""
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "dlt"]
    for home, names in _PURE:
        for name in names:
            function = getattr(home, name)
            remembering = _remembering(function)
            for module in modules:
                if module.__dict__.get(name) is function:
                    setattr(module, name, remembering)
    validation.get_type_hints = _remembering(validation.get_type_hints)


def write_yaml_in_c() -> None:
    """Let dlt write the columns of a load with libyaml, if it is there."""
    dumper = getattr(yaml, "CDumper", yaml.Dumper)
    extract.yaml = SimpleNamespace(dump=partial(yaml.dump, Dumper=dumper))


def remember_commands() -> None:
    """Let typer's runner build the commands of an app only once."""
    typer.testing._get_command = cache(typer.testing._get_command)


def _remembering(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls another one once for each type and each further arguments."""
    known: dict[tuple[Any, ...], tuple[Any, Any]] = {}

    @wraps(function)
    def remembered(hint: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - dlt's own
        # Not by equality: Optional[str] equals Union[None, str], whose first argument is another.
        key = (id(hint), args, *((n, v) for n, v in options.items() if n != "globalns"))
        if key not in known:
            known[key] = (hint, function(hint, *args, **options))  # the hint keeps its id
        return known[key][1]

    return remembered
