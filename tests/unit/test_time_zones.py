"""Accepted time zones, and what to write instead of the others."""

from __future__ import annotations

import re

import pendulum
import pytest

from pipelines.config.time_zones import check_time_zone
from warehouse.errors import WarehouseMisconfigured

REPLACEMENTS = {
    "CET": "Europe/Berlin",
    "EST5EDT": "America/New_York",
    "GB": "Europe/London",
    "Etc/GMT+5": "America/Bogota",
    "Etc/GMT-14": "Pacific/Kiritimati",
    "GMT": "UTC",
    "Etc/Zulu": "UTC",
    "utc": "UTC",
    "Z": "UTC",
    "europe/berlin": "Europe/Berlin",
    "Europe/Belrin": "Europe/Berlin",
    "Berlin": "Europe/Berlin",
    "new york": "America/New_York",
    "": "Europe/Berlin or UTC",
    "Mars": "Europe/Berlin or UTC",
    "+02:00": "Europe/Berlin or UTC",
    "localtime": "Europe/Berlin or UTC",
    "../Europe/Berlin": "Europe/Berlin",
}
# No place has this offset, or they are no time zone.
WITHOUT_PLACE = {"Etc/GMT+12", "Factory", "localtime"}


@pytest.mark.parametrize(
    "name", ["UTC", "Etc/UTC", "Europe/Berlin", "America/Argentina/Salta", "US/Eastern"]
)
def test_accepted(name: str) -> None:
    """UTC, and names of an area and a location, are accepted as they are."""
    assert check_time_zone(name) == name


@pytest.mark.parametrize("name", REPLACEMENTS)
def test_refused_with_a_replacement(name: str) -> None:
    """Other names are refused, with what to write instead."""
    with pytest.raises(WarehouseMisconfigured) as refused:
        check_time_zone(name)
    assert repr(name) in str(refused.value)
    assert str(refused.value).endswith(f"Write it as {REPLACEMENTS[name]}.")


def test_every_zone_is_accepted_or_has_a_replacement() -> None:
    """Of all time zones, those that are not accepted name one that is."""
    for name in pendulum.timezones():
        try:
            check_time_zone(name)
        except WarehouseMisconfigured as refused:
            replacement = re.findall(r"Write it as (.+)\.", str(refused))[0]
            if name not in WITHOUT_PLACE:
                assert check_time_zone(replacement) == replacement
                assert name != replacement


@pytest.mark.parametrize("hours", [h for h in range(-14, 12) if h])
def test_a_fixed_offset_is_replaced_by_a_place_that_has_it(hours: int) -> None:
    """The sign in Etc/GMT+5 is that of POSIX: five hours behind UTC."""
    name = f"Etc/GMT{hours:+d}"
    with pytest.raises(WarehouseMisconfigured) as refused:
        check_time_zone(name)
    place = str(refused.value).rpartition(" ")[2].rstrip(".")
    for month in (1, 7):
        moment = pendulum.datetime(2026, month, 1)
        assert moment.in_timezone(place).utcoffset() == moment.in_timezone(name).utcoffset()
        assert moment.in_timezone(place).offset_hours == -hours
