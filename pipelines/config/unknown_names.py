"""Refuse settings that do not exist: a misspelled one would otherwise have no effect."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from dlt.common.configuration.specs import known_sections

from sources.kantata.errors import KantataMisconfigured

from .declared_settings import SECTIONS, SETTINGS, STORAGE_SECTION, STORAGE_VARIABLES, Setting
from .providers import dlt_providers

_OUR_VARIABLES = tuple(f"{section.upper().replace('.', '__')}__" for section in SECTIONS)
# Of services in Kubernetes called kantata or kantata-something.
_KUBERNETES = re.compile(r"KANTATA_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\w+)?)")
_ONE_UNDERSCORE = {
    setting.sectioned_variable.replace("__", "_"): setting.sectioned_variable
    for setting in SETTINGS
    if not setting.variable
}
_DLT_SECTIONS = frozenset(v for v in vars(known_sections).values() if isinstance(v, str))
# At the top of a file, `path` or `url` may be meant for another program that reads it.
_SECTION_OF = {
    setting.key: setting.section
    for setting in SETTINGS
    if setting.section in SECTIONS and setting.key not in ("path", "url")
}
_NEAR = 0.65  # from which a name counts as a misspelled one
_SAME_SECTION = 2  # edits, up to which a section's name is taken for a misspelled one of ours


def check_names() -> None:
    """Check that every setting in our sections, of the environment or a file, exists.

    Raises:
        KantataMisconfigured: If one does not; it names the one that may be meant.
    """
    unknown = [*_unknown_variables(os.environ), *_unknown_in_files()]
    if unknown:
        raise KantataMisconfigured("; ".join(unknown))


def _unknown_variables(environment: Iterable[str]) -> Iterator[str]:
    """Yield a line about each variable in our sections that is no setting."""
    known = {name for s in SETTINGS for name in (s.environment, s.sectioned_variable)}
    for name in sorted(environment):
        is_ours = name.upper().startswith((*_OUR_VARIABLES, "KANTATA_"))
        if is_ours and name.upper().startswith(STORAGE_VARIABLES) and name != STORAGE_VARIABLES:
            continue
        if is_ours and name not in known and not _KUBERNETES.fullmatch(name):
            yield f"{name} is not a setting: {_suggested_variable(name.upper())}"
        elif name in _ONE_UNDERSCORE:
            yield f"{name} is not a setting: use {_ONE_UNDERSCORE[name]}, with two underscores"


def _suggested_variable(name: str) -> str:
    """Return the words that name the variable that may be meant by an unknown one, if any is."""
    section, _, key = name.rpartition("__")
    known = {
        setting.environment: setting
        for setting in SETTINGS
        if not section
        or setting.sectioned_variable.startswith(f"{section}__")
        or ("_" in key and setting.key.upper() == key)  # in another section
    }
    return _suggestion(key, known)


def _unknown_in_files() -> Iterator[str]:
    """Yield a line about each setting or section that is misspelled in the files dlt reads."""
    files = dict.fromkeys(
        path for provider in dlt_providers() for path in provider.present_locations
    )
    for path in map(Path, files):
        if path.suffix == ".toml":
            for line in _unknown_in_file(tomllib.loads(path.read_text(encoding="utf-8"))):
                yield f"{path}: {line}"


def _unknown_in_file(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line about each misspelled setting or section in the content of a file."""
    bare = {setting.key: setting for setting in SETTINGS if setting.variable}
    for name, value in content.items():
        if not isinstance(value, Mapping):
            if name.lower().startswith("kantata_") and name not in bare:
                yield f"{name} is not a setting: {_suggestion(name, bare)}"
            elif name in _SECTION_OF and name not in bare:
                yield f"{name} is outside its section: write it under [{_SECTION_OF[name]}]"
        elif name.lower() == "kantata":
            yield f"[{name}] is not a section of settings: use [sources.kantata]"
        elif name == "sources":
            yield from _unknown_sections(value, "sources.", ["kantata"], frozenset())
        else:
            sections = [section for section in SECTIONS if "." not in section] + ["sources"]
            yield from _unknown_sections({name: value}, "", sections, _DLT_SECTIONS)


def _unknown_sections(
    sections: Mapping[str, Any], prefix: str, ours: Sequence[str], others: frozenset[str]
) -> Iterator[str]:
    """Yield a line about each section whose name or keys are misspelled."""
    for name, content in sections.items():
        section = f"{prefix}{name}"
        if section in SECTIONS and isinstance(content, Mapping):
            keys = {setting.key: setting for setting in SETTINGS if setting.section == section}
            for key in sorted(content.keys() - keys.keys()):
                if f"{section}.{key}" == STORAGE_SECTION and isinstance(content[key], Mapping):
                    continue
                yield f"[{section}] {key} is not a setting: {_suggestion(key, keys)}"
        elif name not in (*ours, *others):
            near = [known for known in ours if _distance(name, known) <= _SAME_SECTION]
            if near:
                yield f"[{section}] is not a section of settings: use [{prefix}{near[0]}]"


def _suggestion(name: str, known: Mapping[str, Setting]) -> str:
    """Return the words that name the known settings whose names are like this one, if any is.

    Args:
        name: The name without its section.
        known: Settings by the name that is suggested.
    """
    words = name.lower().removeprefix("kantata_").strip("_")
    ratios = {shown: _likeness(words, setting) for shown, setting in known.items()}
    best = max(ratios.values(), default=0)
    if best < _NEAR:
        return "remove it"
    nearest = [shown for shown, ratio in ratios.items() if ratio > best - 0.05][:2]
    return f"use {' or '.join(nearest)}, or remove it"


def _likeness(words: str, setting: Setting) -> float:
    """Return how much a name is like that of a setting: 1 if equal, 0 if nothing is."""
    key = setting.key.removeprefix("kantata_")
    if set(words.split("_")) <= set(key.split("_")):  # a part of it, such as `webhook`
        return 0.9 if words != key else 1.0
    return SequenceMatcher(None, words, key).ratio()


def _distance(first: str, second: str) -> int:
    """Return how many letters must be inserted, removed or replaced to make two names equal."""
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first, 1):
        left, row[0] = row[0], i
        for j, other in enumerate(second, 1):
            left, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, left + (letter != other))
    return row[-1]
