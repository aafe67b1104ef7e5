"""Tables for people: aligned columns without lines, as wide as they need to be."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO

WIDEST = 10_000
"""Columns a table may take: cells are never folded, so that lines can be searched and cut."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Return rows under a header; the columns named in `right` are aligned to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for name in header:
        grid.add_column(name, justify="right" if name in right else "left", no_wrap=True)
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    page = StringIO()
    Console(file=page, width=WIDEST, color_system=None, legacy_windows=False).print(grid)
    return "".join(f"{line.rstrip()}\n" for line in page.getvalue().splitlines())


def si(number: int | float) -> str:
    """Return a count as people say it: 86.6M, 17.6G, 512."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            return f"{number / limit:.3g}{unit}"
    return str(number)
