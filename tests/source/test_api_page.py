"""Citations of API.md are valid: every heading and every unknown that is cited exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "sources/kantata/API.md").read_text(encoding="utf-8")
README = (ROOT / "sources/kantata/README.md").read_text(encoding="utf-8")


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def cited() -> set[str]:
    """What comments and docstrings cite as ``API.md#heading``."""
    files = [file for folder in ("sources", "pipelines") for file in (ROOT / folder).rglob("*.py")]
    found = {a for f in files for a in re.findall(r"API\.md#([\w-]+)", f.read_text("utf-8"))}
    return found | set(re.findall(r"API\.md#([\w-]+)", README))


def test_cited_headings_exist() -> None:
    """Every heading that a comment or a link within the page cites exists."""
    assert len(cited()) > 10
    assert cited() | set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= anchors(PAGE)


def test_cited_unknowns_exist() -> None:
    """The unknowns are numbered in order, and every one that a comment cites exists."""
    rows = re.findall(r"^\| U(\d+) \|", PAGE, re.M)
    assert rows == [str(n + 1) for n in range(len(rows))]
    files = list((ROOT / "sources").rglob("*.py"))
    numbers = {n for f in files for n in re.findall(r"#unknowns, U(\d+)", f.read_text("utf-8"))}
    assert numbers
    assert numbers <= set(rows)


def test_headings_are_unique() -> None:
    """No two headings have the same anchor."""
    headings = re.findall(r"^##+ (.+)$", PAGE, re.M)
    assert len(headings) == len({heading.lower() for heading in headings})


def test_links_within_readme_resolve() -> None:
    """The README of the source links to its own headings and to files that exist."""
    assert set(re.findall(r"\]\(#([\w-]+)\)", README)) <= anchors(README)
    for target in re.findall(r"\]\((?!#|https?:)([^)#]+)", README + PAGE):
        assert (ROOT / "sources/kantata" / target).exists(), target
