"""What an operator raises when arguments do not go with it."""

from __future__ import annotations


class Mismatch(Exception):
    """Arguments that do not go with an operator.

    Attributes:
        kind: `shape` (a size differs), `rank` (wrong number of axes), `dtype`, or `argument`
            (anything else; then `message` says it all).
        message: one line on the detail: `axis -1 is 192, where i is 384`.
        parameter: whose value is wrong, where it is one parameter's.
        expected: for shapes the pattern with what its names stand for: `[*, i] with i = 384`.
        found: the other side.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        parameter: str | None = None,
        expected: str = "",
        found: str = "",
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.parameter = parameter
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        if self.kind == "argument":
            return self.message
        whose = f"{self.parameter}: " if self.parameter else ""
        return f"{whose}expected {self.expected}, got {self.found} ({self.message})"
