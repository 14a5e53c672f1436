"""The questions of ANALYSTS.md and their SQL, by number."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "warehouse" / "ANALYSTS.md").read_text()
QUESTIONS = re.findall(r"### (\d+)\. [^\n]*\n[^#]*?```sql\n(.*?);\n```", PAGE, re.DOTALL)
SQL = {int(number): sql for number, sql in QUESTIONS}
