"""The table as a whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from attnc.dsl import ops
from attnc.dsl.ops import TABLE
from attnc.dsl.ops.parameter import DOCS, KINDS
from attnc.dsl.ops.signature import parse

FAMILIES = [
    (name, module.ROWS)
    for name, module in vars(ops).items()
    if hasattr(module, "ROWS") and hasattr(module, "FAMILY")
]


def test_names_are_unique() -> None:
    names = [row.name for _, rows in FAMILIES for row in rows]
    assert sorted(names) == sorted(TABLE)


@pytest.mark.parametrize("family", [name for name, _ in FAMILIES])
def test_family_has_a_test_of_its_name(family: str) -> None:
    assert Path(__file__).with_name(f"test_{family}.py").exists()


@pytest.mark.parametrize("name", TABLE)
def test_row_is_documented(name: str) -> None:
    row = TABLE[name]
    assert row.doc.endswith(".")
    for parameter in row.parameters:
        assert parameter.doc, parameter.name
        assert parameter.kind.removesuffix("?") in KINDS


def test_every_word_of_the_vocabulary_is_used() -> None:
    used = {p.name.lstrip("*") for row in TABLE.values() for p in row.parameters}
    assert used == DOCS.keys()


@pytest.mark.parametrize("name", TABLE)
def test_defaults_are_of_their_kind(name: str) -> None:
    for parameter in TABLE[name].parameters:
        if isinstance(parameter.default, (bool, int, float, str, type(None))):
            assert parameter.accepts(parameter.default)


@pytest.mark.parametrize("name", TABLE)
def test_sizes_are_not_called_like_tensors(name: str) -> None:
    signature = parse(TABLE[name].signature)
    patterns = "".join(map(str, signature.patterns.values()))
    assert not {label for label in signature.patterns if f"*{label}" in patterns}


def test_import_needs_neither_torch_nor_parsers() -> None:
    heavy = "{'torch', 'numpy', 'lark', 'ruamel.yaml', 'pydantic', 'networkx'}"
    code = f"import sys, attnc.dsl.ops; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
