"""Canonical text of specs, statements and expressions."""

from __future__ import annotations

from attnc.dsl.expression_printer import expression_text
from attnc.dsl.text_printer import statements_text, to_text
from attnc.dsl.yaml_printer import to_yaml

__all__ = ["expression_text", "statements_text", "to_text", "to_yaml"]
