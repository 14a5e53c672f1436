"""Write the snapshot again, after an intended change: python -m tests.surface.write.

Review the difference before you commit it, and give the reason in the commit.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.support.postgres import empty_database, server
from tests.surface.snapshot import FOLDER, PARTS, lived, written


def main() -> None:
    """Write every file of ``snapshot/``."""
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        server() as url,
        empty_database(url) as first,
        empty_database(url) as second,
    ):
        all_of_it = lived(Path(folder), first, second)
        for name, part in PARTS.items():
            (FOLDER / f"{name}.json").write_text(written(part(all_of_it)))


if __name__ == "__main__":
    main()
