"""Domains that tensors or lists describe: groups, blocks, routed, sampled; and one per heads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from attnc.dsl import codes, tree
from attnc.dsl.attention import (
    Blocks,
    Coordinate,
    Groups,
    Load,
    PerHeads,
    RoutedKeys,
    RoutedRegions,
    Sampled,
)
from attnc.dsl.builder import Builder
from attnc.dsl.expressions import fail
from attnc.dsl.forms.capture import noted
from attnc.dsl.forms.form import Form
from attnc.dsl.forms.spatial import Given, given
from attnc.dsl.graph import Value
from attnc.dsl.scorelang import with_trees
from attnc.dsl.values import DomainValue, noun

_KINDS = {"int": "an int", "float": "a float"}
_LEADING = (Coordinate("b"), Coordinate("h"))
"""What the first axes of an index run over."""


def _groups(builder: Builder, call: tree.Call, label: str | None) -> object:
    at = given(builder, call, "groups", ("index", "key_index"))
    tensors: dict[str, Value] = {}
    query = _index(at, "index", 1, tensors)
    key = _index(at, "key_index" if "key_index" in at.named else "index", 1, tensors)
    numbers = [
        Load(row.tensor, (*row.indices, Coordinate(token)), "int")
        for row, token in ((query, "i"), (key, "j"))
    ]
    return DomainValue(Groups(*numbers), tuple(tensors.items()))


def _blocks(builder: Builder, call: tree.Call, label: str | None) -> object:
    at = given(builder, call, "blocks", ("lengths", "key_lengths"))
    queries = at.sizes("lengths")
    keys = at.sizes("key_lengths") if "key_lengths" in at.named else queries
    if len(queries) != len(keys):
        at.fail(at.named["key_lengths"], "there are as many key_lengths as lengths")
    return DomainValue(Blocks(queries, keys))


def _routed(builder: Builder, call: tree.Call, label: str | None) -> object:
    at = given(builder, call, "routed", ("index", "regions", "grid", "key_grid"))
    tensors: dict[str, Value] = {}
    index = _index(at, "index", 2, tensors)
    chosen = tensors[index.tensor].shape[-1]
    if "regions" not in at.named:
        return DomainValue(RoutedKeys(index, chosen, at.grid()), tuple(tensors.items()))
    domain = RoutedRegions(index, chosen, at.sizes("regions"), at.grid())
    return DomainValue(domain, tuple(tensors.items()))


def _sampled(builder: Builder, call: tree.Call, label: str | None) -> object:
    at = given(builder, call, "sampled", ("centre", "radius", "grid", "key_grid"))
    tensors: dict[str, Value] = {}
    row = _rows(at, "centre", "float", "[b, n, axes] or [b, h, n, axes]", range(1, 3), 2, tensors)
    centre = Load(row.tensor, (*row.indices, Coordinate("i")))
    domain = Sampled(centre, at.sizes("radius", 0), at.grid())
    return DomainValue(domain, tuple(tensors.items()))


def _per_heads(builder: Builder, call: tree.Call, label: str | None) -> object:
    tensors: dict[str, Value] = {}
    domains = []
    for argument in call.arguments:
        value = builder.evaluate(argument.value)
        if not isinstance(value, DomainValue) or argument.name is not None:
            fail(codes.ARGUMENT.at(
                argument.span, op="per_heads", detail=f"takes domains, not {noun(value)}"
            ))  # fmt: skip
        take = partial(noted, used=value.tensors, tensors=tensors)
        domains.append(with_trees(value.domain, take))
    if not domains:
        fail(codes.ARGUMENT.at(call.span, op="per_heads", detail="takes one domain at least"))
    return DomainValue(PerHeads(tuple(domains)), tuple(tensors.items()))


def _index(at: Given, parameter: str, own: int, tensors: dict[str, Value]) -> Load:
    """Return the reads of an index by its leading axes; `own` axes are left to the domain.

    The leading axes are none (for one own axis), [b] or [b, h].
    """
    if own == 1:
        return _rows(at, parameter, "int", "[n], [b, n] or [b, h, n]", range(3), own, tensors)
    return _rows(at, parameter, "int", "[b, n, k] or [b, h, n, k]", range(1, 3), own, tensors)


def _rows(
    at: Given,
    parameter: str,
    dtype: str,
    shapes: str,
    leading: range,
    own: int,
    tensors: dict[str, Value],
) -> Load:
    """Return the reads of a tensor by its leading axes, of which there may be so many."""
    expr = at.expr(parameter)
    value = at.builder.evaluate(expr)
    if not isinstance(value, Value) or value.type.dtype != dtype:
        at.fail(expr, f"{parameter} is {_KINDS[dtype]} tensor, not {noun(value)}")
    if len(value.shape) - own not in leading:
        at.fail(expr, f"{parameter} has shape {shapes}, not {value.type}")
    name = expr.id if isinstance(expr, tree.Name) else parameter
    row = Load(name, _LEADING[: len(value.shape) - own], dtype)
    noted_row = noted(row, ((name, value),), tensors)
    assert isinstance(noted_row, Load)
    return noted_row


INDEXED: Mapping[str, Form] = {
    "groups": Form(_groups),
    "blocks": Form(_blocks),
    "routed": Form(_routed),
    "sampled": Form(_sampled),
    "per_heads": Form(_per_heads),
}
