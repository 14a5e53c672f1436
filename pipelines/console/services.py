"""What the console's handlers share: its warehouse, its ledger, its users and its pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any

from jinja2 import ChoiceLoader, PackageLoader
from starlette.requests import Request
from starlette.responses import HTMLResponse

from pipelines.config.console_settings import ConsoleSettings
from pipelines.ops.figures import Figures, read_figures, read_freshness
from pipelines.ops.page_text import page_environment
from pipelines.writeback.ledger_access import open_ledger
from warehouse.errors import WarehouseError
from warehouse.ledger.store import Ledger
from warehouse.mart_rows import Freshness
from warehouse.raw.runs import last_proven_run, recent_runs
from warehouse.raw.summary import minor_units
from warehouse.reader_pool import ReaderPool, reader_pool
from warehouse.shared_reader import SharedReader
from warehouse.target import Target

from .identification import Identification
from .login_limit import LoginLimit
from .roles import Identity, Role
from .sent_forms import SentForms
from .users import Users
from .view_text import age_text, decimals_by_currency

_environment = page_environment(
    ChoiceLoader([PackageLoader("pipelines.console"), PackageLoader("pipelines.ops")])
)


@dataclass(frozen=True)
class Built:
    """The state of the warehouse that a page was built from.

    Args:
        freshness: How current its marts are.
        run_id: The last validated run.
    """

    freshness: Freshness
    run_id: str


@dataclass(kw_only=True)
class Console:
    """The console's parts.

    Args:
        target: The warehouse.
        settings: The settings of the console.
        now: Returns the current time, UTC.
        has_tls: Whether the console encrypts its connections itself.
    """

    target: Target
    settings: ConsoleSettings
    now: Callable[[], datetime]
    has_tls: bool = False
    users: Users = field(init=False)
    readers: ReaderPool = field(init=False)
    identification: Identification = field(init=False)
    login_limit: LoginLimit = field(init=False, default_factory=LoginLimit)
    sent_forms: SentForms = field(init=False, default_factory=SentForms)
    _figures: tuple[object, Figures] | None = field(init=False, default=None)
    _figures_lock: Lock = field(init=False, default_factory=Lock)

    def __post_init__(self) -> None:
        self.users = Users(self.settings.users, self.now)
        self.readers = reader_pool(self.target)
        self.identification = Identification(self.settings, self.users, has_tls=self.has_tls)

    @contextmanager
    def ledger(
        self, reader: SharedReader, identity: Identity, *, create: bool = False
    ) -> Iterator[Ledger]:
        """Open the console's ledger for a short time.

        Args:
            reader: The warehouse.
            identity: The person who uses it.
            create: Whether to create a ledger if there is none.
        """
        with open_ledger(
            self.target, self.now, reader=reader, create=create, identified_by=identity.how
        ) as ledger:
            yield ledger

    def built(self, reader: SharedReader) -> Built:
        """Return what the console's pages are built from.

        Raises:
            WarehouseError: If no run was validated yet.
        """

        def read() -> Built:
            freshness, run = read_freshness(reader), last_proven_run(reader)
            if freshness is None or run is None:
                raise WarehouseError(
                    f"{reader.source} has no validated run yet: run `milestones sync`"
                )
            return Built(freshness, run.run_id)

        return reader.remembered("built", read)

    def figures(self, reader: SharedReader, built: Built) -> Figures:
        """Return the console's figures; they are computed once for each run."""
        last = reader.remembered("last", lambda: [run.run_id for run in recent_runs(reader, 1)])
        key = (last, built.run_id, built.freshness)
        with self._figures_lock:
            if self._figures is None or self._figures[0] != key:
                self._figures = (key, read_figures(reader))
            return self._figures[1]

    def prepare(self) -> bool:
        """Read the figures of the console before somebody asks for them.

        Returns:
            Whether to do it again later: on Postgres it would cost queries without end.
        """
        with suppress(Exception), self.readers.open() as reader:  # a page shows what is wrong
            self.figures(reader, self.built(reader))
        return self.target.published is not None

    def decimals(self, reader: SharedReader) -> Mapping[str, int]:
        """Return the digits after the point of each currency's amounts, for the console."""
        return reader.remembered("decimals", lambda: decimals_by_currency(minor_units(reader)))

    def page(
        self,
        request: Request,
        template: str,
        *,
        status: int = 200,
        built: Built | None = None,
        **values: Any,  # noqa: ANN401 - a template's
    ) -> HTMLResponse:
        """Return a page of the console.

        Args:
            request: The request.
            template: The name of the template.
            status: The status code.
            built: What the page was built from; None if it shows nothing of the warehouse.
            values: The values of the template.
        """
        identity: Identity | None = getattr(request.state, "identity", None)
        text = _environment.get_template(template).render(
            me=identity,
            may_propose=identity is not None and identity.role.may(Role.PROPOSER),
            may_approve=identity is not None and identity.role.may(Role.APPROVER),
            path=request.url.path,
            built=built,
            age=age_text(self.now() - built.freshness.read_up_to) if built else "",
            **values,
        )
        return HTMLResponse(text, status)
