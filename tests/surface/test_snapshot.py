"""What users, stored data and other machines depend on equals the snapshot."""

from __future__ import annotations

import json

import pytest

from tests.surface.shapes import lines
from tests.surface.snapshot import FOLDER, PARTS, Lived, written

pytestmark = pytest.mark.xdist_group("surface")


@pytest.mark.parametrize("name", PARTS)
def test_nothing_has_changed(name: str, lived: Lived) -> None:
    """If a difference is intended, write the snapshot again: python -m tests.surface.write."""
    committed = set(lines(json.loads((FOLDER / f"{name}.json").read_text())))
    now = set(lines(json.loads(written(PARTS[name](lived)))))
    differing = [f"- {line}" for line in committed - now] + [
        f"+ {line}" for line in now - committed
    ]
    assert not differing, "\n".join(sorted(differing, key=lambda line: (line[1:], line)))


def test_no_file_is_left_over() -> None:
    """Every file of the snapshot has a part that is compared."""
    assert {path.stem for path in FOLDER.iterdir()} == set(PARTS)
