"""The commands of the web console: start it, and manage its users."""

from __future__ import annotations

import getpass
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.console.roles import Role
from warehouse.errors import ChangeRefused

from .errors import handle_errors, save_traceback
from .options import DestinationOption, JsonOption
from .output import print_err, print_json, print_out

if TYPE_CHECKING:
    from pipelines.console.users import Users

PASSWORD = "MILESTONES_CONSOLE_PASSWORD"  # noqa: S105 - the name of a variable
console = typer.Typer(
    no_args_is_help=False,
    invoke_without_command=True,
    help="Run the web console until Ctrl-C. It shows figures, milestones, changes to decide on, "
    "and runs. Manage its users with `milestones console user`.",
)
user = typer.Typer(no_args_is_help=True, help="Manage the users of the console.")
console.add_typer(user, name="user")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]


@console.callback()
def start(
    context: typer.Context,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="The address to listen on. An address that other machines can reach needs TLS or "
            "a trusted proxy.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", help="The port; 0 for any free port.", min=0, max=65535)
    ] = 8377,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            "--tls-cert", metavar="FILE", help="The certificate, as PEM.", show_default=False
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(
            "--tls-key", metavar="FILE", help="The certificate's key, as PEM.", show_default=False
        ),
    ] = None,
    destination: DestinationOption = None,
) -> None:
    """Run the web console until Ctrl-C."""
    if context.invoked_subcommand is not None:
        return
    from pipelines.config.console_settings import console_settings
    from pipelines.config.start import check_console_settings
    from pipelines.config.targets import configured_target
    from pipelines.config.tokens import forget_tokens
    from pipelines.console.server import Address, serve_console
    from pipelines.console.services import Console
    from pipelines.runtime.clock import utc_now

    with handle_errors(as_json=False, checks_settings=False):
        forget_tokens()
        check_console_settings()
        settings = console_settings()
        address = Address(host=host, port=port, certificate=tls_cert, key=tls_key)
        address.check(settings)
        parts = Console(
            target=configured_target(destination),
            settings=settings,
            now=utc_now,
            has_tls=address.has_tls,
        )
        serve_console(parts, address, on_ready=show_address, on_error=report_error)


def show_address(url: str) -> None:
    """Print where the console is, once it listens."""
    print_out(f"The console is at {url} (Ctrl-C ends it)")


def report_error(error: Exception) -> str:
    """Report an unexpected error of the console in a line; return where its details are."""
    where = save_traceback("".join(traceback.format_exception(error)))
    print_err(f"milestones: the console failed to answer a request: {type(error).__name__}{where}")
    return where


@user.command()
def add(
    name: NameArgument,
    role: Annotated[
        Role,
        typer.Option("--role", help="What the user may do; an approver may also propose."),
    ],
    as_json: JsonOption = False,
) -> None:
    """Add a user. MILESTONES_CONSOLE_PASSWORD sets the password; otherwise you type it."""
    from pipelines.console.users import checked_name

    with handle_errors(as_json, checks_settings=False):
        checked_name(name)
        users = _users()
        added = users.add(name, role, _password())
        if as_json:
            print_json({"name": added.name, "role": added.role})
        else:
            print_out(f"added {added.name}, {added.role}")


@user.command("list")
def list_users(as_json: JsonOption = False) -> None:
    """List the users and their roles."""
    with handle_errors(as_json, checks_settings=False):
        found = _users().all() if _users_file().exists() else []  # a list makes no file
        if as_json:
            print_json(
                [{"name": u.name, "role": u.role, "created_at": u.created_at} for u in found]
            )
            return
        for each in found:
            print_out(f"{each.role:<8}  {each.name}")
        if not found:
            print_out("no users. Add one: milestones console user add NAME --role viewer")


@user.command()
def remove(name: NameArgument, as_json: JsonOption = False) -> None:
    """Remove a user, and end the user's sessions."""
    with handle_errors(as_json, checks_settings=False):
        _users().remove(name)
        if as_json:
            print_json({"name": name})
        else:
            print_out(f"removed {name}")


@user.command()
def password(name: NameArgument, as_json: JsonOption = False) -> None:
    """Set a user's password and end their sessions. For the password, see `add`."""
    with handle_errors(as_json, checks_settings=False):
        users = _users()
        users.require(name)
        users.set_password(name, _password())
        if as_json:
            print_json({"name": name})
        else:
            print_out(f"set the password of {name}, and ended their sessions")


def _users() -> Users:
    """Return the users of the console, in a file that is made if it does not exist."""
    from pipelines.console.users import Users
    from pipelines.runtime.clock import utc_now

    return Users(_users_file(), utc_now)


def _users_file() -> Path:
    """Return the file of the console's users, after a check of the settings."""
    from pipelines.config.console_settings import console_settings
    from pipelines.config.start import check_console_settings

    check_console_settings()
    return console_settings().users


def _password() -> str:
    """Return the new password of a user of the console: that of the environment, else ask for it.

    Raises:
        ChangeRefused: If it cannot be asked for, or the second time it is another one.
    """
    if PASSWORD in os.environ:
        return os.environ[PASSWORD]
    if not sys.stdin.isatty():
        raise ChangeRefused(
            f"there is no terminal to ask for the password: set {PASSWORD} for this command"
        )
    first = getpass.getpass("Password (at least 12 characters): ")
    if getpass.getpass("The same again: ") != first:
        raise ChangeRefused("the two passwords differ, so nothing was changed: try it again")
    return first
