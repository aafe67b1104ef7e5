"""What a verb gives back: values, which one place turns into output and an exit code."""

from __future__ import annotations

from dataclasses import dataclass

from attnc.dsl.diagnostics import Diagnostic
from attnc.dsl.render import Json


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a verb.

    Attributes:
        text: the artefact, for stdout.
        result: the same as data, for `--json`.
        messages: lines for stderr, left out by `--quiet`.
        details: further lines for stderr, shown by `--verbose`.
        ok: false where a comparison failed or a file would change; exit code 1.
        diagnostics: what was found, where the verb goes on after an error.
        failure: the exit code where there are diagnostics.
        dropped: the number of further findings that were not kept.
        report: the form of the diagnostics: `text`, `github` or `sarif`.
    """

    text: str = ""
    result: Json = None
    messages: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    ok: bool = True
    diagnostics: tuple[Diagnostic, ...] = ()
    failure: int = 1
    dropped: int = 0
    report: str = "text"

    @property
    def exit_code(self) -> int:
        """0; 1 where the spec or the comparison is wrong; 3 where a file cannot be read."""
        return self.failure if self.diagnostics else int(not self.ok)
