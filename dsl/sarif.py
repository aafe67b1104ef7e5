"""Diagnostics as SARIF 2.1.0, the exchange format of code scanners.

Source: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from attnc.dsl.codes import CATALOGUE
from attnc.dsl.diagnostics import Diagnostic, place
from attnc.dsl.render import Json
from attnc.dsl.spans import Span


def render_sarif(diagnostics: Iterable[Diagnostic]) -> str:
    """Return a SARIF 2.1.0 log with one run."""
    ordered = sorted(diagnostics, key=place)
    codes = sorted({diagnostic.code for diagnostic in ordered})
    driver: Json = {"name": "attnc", "rules": [_rule(code) for code in codes]}
    run: Json = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(diagnostic) for diagnostic in ordered],
    }
    log: Json = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"


def _rule(code: str) -> Json:
    problem = CATALOGUE.get(code)
    title = problem.title if problem else code
    meaning = problem.meaning if problem else ""
    return {
        "id": code,
        "shortDescription": {"text": title},
        "fullDescription": {"text": meaning or title},
    }


def _result(diagnostic: Diagnostic) -> Json:
    remedy = f"\n{diagnostic.help}" if diagnostic.help else ""
    related = [
        {**_location(note.span), "message": {"text": note.message}}
        for note in diagnostic.notes
        if note.span
    ]
    return {
        "ruleId": diagnostic.code,
        "level": "error",
        "message": {"text": diagnostic.message + remedy},
        "locations": [_location(diagnostic.span)] if diagnostic.span else [],
        "relatedLocations": related,
    }


def _location(span: Span) -> Mapping[str, Json]:
    line, column = span.source.position(span.end)
    region: Json = {
        "startLine": span.line, "startColumn": span.column, "endLine": line, "endColumn": column,
    }  # fmt: skip
    artifact: Json = {"uri": quote(span.source.name)}
    return {"physicalLocation": {"artifactLocation": artifact, "region": region}}
