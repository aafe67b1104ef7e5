"""The core schema of YAML 1.2: which plain scalars are texts, and what the others stand for."""

from __future__ import annotations

import re

OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")

NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")

CONSTANTS: dict[str, bool | None] = {
    "null": None, "Null": None, "NULL": None, "~": None, "": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
}  # fmt: skip


def is_text(plain: str) -> bool:
    """Whether a plain scalar is a text.

    Infinities and not-a-numbers are texts here: a spec has no use for them.
    """
    return not (plain in CONSTANTS or NUMBER.fullmatch(plain) or OTHER_BASE.fullmatch(plain))
