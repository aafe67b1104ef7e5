"""What numbers and quoted strings stand for, and how strings are quoted."""

from __future__ import annotations

import math
import re

from attnc.dsl import codes
from attnc.dsl.refusal import refuse
from attnc.dsl.spans import Span

ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
"""What may follow a backslash in a string, and what it stands for."""

_QUOTED = str.maketrans({char: f"\\{letter}" for letter, char in ESCAPES.items()})

_ESCAPE = re.compile(r"\\(.)", re.DOTALL)

_LONGEST_NUMBER = 300
"""Digits of a number; floats hold about as many before the point."""

_LONGEST_WHOLE = 6
"""Digits of a round float before it is written with an exponent."""


def number(text: str, span: Span) -> int | float:
    """Return the value of `12`, `1.5`, `1e-5` or `.5`; an int where it is written as one.

    Raises:
        Refused: it is too large.
    """
    value = float(text) if len(text) <= _LONGEST_NUMBER else math.inf
    if math.isinf(value):
        refuse(codes.WRONG_KIND.at(
            span, where="a spec", expected=f"numbers below 1e{_LONGEST_NUMBER}",
            found="a larger one",
        ))  # fmt: skip
    return int(text) if text.lstrip("+-").isdigit() else value


def number_text(value: int | float) -> str:
    """Return a short text that reads back as the same number: `0.5`, `1e-5`, `10000.0`, `1.5e9`."""
    text = repr(value)
    mantissa, e, exponent = text.partition("e")
    whole = text.removesuffix(".0").lstrip("-")
    if e:
        return f"{mantissa}e{int(exponent)}"
    if isinstance(value, float) and len(whole) > _LONGEST_WHOLE and whole.endswith("000"):
        digits = whole.rstrip("0")
        sign, point = "-" * (value < 0), "." * (len(digits) > 1)
        return f"{sign}{digits[0]}{point}{digits[1:]}e{len(whole) - 1}"
    return text


def unquoted(text: str, span: Span) -> str:
    """Return what the characters between the quotes of a string stand for.

    Raises:
        Refused: an escape is unknown.
    """
    for found in _ESCAPE.finditer(text):
        if found[1] not in ESCAPES:
            refuse(codes.TEXT_SYNTAX.at(
                span, found=f"'{found[0]}' in a string",
                expected="one of " + ", ".join(f"\\{letter}" for letter in ESCAPES),
                hint="write a backslash as \\\\",
            ))  # fmt: skip
    return _ESCAPE.sub(lambda found: ESCAPES[found[1]], text.replace("\r\n", "\n"))


def quoted(text: str) -> str:
    """Return the string in double quotes, on one line."""
    return f'"{text.translate(_QUOTED)}"'


def without_margin(text: str) -> str:
    """Take the common indentation of all lines but the first away."""
    first, *rest = text.split("\n")
    margin = min((len(line) - len(line.lstrip(" ")) for line in rest if line.strip(" ")), default=0)
    return "\n".join([first, *(line[margin:] for line in rest)])
