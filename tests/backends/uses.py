"""Uses of the library's attentions at drawn sizes: those of the example, varied by signature."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from hypothesis import reject
from hypothesis import strategies as st
from torch import Tensor

from attnc.dsl import library
from attnc.dsl.diagnostics import SpecError
from attnc.dsl.tree import Name, Number, Port
from tests.backends.primitives import graph

Draw = st.DrawFn
UNITS = ("window", "stripe", "regions", "group", "interval")
"""Params that part a grid: its sides are multiples of them."""
STRIDES = ("plain", "transposed", "sliced", "spread")


@dataclass(frozen=True)
class Use:
    """A spec that uses an attention, and its inputs.

    Attributes:
        shapes: of the inputs, by name, with `float`, `int` or `bool`.
        below: indices are below it.
        strides: how float inputs lie in memory.
    """

    text: str
    shapes: Mapping[str, tuple[tuple[int, ...], str]] = field(repr=False)
    below: int
    strides: str
    seed: int

    def operands(self) -> list[Tensor]:
        """Inputs in float64; a mask lets no token of the first element of the batch through."""
        generator = torch.Generator().manual_seed(self.seed)
        return [self._made(shape, kind, generator) for shape, kind in self.shapes.values()]

    def _made(self, shape: Sequence[int], kind: str, generator: torch.Generator) -> Tensor:
        if kind == "int":
            return torch.randint(0, max(self.below, 1), list(shape), generator=generator)
        if kind == "bool":
            mask = torch.rand(shape, generator=generator) < 0.7
            mask[0] = False
            return mask
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def laid(self, x: Tensor) -> Tensor:
        """A tensor with these strides; what lies between its elements is NaN."""
        match self.strides:
            case "transposed":
                return x.transpose(0, 1).contiguous().transpose(0, 1)
            case "sliced":
                wide = x.new_full((*x.shape[:-1], 2 * x.shape[-1] + 1), torch.nan)
                wide[..., 1::2] = x
                return wide[..., 1::2]
            case "spread":
                return x[:1].expand(x.shape)
        return x


@st.composite
def uses(draw: Draw, name: str) -> Use:
    """Draw a use: heads, widths, tokens, grids, windows, patterns, masks."""
    example = library.example(name)
    assert example is not None
    given, stated = _arguments(example.call)
    block = library.block(name).block
    values = _values(draw, stated, {param.name for param in block.params})
    choices = next((param.choices for param in block.params if param.name == "pattern"), ())
    pattern = draw(st.sampled_from(list(map(str, choices))))
    values["pattern"] = f'"{pattern}"'
    has_maximum = re.search(r"\b(arg)?max\(", library.text(name)) is not None
    least = 1 if has_maximum else 0  # a largest of no tokens there is not
    sizes = _sizes(draw, values, least, is_self="self" in pattern)
    if int(values.get("landmarks", 1)) > sizes["n"]:
        reject()  # they are means over runs of tokens, by definition not more of them
    ports = [port for port in block.ports if not port.optional]
    shapes: dict[str, tuple[tuple[int, ...], str]] = {}
    for port, argument in zip(ports, given, strict=True):
        kind = example.inputs.get(argument)
        if kind is not None and argument not in shapes and _is_known(port, sizes):
            shapes[argument] = _shape(port, sizes), port.dtype
    for argument, kind in example.inputs.items():  # of what is rearranged first
        if argument not in shapes:
            shapes[argument] = _as_stated(kind, sizes)
    masks = [port for port in block.ports if port.optional and port.dtype == "bool"]
    keywords = dict(values)
    for port in masks if draw(st.booleans()) else ():
        shapes[port.name], keywords[port.name] = (_shape(port, sizes), "bool"), port.name
    listed = ", ".join([*given, *(f"{key}={value}" for key, value in keywords.items())])
    text = _spec(name, listed, shapes, example.results)
    try:
        graph(text)
    except SpecError:
        reject()
    below = min(sizes["n"], sizes["m"])
    return Use(text, shapes, below, draw(st.sampled_from(STRIDES)), draw(st.integers(0, 9)))


def _arguments(call: str) -> tuple[list[str], dict[str, str]]:
    """Return the tensors and the named params of a call."""
    inside = call[call.index("(") + 1 : -1]
    parts = re.findall(r"(?:\[[^\]]*\]|\((?:[^()]|\([^()]*\))*\)|\"[^\"]*\"|[^,])+", inside)
    parts = [part.strip() for part in parts]
    named = dict(part.split("=", 1) for part in parts if re.match(r"\w+=", part))
    return [part for part in parts if not re.match(r"\w+=", part)], named


def _values(draw: Draw, stated: Mapping[str, str], params: set[str]) -> dict[str, str]:
    """Draw params that the example states: those of a grid together, others on their own."""
    values: dict[str, str] = {}
    heads = draw(st.integers(1, 3))
    side = st.integers(1, 2 if "interval" in stated else 3)
    units = [1, 1]
    for key in (key for key in UNITS if key in stated and "grid" in stated):
        pair = [draw(side), draw(side)]
        values[key] = str(pair if stated[key].startswith("[") else pair[0])
        whole = pair if stated[key].startswith("[") else [pair[0]] * 2
        units = [unit * each for unit, each in zip(units, whole, strict=True)]
    radius = draw(st.integers(0, 1))
    for key, value in stated.items():
        if key in values or key == "pattern":
            continue
        match key:
            case "heads" | "latent_heads":
                values[key] = str(heads)
            case "grid":
                values[key] = str([unit * draw(st.integers(1, 3)) for unit in units])
            case "key_grid":
                values[key] = str([2 * radius + 2 + draw(st.integers(0, 2)) for _ in units])
            case "kernel":
                values[key] = str(draw(st.sampled_from([1, 3])))
            case "radius":
                values[key] = str(radius)
            case "width":
                values[key] = str(2 * heads * draw(st.integers(1, 2)))
            case _:
                values[key] = str(draw(st.integers(1, int(value) + 1)))
    if "kv_heads" in params:
        shared = [each for each in range(1, heads + 1) if heads % each == 0]
        values["kv_heads"] = str(draw(st.sampled_from(shared)))
    return values


def _sizes(draw: Draw, values: Mapping[str, str], least: int, *, is_self: bool) -> dict[str, int]:
    """Draw the sizes of tokens and widths, by the names that signatures have for them."""
    heads = int(values.get("heads", 2))
    tokens = st.integers(1, 19)
    n = _product(values["grid"]) if "grid" in values else draw(tokens)
    m = n if is_self else draw(st.integers(least, 19))
    if "key_grid" in values:
        m = _product(values["key_grid"])
    return {
        "b": draw(st.integers(1, 3)), "n": n, "m": m, "p": draw(tokens),
        "d": 2 * heads * draw(st.integers(1, 2)), "c": 2 * heads * draw(st.integers(1, 2)),
        "f": draw(st.integers(1, 5)), "heads": heads, "e": 2 * draw(st.integers(1, 3)),
        "g": draw(st.sampled_from([1, heads])), "s": draw(st.integers(1, n)),
        "k": draw(st.integers(1, n)),
    }  # fmt: skip


def _product(text: str) -> int:
    return math.prod(map(int, re.findall(r"\d+", text)))


def _is_known(port: Port, sizes: Mapping[str, int]) -> bool:
    items = () if port.shape is None else port.shape.items
    return all(item.id in sizes for item in items if isinstance(item, Name))


def _shape(port: Port, sizes: Mapping[str, int]) -> tuple[int, ...]:
    assert port.shape is not None
    shape = []
    for item in port.shape.items:
        assert isinstance(item, (Name, Number)), item
        shape.append(sizes[item.id] if isinstance(item, Name) else int(item.value))
    return tuple(shape)


def _as_stated(kind: str, sizes: Mapping[str, int]) -> tuple[tuple[int, ...], str]:
    """Return the shape of an input as the example states it."""
    axes = kind[1 : kind.index("]")].split(",")
    shape = tuple(sizes[axis.strip()] if axis.strip() == "b" else int(axis) for axis in axes)
    return shape, kind[kind.index("]") + 1 :].strip() or "float"


def _spec(
    name: str, arguments: str, shapes: Mapping[str, tuple[tuple[int, ...], str]], results: int
) -> str:
    lines = [
        f"  input {key}: [b{''.join(f', {size}' for size in shape[1:])}]"
        f"{'' if kind == 'float' else f' {kind}'}"
        if key != "sample"
        else f"  input {key}: {list(shape)} {kind}"
        for key, (shape, kind) in shapes.items()
    ]
    made = [f"y{number}" for number in range(results)]
    lines.append(f"  {', '.join(made)} = {name}({arguments}) @f")
    lines += [f"  output out{number} = {each}" for number, each in enumerate(made)]
    return "model drawn {\n" + "\n".join(lines) + "\n}\n"
