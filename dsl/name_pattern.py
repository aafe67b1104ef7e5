"""Patterns of tensor names that read both ways: `x_network{_i}.blocks.{k+1}.*`.

| in a pattern | stands for |
|---|---|
| `{i}` | one component: anything without `.` and `/` |
| `{i+1}`, `{i-2}` | a number, i plus or minus a constant |
| `{_i}` | `_` (or `.`, `/`, `-`) and a number i >= 1, or nothing where i is 0 |
| `{q,k,v}` | each of these in turn: the pattern stands for several |
| `*` | the rest: anything, at least one character |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product

_CHOICE = re.compile(r"\{([^{}]*,[^{}]*)\}")
_HOLE = re.compile(r"\{(?P<mark>[._/-])?(?P<name>[A-Za-z]\w*)(?P<shift>[+-]\d+)?\}|\*")


@dataclass(frozen=True, slots=True)
class Hole:
    """A place in a pattern that a value fills.

    Attributes:
        name: of the value; `*1` for the first star.
        shift: added to the value where it is written.
        mark: written before a value >= 1; with it, 0 is written as nothing.
    """

    name: str
    shift: int = 0
    mark: str = ""

    @property
    def expression(self) -> str:
        """The regular expression of what may stand here."""
        if self.name.startswith("*"):
            return "(.+)"
        if self.mark:
            return rf"(?:{re.escape(self.mark)}(\d+))?"
        return r"(\d+)" if self.shift else r"([^./]+)"

    def read(self, text: str | None) -> str:
        """Return the value that is written as `text`; nothing at all is 0."""
        if text is None:
            return "0"
        return str(int(text) - self.shift) if self.shift else text

    def write(self, value: str) -> str | None:
        """Return how `value` is written here; none where it cannot be."""
        if not (self.shift or self.mark):
            return value
        if not value.isdecimal() or int(value) + self.shift < 0:
            return None
        if self.mark and int(value) == 0:
            return ""
        return f"{self.mark}{int(value) + self.shift}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern without `{a,b}` choices. Build with `patterns`."""

    text: str
    parts: tuple[str | Hole, ...]
    regex: re.Pattern[str] = field(compare=False, repr=False)

    @property
    def holes(self) -> frozenset[str]:
        """The names of the values that fill it."""
        return frozenset(part.name for part in self.parts if isinstance(part, Hole))

    def match(self, name: str) -> dict[str, str] | None:
        """Return the values with which the pattern reads `name`, or none."""
        found = self.regex.fullmatch(name)
        if found is None:
            return None
        holes = [part for part in self.parts if isinstance(part, Hole)]
        read = zip(holes, found.groups(), strict=True)
        values = {hole.name: hole.read(text) for hole, text in read}
        # Not all can be written back: `_0` for an optional number, two values for one name.
        return values if self.fill(values) == name else None

    def fill(self, values: Mapping[str, str]) -> str | None:
        """Return the name that the values give, or none where one cannot be written."""
        written = [
            part if isinstance(part, str) else part.write(values[part.name]) for part in self.parts
        ]
        return None if None in written else "".join(part for part in written if part is not None)


def patterns(text: str) -> tuple[Pattern, ...]:
    """Read a pattern; one with `{a,b}` choices gives several, the last choice varying fastest.

    Raises:
        ValueError: a brace that is neither a choice nor a hole.
    """
    pieces = _CHOICE.split(text)  # literal, choices, literal, choices, ..., literal
    options = [piece.split(",") if at % 2 else [piece] for at, piece in enumerate(pieces)]
    return tuple(_pattern("".join(chosen)) for chosen in product(*options))


def _pattern(text: str) -> Pattern:
    parts: list[str | Hole] = []
    at = stars = 0
    for found in _HOLE.finditer(text):
        parts.append(text[at : found.start()])
        stars += found.group() == "*"
        name = found["name"] or f"*{stars}"
        parts.append(Hole(name, int(found["shift"] or 0), found["mark"] or ""))
        at = found.end()
    parts.append(text[at:])
    for part in parts:
        if isinstance(part, str) and ("{" in part or "}" in part):
            raise ValueError(
                f"{part!r} in {text!r} is no pattern; write {{i}}, {{i+1}}, {{_i}} or {{a,b}}"
            )
    kept = tuple(part for part in parts if part != "")
    regex = "".join(re.escape(p) if isinstance(p, str) else p.expression for p in kept)
    return Pattern(text, kept, re.compile(regex, re.DOTALL))
