"""What an entry of the catalogue says, and how it becomes a diagnostic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import dedent

from attnc.dsl.diagnostics import Diagnostic, Note
from attnc.dsl.spans import Span


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of error.

    Attributes:
        code: `E203`; never reused.
        title: a short name for the catalogue.
        message: template of the one-line message.
        help: template of the remedy, or none.
        meaning: why it is an error and how to think about it, for `attnc explain E203`.
        wrong: the smallest failing example: a spec in either notation, or a command after `$`.
        right: the same, mended.
    """

    code: str
    title: str
    message: str
    help: str | None
    meaning: str
    wrong: str
    right: str

    def at(
        self,
        span: Span | None,
        *,
        label: str = "",
        notes: Iterable[Note] = (),
        hint: str | None = None,
        **values: object,
    ) -> Diagnostic:
        """Fill the templates. `hint` replaces the remedy, for a did-you-mean for instance."""
        remedy = hint or (self.help.format(**values) if self.help else None)
        message = self.message.format(**values)
        return Diagnostic(self.code, message, span, label, tuple(notes), remedy)


CATALOGUE: dict[str, Problem] = {}
"""All entries by code."""


def problem(
    code: str,
    title: str,
    message: str,
    help: str | None = None,
    *,
    meaning: str,
    wrong: str,
    right: str,
) -> Problem:
    """Add an entry; the examples may be indented.

    Raises:
        ValueError: the code is taken.
    """
    if code in CATALOGUE:
        raise ValueError(f"{code} is taken")
    wrong, right = dedent(wrong).strip("\n"), dedent(right).strip("\n")
    CATALOGUE[code] = Problem(code, title, message, help, meaning, wrong, right)
    return CATALOGUE[code]
