"""Write the files of ``written_before``: run once, with the release whose files are kept.

Later releases must not run it: it would overwrite the files that they must be able to read.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.support.postgres import empty_database, server
from tests.surface import stored, story
from tests.surface.life import begun, live


def main() -> None:
    """Run one life on each kind of warehouse, and keep its files."""
    stored.FOLDER.mkdir()
    with server() as url, empty_database(url) as database:
        for destination, address in (("duckdb", ""), ("postgres", database)):
            with (
                tempfile.TemporaryDirectory() as folder,
                begun(destination, Path(folder), postgres=address) as life,
            ):
                live(life)
                stored.write(life)
                again = stored.account_of(stored.output_of(life))
                assert story.memory(again) == story.memory(life.account)


if __name__ == "__main__":
    main()
