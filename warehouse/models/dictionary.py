"""The data dictionary: every mart and its columns, in Markdown, from the comments in the SQL files.

``python -m warehouse.models.dictionary`` writes it to ``ANALYSTS.md``.
"""

from __future__ import annotations

from pathlib import Path

from .metrics import metrics
from .sql_files import marts

PAGE = Path(__file__).parents[1] / "ANALYSTS.md"
HEADING = "## Data dictionary\n\n"


def dictionary() -> str:
    """Return the data dictionary in Markdown: the metrics, then the marts."""
    parts = [_metrics()]
    for model in sorted(marts(), key=lambda model: model.name):
        rows = "\n".join(f"| `{name}` | {about} |" for name, about in model.columns.items())
        table = f"| column | meaning |\n|---|---|\n{rows}\n"
        parts.append(f"### {model.name}\n\n{model.about}\n\n{table}")
    return "\n".join(parts)


def _metrics() -> str:
    """Return the section of the dictionary that lists the metrics."""
    rows = "\n".join(
        f"| `{m.name}` | {m.about} | {m.unit} | `{m.sql()}` | {', '.join(m.dimensions)} |"
        for m in metrics().values()
    )
    head = "| metric | meaning | unit | SQL | can be grouped by |\n|---|---|---|---|---|\n"
    return (
        "### Metrics\n\nEach measure has one definition, in the SQL file of its mart. Group "
        f"amounts by currency.\n\n{head}{rows}\n"
    )


def write() -> None:
    """Write the data dictionary to the end of the page for analysts."""
    before, heading, _ = PAGE.read_text(encoding="utf-8").partition(HEADING)
    PAGE.write_text(before + heading + dictionary(), encoding="utf-8")


if __name__ == "__main__":
    write()
