"""The JSON Schema of the YAML notation, for editors: completion, hover texts, red lines.

It says what may stand where; what stands within strings is the business of the parser.
"""

from __future__ import annotations

from typing import Annotated, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, JsonValue, RootModel, StringConstraints
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"

CLOSED = Field(json_schema_extra={"additionalProperties": False})
"""Of a map whose keys follow a pattern: others are refused."""

Number = Union[int, float]

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]

Header = Annotated[str, StringConstraints(pattern=r"^\s*[A-Za-z_][A-Za-z0-9_]*\s*\(")]

Head = Annotated[str, StringConstraints(pattern=r"^\s*(repeat|for|if|else|when)\b")]

Axis = Annotated[Union[int, str], Field(description="A size: `b`, `64`, `h // 2`, `*`.")]


class Compound(
    RootModel[
        Annotated[
            dict[Head, Union[list[Union[str, "Compound"]], None]], Field(min_length=1, max_length=1)
        ]
    ]
):
    """A statement with a body: `repeat count`, `for a in list`, `if c`, `else`, `when train`."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})


Statement = Union[
    Annotated[str, Field(description="A statement: `x += mlp(layer_norm(x)) @mlp`.")], Compound
]

Statements = Union[list[Statement], None]


class _Table(BaseModel):
    """A map with known keys."""

    model_config = ConfigDict(extra="forbid")


class _OpenTable(BaseModel):
    """A map with known keys, and others that are read elsewhere."""

    model_config = ConfigDict(extra="allow")


class Param(_Table):
    """A param with more than a default."""

    default: JsonValue = Field(
        None,
        description="The value where none is given. A string is an expression of earlier params, "
        "unless the type is string or there are choices. Without it a value must be given.",
    )
    expression: str = Field("", description="A default that is parsed though strings are texts.")
    type: Literal["int", "float", "bool", "string", "list", "map", "op", "score"] = Field(
        "int", description="The kind of value taken; else that of the default."
    )
    min: Number = Field(0, description="The least number, also of each number in a list.")
    max: Number = Field(0, description="The largest number, also of each number in a list.")
    choices: list[Union[Number, str]] = Field(
        [], description="The texts or numbers allowed, also as items of a list."
    )
    fixed: bool = Field(False, description="Whether the default is the only value.")
    doc: str = Field("", description="What the param does, with its unit.")


class Claim(_Table):
    """A number that the spec claims, with its source."""

    value: Number = Field(0, description="The number.")
    tolerance: Number = Field(
        0, description="The relative error that is still right: 0.02 for 2 percent."
    )
    at: dict[str, int] = Field({}, description="Values of symbolic sizes that it is about.")
    source: str = Field("", description="Where the number stands: a table, a checkpoint.")


class Variant(_OpenTable):
    """Overrides of params by name, beside `doc` and `claims`."""

    doc: str = Field("", description="What sets the variant apart.")
    claims: dict[str, Claim] = Field({}, description="What is known: params, macs, metrics.")


class Deviation(_Table):
    """A place where paper, code and spec differ."""

    what: str = Field("", description="The difference.")
    source: str = Field("", description="The file, thread or table that shows it.")


class Paper(_Table):
    """Where the architecture comes from."""

    title: str = Field("", description="The title of the paper.")
    authors: Union[str, list[str]] = Field("", description="Who wrote it.")
    year: int = Field(0, description="The year of publication.")
    venue: str = Field("", description="The conference or journal.")
    arxiv: str = Field("", description="The arXiv number, quoted.")
    url: str = Field("", description="Where to read it, if not on arXiv.")
    repository: str = Field("", description="The official code, owner/name.")
    license: str = Field("", description="The license of the official code.")
    follows: Literal["code", "paper"] = Field(
        "code", description="Which one the spec follows where they differ."
    )
    deviations: list[Deviation] = Field([], description="Where they differ.")


class Block(_Table):
    """A block with a doc."""

    doc: str = Field("", description="What the block computes.")
    body: Statements = Field(None, description="Its statements.")


Params = Annotated[dict[Name, Union[Param, Number, bool, str, list[JsonValue], None]], CLOSED]
Variants = Annotated[dict[Name, Union[Variant, None]], CLOSED]
Inputs = Annotated[dict[Name, Union[list[Axis], str, None]], CLOSED]
Blocks = Annotated[dict[Header, Union[list[Statement], Block, None]], CLOSED]
Outputs = Annotated[dict[Name, Union[Number, bool, str]], CLOSED]


class SpecFile(_Table):
    """An architecture; or, with blocks alone, a library."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["model"]}, {"required": ["blocks"]}]}
    )

    attnc: Literal[1] = Field(1, description="The language version.")
    model: Name = Field("", description="The name of the model.")
    doc: str = Field("", description="What the model is, in a sentence or two.")
    paper: Union[Paper, None] = Field(None, description="Where the architecture comes from.")
    params: Union[Params, None] = Field(
        None, description="Compile-time values: `heads: 8`, or `{default: 8, min: 1, doc: ...}`."
    )
    variants: Union[Variants, None] = Field(
        None, description="Named sets of overrides, with claims about them."
    )
    inputs: Union[Inputs, None] = Field(
        None, description='Tensors taken: `image: [b, 3, size, size]`, `ids: "[b, n] int"`.'
    )
    blocks: Union[Blocks, None] = Field(
        None,
        description="Named sub-graphs. The key is the header, in quotes: "
        '`"mlp(x: [*, d]; ratio = 4) -> [*, d]"`.',
    )
    graph: Statements = Field(None, description="The statements of the model.")
    outputs: Union[Outputs, list[Name], None] = Field(
        None, description="Names with expressions, or names bound in the graph."
    )
    weights: Union[dict[str, JsonValue], None] = Field(
        None, description="For each source, a map from the names of its checkpoint to ours."
    )
    parity: Union[dict[str, JsonValue], None] = Field(
        None, description="How to drive the spec from a golden file."
    )


class _Plain(GenerateJsonSchema):
    """Without titles, which repeat the names, and without defaults, which the reader has not."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


def json_schema() -> dict[str, object]:
    """Return the JSON Schema of a spec in YAML."""
    return {"$schema": DIALECT, **SpecFile.model_json_schema(schema_generator=_Plain)}
