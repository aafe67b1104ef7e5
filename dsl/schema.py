"""The JSON Schema of the YAML notation, for editors: completion, hover texts, red lines.

It says what may stand where; what stands within strings is the business of the parser.
"""

from __future__ import annotations

from typing import Annotated, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints
from typing_extensions import TypeAliasType

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]

Header = Annotated[str, StringConstraints(pattern=r"^\s*[A-Za-z_][A-Za-z0-9_]*\s*\(")]

Head = Annotated[str, StringConstraints(pattern=r"^\s*(repeat|for|if|else|when)\b")]

Compound = TypeAliasType(
    "Compound",
    Annotated[
        dict[Head, Union["list[Statement]", None]],
        Field(
            min_length=1, max_length=1,
            description="A statement with a body: `repeat count as i`, `for a in list`, "
            "`if condition`, `else`, `when train`.",
        ),
    ],
)  # fmt: skip

Statement = TypeAliasType(
    "Statement",
    Union[
        Annotated[str, Field(description="A statement: `x += mlp(layer_norm(x)) @mlp`.")],
        Compound,
    ],
)

Axis = Annotated[Union[int, str], Field(description="A size: `b`, `64`, `h // 2`, `*`.")]

Number = Union[int, float]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ParamTable(_Table):
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
    choices: list[Union[Number, str]] = Field([], description="The texts or numbers allowed.")
    doc: str = Field("", description="What the param does, with its unit.")


class Claim(BaseModel):
    """A number that the spec claims, with its source."""

    model_config = ConfigDict(extra="allow")

    value: Number = Field(0, description="The number.")
    tolerance: JsonValue = Field(None, description="How far off is still right.")
    source: str = Field("", description="Where the number stands: a table, a checkpoint.")


class Variant(BaseModel):
    """Overrides of params by name, beside `doc` and `claims`."""

    model_config = ConfigDict(extra="allow")

    doc: str = Field("", description="What sets the variant apart.")
    claims: dict[str, Union[Claim, JsonValue]] = Field(
        {}, description="What is known about it: params, macs, metrics."
    )


class Deviation(BaseModel):
    """A place where paper and code, or code and spec, differ."""

    model_config = ConfigDict(extra="allow")

    what: str = Field("", description="The difference.")
    source: str = Field("", description="The file, thread or table that shows it.")


class Paper(BaseModel):
    """Where the architecture comes from."""

    model_config = ConfigDict(extra="allow")

    title: str = Field("", description="The title of the paper.")
    year: int = Field(0, description="The year of publication.")
    arxiv: str = Field("", description="The arXiv number, quoted.")
    repository: str = Field("", description="The official code, owner/name.")
    follows: Literal["code", "paper"] = Field(
        "code", description="Which one the spec follows where they differ."
    )
    deviations: list[Deviation] = Field([], description="Where they differ.")


class BlockTable(_Table):
    """A block with a doc."""

    doc: str = Field("", description="What the block computes.")
    body: Union[list[Statement], None] = Field(None, description="Its statements.")


class SpecFile(_Table):
    """An architecture, or with `blocks` alone a library of blocks."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"anyOf": [{"required": ["model"]}, {"required": ["blocks"]}]},
    )

    attnc: Literal[1] = Field(1, description="The language version.")
    model: Name = Field("", description="The name of the model.", validate_default=False)
    doc: str = Field("", description="What the model is, in a sentence or two.")
    paper: Union[Paper, None] = Field(None, description="Where the architecture comes from.")
    params: Union[dict[Name, Union[ParamTable, JsonValue]], None] = Field(
        None, description="Compile-time values: `heads: 8`, or `{default: 8, min: 1, doc: ...}`."
    )
    variants: Union[dict[Name, Union[Variant, None]], None] = Field(
        None, description="Named sets of overrides, with claims about them."
    )
    inputs: Union[dict[Name, Union[list[Axis], str, None]], None] = Field(
        None, description='Tensors taken: `image: [b, 3, size, size]`, `ids: "[b, n] int"`.'
    )
    blocks: Union[dict[Header, Union[list[Statement], BlockTable, None]], None] = Field(
        None,
        description="Named sub-graphs. The key is the header, quoted: "
        '`"mlp(x: [*, d]; ratio = 4) -> [*, d]"`.',
    )
    graph: Union[list[Statement], None] = Field(None, description="The statements of the model.")
    outputs: Union[dict[Name, Union[Number, bool, str]], list[Name], None] = Field(
        None, description="Names with expressions, or names bound in the graph."
    )
    weights: Union[dict[str, JsonValue], None] = Field(
        None, description="For each source a map from the names of its checkpoint to ours."
    )
    parity: Union[dict[str, JsonValue], None] = Field(
        None, description="How to drive the spec from a golden file."
    )


def json_schema() -> dict[str, object]:
    """Return the JSON Schema of a spec in YAML."""
    return {"$schema": DIALECT, **SpecFile.model_json_schema()}
