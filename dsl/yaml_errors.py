"""YAML errors in words."""

from __future__ import annotations

import re

from ruamel.yaml.error import MarkedYAMLError, YAMLError

from attnc.dsl import codes
from attnc.dsl.diagnostics import Diagnostic
from attnc.dsl.spans import Source, Span

_QUOTE = "quote the whole value"

_EXPLANATIONS = (
    (r"mapping values are not allowed", "a second ': ' stands in this line", _QUOTE),
    (r"expected <block end>, but found '<scalar>'", "text goes on behind a value that is complete",
     "quote the whole line: a colon and a blank split it in YAML"),
    (r"expected <block end>", "this is indented unlike the lines above",
     "mend the indentation"),
    (r"found character '\\t'|found a tab", "a tab stands in the indentation",
     "indent with blanks"),
    (r"found character '(.)'", "a plain text cannot begin with {0}", _QUOTE),
    (r"while scanning an alias|expected alphabetic or numeric",
     "* begins an alias in YAML", 'quote the shape: "[*, d]"'),
    (r"could not find expected ':'", "a key without ': '", "add a colon, or mend the indentation"),
    (r"expected ',' or '([\]}])'", "a comma or {0} is missing here",
     "close the bracket, or quote the whole value"),
    (r"unexpected end of stream", "this quote is never closed", "close the quote"),
    (r"unknown escape character '(.)'", "\\{0} is no escape of YAML",
     "use single quotes, or write a backslash as \\\\"),
    (r"sequence entries are not allowed", "a list cannot begin here",
     "begin it on a line of its own"),
    (r"special characters are not allowed", "a control character", "remove it"),
)  # fmt: skip
"""What ruamel.yaml says, what that means here, and what to do about it."""


def explained(error: Exception, source: Source, at: int) -> Diagnostic:
    """Return the diagnostic for an error of ruamel.yaml.

    Args:
        at: how far the source had been read; used where the error has no position.
    """
    said = str(getattr(error, "problem", None) or error)
    place = _place(error, said, source, at)
    span = Span(source, place, min(place + 1, len(source.text)))
    for pattern, detail, hint in _EXPLANATIONS:
        found = re.search(pattern, said)
        if found:
            return codes.YAML_SYNTAX.at(span, detail=detail.format(*found.groups()), hint=hint)
    if not isinstance(error, YAMLError):
        said = "an escape that stands for no character"
    return codes.YAML_SYNTAX.at(span, detail=said.splitlines()[0].lower())


def _place(error: Exception, said: str, source: Source, at: int) -> int:
    if isinstance(error, MarkedYAMLError):
        begun = "end of stream" in said
        mark = error.context_mark if begun and error.context_mark else error.problem_mark
        mark = mark or error.context_mark
        return min(mark.index, len(source.text)) if mark else at
    return min(getattr(error, "position", at), len(source.text))
