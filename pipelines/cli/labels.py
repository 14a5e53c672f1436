"""Labels of changes: the titles of their projects and the units of their currencies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal

from warehouse.errors import WarehouseError
from warehouse.ledger.change import Change
from warehouse.lookup import project_titles
from warehouse.raw.summary import minor_units
from warehouse.reader import open_reader
from warehouse.target import Target


@dataclass(frozen=True)
class Labels:
    """Titles and units of changes, without those that the warehouse does not have.

    Args:
        units: The value of a minor unit by currency.
        projects: The titles of projects by id.
        untrusted: Why a push will not send approved changes, by id.
    """

    units: Mapping[str, Decimal] = field(default_factory=dict)
    projects: Mapping[str, str] = field(default_factory=dict)
    untrusted: Mapping[str, str] = field(default_factory=dict)


def labels(target: Target, changes: Iterable[Change]) -> Labels:
    """Return the labels of these changes; empty ones if the warehouse cannot be read."""
    # Changes are shown in any case: the warehouse only makes them easier to read.
    with suppress(WarehouseError, OSError), open_reader(target) as reader:
        titles = project_titles(reader, {change.workspace_id for change in changes})
        return Labels(minor_units(reader), {id_: title for id_, title in titles.items() if title})
    return Labels()
