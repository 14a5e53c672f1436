"""Names and units that the warehouse has for what changes are about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal

from warehouse.errors import WarehouseError
from warehouse.ledger.change import Change
from warehouse.lookup import minor_units, project_titles
from warehouse.reader import open_reader
from warehouse.target import Target


@dataclass(frozen=True)
class Labels:
    """Names and units; what the warehouse does not show is left out.

    Args:
        units: What a minor unit of each currency is worth.
        projects: Titles by id.
    """

    units: Mapping[str, Decimal] = field(default_factory=dict)
    projects: Mapping[str, str] = field(default_factory=dict)


def labels(target: Target, changes: Iterable[Change]) -> Labels:
    """What these changes need to be shown; nothing if the warehouse cannot be read."""
    # What was done is shown in any case: the warehouse only helps to show it.
    with suppress(WarehouseError, OSError), open_reader(target) as reader:
        titles = project_titles(reader, {change.workspace_id for change in changes})
        return Labels(minor_units(reader), {id_: title for id_, title in titles.items() if title})
    return Labels()
