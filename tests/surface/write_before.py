"""Write the files of ``written_before``: run once, by the release whose files are to be kept.

Later releases must not run it: it would replace what they have to read by what they write.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.support.postgres import empty_database, server
from tests.surface import stored, story
from tests.surface.life import begun, live


def main() -> None:
    """Live once on each kind of warehouse, and keep what that leaves."""
    stored.FOLDER.mkdir()
    with server() as url, empty_database(url) as database:
        for destination, address in (("duckdb", ""), ("postgres", database)):
            with (
                tempfile.TemporaryDirectory() as folder,
                begun(destination, Path(folder), postgres=address) as life,
            ):
                live(life)
                stored.write(life)
                again = stored.account_of(stored.said(life))
                assert story.memory(again) == story.memory(life.account)


if __name__ == "__main__":
    main()
