"""The two notations by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from attnc.dsl.spans import Source
    from attnc.dsl.tree import Spec

Notation = Literal["yaml", "attn"]


def notation_of(source: Source) -> Notation:
    """Return the notation of a text that was read."""
    from attnc.dsl.load import is_text

    return "attn" if is_text(source) else "yaml"


def notation_for(path: str) -> Notation:
    """Return the notation that a file name asks for; YAML where it does not say."""
    return "attn" if Path(path).suffix == ".attn" else "yaml"


def printed(spec: Spec, notation: Notation) -> str:
    """Return the canonical text of a spec."""
    from attnc.dsl.printer import to_text, to_yaml

    printers: dict[Notation, Callable[[Spec], str]] = {"yaml": to_yaml, "attn": to_text}
    return printers[notation](spec)
