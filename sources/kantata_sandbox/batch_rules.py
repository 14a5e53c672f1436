"""How the account treats a batch of creates: all of it is unknown (API.md#batch-create)."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BatchRules:
    """The rules for a batch of creates; the defaults are those of the library, seen in its code.

    Attributes:
        atomic: one invalid object refuses all; else the others are created all the same.
        accepts_part: with a part refused, the status is 200 and the answer also has the created
            ones; else it is 422 and the answer has the errors only.
        indexes: an error says which object of the batch it is about.
        most_rows: the most rows of the answer, whatever the query says; None for no such limit.
        shows_references: the answer has the references that the query includes.

    """

    atomic: bool = True
    accepts_part: bool = False
    indexes: bool = True
    most_rows: int | None = None
    shows_references: bool = True
