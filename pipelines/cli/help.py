"""Show the commands in groups, in the order people use them, with an example each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from typer.core import TyperGroup

# Group -> command -> example. The commands below these are in SUBCOMMANDS.
GROUPS: Mapping[str, Mapping[str, str]] = {
    "Try it without an account": {
        "demo": "milestones demo",
        "sandbox": "milestones sandbox --milestones 200 --port 8080",
    },
    "Read the account": {
        "check": "milestones check --probe",
        "config": "milestones config",
        "sync": "milestones sync --destination postgres",
        "status": "milestones status --fail-if-older-than 6h",
        "due": "milestones due --until 2027-01-31 --by project",
        "console": "milestones console --port 8377",
        "report": "milestones report /srv/reports/milestones.html",
        "run": "milestones run --log-format json",
        "export": "milestones export milestones.xlsx",
    },
    "Change milestones": {
        "propose": 'milestones propose --from changes.csv --reason "dates of the new plan"',
        "changes": "milestones changes --all",
        "show": "milestones show 3f2a9c1e",
        "approve": "milestones approve 3f2a9c1e --digest 0b6d4f1a92c7",
        "reject": 'milestones reject 3f2a9c1e --reason "the amount is wrong"',
        "withdraw": "milestones withdraw 3f2a9c1e",
        "plan": "milestones plan",
        "push": "milestones push --dry-run",
        "reconcile": "milestones reconcile",
        "audit": "milestones audit 3f2a9c1e",
    },
    "Close a month": {
        "close": "milestones close 2026-10 --as kim",
        "reopen": 'milestones reopen 2026-10 --reason "an invoice was dated wrongly" --as kim',
    },
    "Maintain the warehouse": {
        "models": "milestones models",
        "checks": "milestones checks --json",
        "rebind": 'milestones rebind --reason "the account got a new id"',
        "restore": 'milestones restore --from backup/warehouse.duckdb --reason "disk failure"',
        "move": "milestones move",
    },
}
SUBCOMMANDS: Mapping[str, str] = {
    "propose update": "milestones propose update 4711 --set date_to_invoice=2027-03-31 "
    '--reason "delivery is later"',
    "propose create": "milestones propose create --set workspace_id=77 --set title=Go-live "
    '--set amount_in_cents=1250000 --reason "change request 7"',
    "propose delete": 'milestones propose delete 4711 --reason "billed elsewhere"',
    "console user add": "milestones console user add kim --role approver",
    "console user list": "milestones console user list",
    "console user remove": "milestones console user remove kim",
    "console user password": "milestones console user password kim",
}
MORE_EXAMPLES: Mapping[str, str] = {
    "reconcile": "milestones reconcile 3f2a9c1e --created 4712 "
    '--reason "milestone 4712 has its title and amount" --as kim',
}


class GroupedCommands(TyperGroup):
    """The commands of `milestones`, in groups."""

    def __init__(
        self,
        *,
        commands: dict[str, Any] | Sequence[Any] | None = None,
        **attributes: Any,  # noqa: ANN401 - typer's own
    ) -> None:
        super().__init__(commands=commands, **attributes)
        for group, examples in GROUPS.items():
            for name, example in examples.items():
                command = self.commands[name]
                command.rich_help_panel = group  # type: ignore[attr-defined] # typer's commands
                command.epilog = _examples(example, *filter(None, [MORE_EXAMPLES.get(name)]))
        for name, example in SUBCOMMANDS.items():
            below: Any = self
            for part in name.split():
                below = below.commands[part]
            below.epilog = _examples(example)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401 - typer's own
        """Return the names of the commands in the order of the groups in the help."""
        grouped = [name for examples in GROUPS.values() for name in examples]
        return [*grouped, *(name for name in self.commands if name not in grouped)]

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - typer's own
        """Return the options, with no type shown for a flag in the help."""
        return _without_flag_types(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 - typer's own
        """Return a command, with no type shown for its flags in the help."""
        command = super().get_command(ctx, cmd_name)
        for each in _with_subcommands(command):
            _without_flag_types(each.get_params(ctx))
        return command


def _with_subcommands(command: Any) -> Iterator[Any]:  # noqa: ANN401 - typer's own
    """Yield a command and all below it; nothing without one."""
    if command is not None:
        yield command
        for each in getattr(command, "commands", {}).values():
            yield from _with_subcommands(each)


def _examples(*commands: str) -> str:
    """Return the last lines of a command's help: an example each."""
    return "\n\n".join(f"Example: {command}" for command in commands)


def _without_flag_types(options: list[Any]) -> list[Any]:
    """Hide the type of flags in the help: `--json <bool>` looks like it takes a value."""
    for option in options:
        if getattr(option, "is_flag", False):
            option.metavar = ""
    return options
