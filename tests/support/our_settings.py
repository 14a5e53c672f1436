"""The names in the environment that are settings of ours."""

from __future__ import annotations

from pipelines.config.declared_settings import SECTIONS

_SECTIONS = {section.partition(".")[0].upper() for section in SECTIONS}
OURS = ("KANTATA_", "DESTINATION__", *(f"{section}__" for section in sorted(_SECTIONS)))
