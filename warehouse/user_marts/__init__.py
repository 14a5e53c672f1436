"""Marts that users write: SQL files of their own, built after ours into a schema of their own.

Their text is trusted with reading the marts, and with nothing else. Whatever is wrong with one of
them, ours are published.
"""

from .build import build_user_marts
from .files import check_folder
from .limits import LIMITS, Limits
from .plan import UserPlan, file_problems, plan_user_marts
from .registry import schema_problems
from .results import UserMartsResult

__all__ = [
    "LIMITS",
    "Limits",
    "UserMartsResult",
    "UserPlan",
    "build_user_marts",
    "check_folder",
    "file_problems",
    "plan_user_marts",
    "schema_problems",
]
