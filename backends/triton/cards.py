"""Tile sizes of all templates as data: a file for each card, and one for all others.

A row is named by its template, by what it serves (head dims up to; what stays), by its kind of
kernel and, where there is a choice, by its class of lengths: `pairs.64.forward.any` is
`[128, 64, 8, 3]`. What the numbers are is the template's affair. `attnc tune` measures and rewrites
these files.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Union

from attnc.dsl import codes
from attnc.dsl.diagnostics import EnvironmentLacks

FOLDER = Path(__file__).with_name("cards")

SAFE = "safe"
"""Stands for cards that are not listed, and for float32 on all of them."""

Place = tuple[str, ...]
Row = tuple[int, ...]
Rows = Mapping[Place, Row]


def file_of(card: str, folder: Path = FOLDER) -> Path:
    """Return the file of a card: `cuda:90` or `safe`."""
    return folder / f"{card.replace(':', '_')}.toml"


@cache
def read(card: str) -> Rows:
    """Return the shipped rows of a card, in the order of its file."""
    return dict(_leaves(tomllib.loads(file_of(card).read_text(encoding="utf-8"))))


def rows(card: str, template: str) -> Rows:
    """Return those of one template, by the rest of their names."""
    return {place[1:]: row for place, row in read(card).items() if place[0] == template}


def text(card: str, found: Rows) -> str:
    """Return the file of a card; the same rows in the same order give the same text."""
    where = "every card" if card == SAFE else f"{card}, in half precision"
    lines = [f"# Tiles on {where}. `attnc tune` rewrites the rows of a card that it measures."]
    for section, members in groupby(found.items(), key=lambda item: item[0][:-1]):
        lines += ["", f"[{'.'.join(section)}]"]
        lines += [f"{place[-1]} = {[*row]}" for place, row in members]
    return "\n".join(lines) + "\n"


def write(card: str, found: Rows, folder: Path = FOLDER) -> Path:
    """Write the file of a card.

    Raises:
        EnvironmentLacks: it cannot be written (E507).
    """
    path = file_of(card, folder)
    try:
        path.write_text(text(card, found), encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise EnvironmentLacks([codes.UNWRITABLE.at(None, name=path, reason=reason)]) from None
    return path


_Table = Mapping[str, Union["_Table", list[int]]]


def _leaves(table: _Table, above: Place = ()) -> Iterator[tuple[Place, Row]]:
    for name, value in table.items():
        if isinstance(value, list):
            yield (*above, name), tuple(value)
        else:
            yield from _leaves(value, (*above, name))
