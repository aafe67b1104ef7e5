"""Sizes inside the text of a template."""

from __future__ import annotations

from attnc.dsl.dims import Size
from attnc.dsl.graph import Arg


class Holes(dict[str, Arg]):
    """Holes of a template under construction: a number is written out, a symbolic size gets one."""

    def show(self, size: Size) -> str:
        """Return the text for a size."""
        if isinstance(size, int):
            return str(size)
        name = next((name for name, known in self.items() if known == size), f"s{len(self)}")
        self[name] = size
        return f"{{{name}}}"
