"""The JSON Schema fits what the YAML reader takes, and refuses what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from attnc.dsl.declarations import PARAM_FACTS, PARAM_TYPES, VERSION
from attnc.dsl.facts import FOLLOWED, PAPER
from attnc.dsl.schema import DIALECT, Block, Paper, Param, SpecFile, json_schema
from attnc.dsl.yaml_reader import KEYS

ZOO = sorted((Path(__file__).resolve().parents[2] / "zoo").glob("*/*.yaml"))


def loaded(text: str) -> object:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 2)
    return yaml.load(text)


def accepts(text: str) -> bool:
    try:
        SpecFile.model_validate(loaded(text))
    except ValidationError:
        return False
    return True


def test_it_is_json_with_a_dialect() -> None:
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert schema["$schema"] == DIALECT


def test_every_key_has_a_description() -> None:
    schema = json_schema()
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert set(properties) == set(KEYS)
    assert all("description" in entry for entry in properties.values())
    assert schema["additionalProperties"] is False
    assert "default" not in properties["graph"]


def test_it_knows_what_the_reader_knows() -> None:
    assert set(Param.model_fields) == {*PARAM_FACTS, "default", "expression"}
    assert get_args(Param.model_fields["type"].annotation) == PARAM_TYPES
    assert get_args(SpecFile.model_fields["attnc"].annotation) == (VERSION,)
    assert set(Block.model_fields) == {"doc", "body"}


@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.stem)
def test_it_takes_the_zoo(path: Path) -> None:
    SpecFile.model_validate(loaded(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "text",
    [
        "model: m",
        "blocks: {f(x): [return x]}",
        "model: m\nparams: {a: 1, b: [1, 2], c: {default: gelu, type: op}, d: }",
        "model: m\ninputs: {x: [b, 3], y: '[b] int', z: }",
        "model: m\nvariants: {s: {dim: 2, claims: {params: {value: 1, source: t}}}, t: }",
        "model: m\ngraph:\n  - x = 1\n  - repeat 2:\n      - if a: [x = 2]\n      - else: []",
        "model: m\noutputs: [x]",
        "model: m\noutputs: {x: f(y)}",
        "model: m\npaper: {title: t, follows: code, deviations: [{what: a, source: b}]}",
    ],
)
def test_it_takes_what_the_reader_takes(text: str) -> None:
    assert accepts(text)


@pytest.mark.parametrize(
    "text",
    [
        "model: m\nparmas: {}",
        "model: vit-small",
        "attnc: 2\nmodel: m",
        "model: m\nparams: {a: {defualt: 1}}",
        "model: m\nparams: {a: {type: itn}}",
        "model: m\nparams: {a-b: 1}",
        "model: m\nblocks: {f: [x = 1]}",
        "model: m\nblocks: {f(x): {bdoy: []}}",
        "model: m\ngraph: x = 1",
        "model: m\ngraph: [{repaet 2: [x = 1]}]",
        "model: m\ngraph: [{if a: [x = 1], else: []}]",
        "model: m\npaper: {follows: both}",
    ],
)
def test_it_refuses_what_the_reader_refuses(text: str) -> None:
    assert not accepts(text)


def test_it_knows_the_facts_that_are_checked() -> None:
    assert set(Paper.model_fields) == set(PAPER)
    assert get_args(Paper.model_fields["follows"].annotation) == FOLLOWED
