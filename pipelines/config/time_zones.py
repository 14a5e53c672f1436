"""Which time zones are accepted as ``reporting_timezone``, and what to write instead of others.

A name must mean the same rules everywhere. ``CET`` is a fixed offset in Postgres and has daylight
saving time in DuckDB; ``EST5EDT`` and ``Etc/GMT+5`` are rules of POSIX, not of a place.
"""

from __future__ import annotations

import difflib
import re

import pendulum

from warehouse.errors import WarehouseMisconfigured

from .settings import shown_name

_UTC = ("UTC", "Etc/UTC")
_EXAMPLE = "Europe/Berlin or UTC"
# The place with the rules of each name. Most are links of the time zone database. A fixed offset
# has a place that has kept it for decades.
_REPLACEMENTS = {
    "CET": "Europe/Berlin", "CST6CDT": "America/Chicago", "Cuba": "America/Havana",
    "EET": "Europe/Athens", "EST": "America/Panama", "EST5EDT": "America/New_York",
    "Egypt": "Africa/Cairo", "Eire": "Europe/Dublin", "GB": "Europe/London",
    "GB-Eire": "Europe/London", "HST": "Pacific/Honolulu", "Hongkong": "Asia/Hong_Kong",
    "Iceland": "Atlantic/Reykjavik", "Iran": "Asia/Tehran", "Israel": "Asia/Jerusalem",
    "Jamaica": "America/Jamaica", "Japan": "Asia/Tokyo", "Kwajalein": "Pacific/Kwajalein",
    "Libya": "Africa/Tripoli", "MET": "Europe/Berlin", "MST": "America/Phoenix",
    "MST7MDT": "America/Denver", "NZ": "Pacific/Auckland", "NZ-CHAT": "Pacific/Chatham",
    "Navajo": "America/Denver", "PRC": "Asia/Shanghai", "PST8PDT": "America/Los_Angeles",
    "Poland": "Europe/Warsaw", "Portugal": "Europe/Lisbon", "ROC": "Asia/Taipei",
    "ROK": "Asia/Seoul", "Singapore": "Asia/Singapore", "Turkey": "Europe/Istanbul",
    "W-SU": "Europe/Moscow", "WET": "Europe/Lisbon",
    "Etc/GMT+1": "Atlantic/Cape_Verde", "Etc/GMT+2": "America/Noronha",
    "Etc/GMT+3": "America/Argentina/Buenos_Aires", "Etc/GMT+4": "America/Puerto_Rico",
    "Etc/GMT+5": "America/Bogota", "Etc/GMT+6": "America/Costa_Rica",
    "Etc/GMT+7": "America/Phoenix", "Etc/GMT+8": "Pacific/Pitcairn",
    "Etc/GMT+9": "Pacific/Gambier", "Etc/GMT+10": "Pacific/Honolulu",
    "Etc/GMT+11": "Pacific/Pago_Pago", "Etc/GMT-1": "Africa/Lagos", "Etc/GMT-2": "Africa/Maputo",
    "Etc/GMT-3": "Africa/Nairobi", "Etc/GMT-4": "Asia/Dubai", "Etc/GMT-5": "Asia/Tashkent",
    "Etc/GMT-6": "Asia/Dhaka", "Etc/GMT-7": "Asia/Bangkok", "Etc/GMT-8": "Asia/Singapore",
    "Etc/GMT-9": "Asia/Tokyo", "Etc/GMT-10": "Australia/Brisbane",
    "Etc/GMT-11": "Pacific/Guadalcanal", "Etc/GMT-12": "Pacific/Tarawa",
    "Etc/GMT-13": "Pacific/Tongatapu", "Etc/GMT-14": "Pacific/Kiritimati",
}  # fmt: skip
_SAME_AS_UTC = re.compile(
    r"(Etc/)?(GMT([+-]?0)?|UCT|UTC|Universal|Greenwich|Zulu)|Z", re.IGNORECASE
)


def check_time_zone(name: str) -> str:
    """Return the name of a time zone unchanged if it is accepted as ``reporting_timezone``.

    Raises:
        WarehouseMisconfigured: If it is not; with what to write instead.
    """
    if _is_accepted(name):
        return name
    reason = (
        "it is not the time zone of a place, and databases disagree on what it means"
        if name in pendulum.timezones()
        else "no time zone has this name"
    )
    raise WarehouseMisconfigured(
        f"{shown_name('warehouse.reporting_timezone')} is {name!r}: {reason}. Write it as "
        f"{_replacement(name)}."
    )


def _is_accepted(name: str) -> bool:
    """Return whether a time zone is UTC, or known by an area and a location such as a city."""
    area, _, location = name.partition("/")
    return name in _UTC or (area != "Etc" and location != "" and name in pendulum.timezones())


def _replacement(name: str) -> str:
    """Return what to write instead of a time zone that is not accepted."""
    if name in _REPLACEMENTS:
        return _REPLACEMENTS[name]
    if _SAME_AS_UTC.fullmatch(name):
        return "UTC"
    accepted = {zone.lower(): zone for zone in pendulum.timezones() if _is_accepted(zone)}
    cities = {zone.rpartition("/")[2].lower(): zone for zone in accepted.values()}
    wanted = name.strip().lower().replace(" ", "_")
    near = difflib.get_close_matches(wanted, accepted, 1, 0.8) or difflib.get_close_matches(
        wanted, cities, 1, 0.8
    )
    return (accepted | cities)[near[0]] if near else _EXAMPLE
