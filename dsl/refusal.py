"""Giving up an item that fits the grammar but not the language."""

from __future__ import annotations

from typing import NoReturn

from attnc.dsl.diagnostics import Diagnostic


class Refused(Exception):
    """Carries the diagnostic to where the item is parsed."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


def refuse(diagnostic: Diagnostic) -> NoReturn:
    """Give up the item at hand.

    Raises:
        Refused: always.
    """
    raise Refused(diagnostic)
