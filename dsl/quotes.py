"""Finding the string that lacks its closing quote."""

from __future__ import annotations

import re

_QUOTED = re.compile(r'(?P<string>"[^"\\]*+(?:\\.[^"\\]*+)*+")|#[^\n]*|(?P<lone>")', re.DOTALL)

_AFTER_STRING = frozenset(" \t\r\n,)]};:#@+")

_MOST = 20
"""Unclosed strings looked for; each takes a look over the rest of the text."""


def unclosed_quotes(text: str) -> frozenset[int]:
    """Return where strings begin that are closed nowhere.

    Where the quotes do not pair up, the culprit is the first string that runs over a line end and
    straight into a word: its end is in truth the beginning of the next one.
    """
    found: set[int] = set()
    at = 0
    while len(found) < _MOST:
        culprit = _culprit(text, at)
        if culprit is None:
            break
        found.add(culprit)
        at = text.find("\n", culprit)
        if at < 0:
            break
    return frozenset(found)


def _culprit(text: str, start: int) -> int | None:
    suspect: int | None = None
    for found in _QUOTED.finditer(text, start):
        if found["lone"]:
            return found.start() if suspect is None else suspect
        if suspect is None and found["string"] and "\n" in found[0]:
            follower = text[found.end() : found.end() + 1]
            if follower and follower not in _AFTER_STRING:
                suspect = found.start()
    return None
