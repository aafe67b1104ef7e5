"""Attention over a grid as a site, on random streams, and how windows are moved about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

import attnc
from attnc.backends.reference import function
from attnc.compiler.kernel import Site
from attnc.compiler.sites import site_of

ROWS, COLUMNS, HEADS, WIDTH = 6, 8, 4, 3
TOKENS = ROWS * COLUMNS
TOLERANCE = 1e-12


def site(arguments: str, inputs: Mapping[str, str] | None = None, n: int = TOKENS) -> Site:
    """Return the site of `attend(q, k, v, arguments)`."""
    given = dict.fromkeys("qkv", f"[2, {HEADS}, {n}, {WIDTH}]") | dict(inputs or {})
    declared = "\n".join(f" input {name}: {shape}" for name, shape in given.items())
    text = f"model m {{\n{declared}\n output o = attend(q, k, v, {arguments})\n}}"
    graph = attnc.check(attnc.loads(text, "m.attn"))
    return site_of(next(node for node in graph.body.nodes if node.op == "attend"), "attend")


def streams(n: int = TOKENS, m: int = TOKENS) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(n)
    sizes = (n, m, m)
    q, k, v = (
        torch.randn(2, HEADS, each, WIDTH, generator=draw, dtype=torch.float64) for each in sizes
    )
    return q, k, v


def plain(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    return (q @ k.transpose(-2, -1) * WIDTH**-0.5 + bias).softmax(-1) @ v


def three(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = parts
    return q, k, v


def windowed(x: Tensor, rows: int, columns: int, height: int = ROWS) -> Tensor:
    """Return the windows [b, h, windows, tokens, e] of tokens [b, h, n, e]."""
    x = x.unflatten(2, (height // rows, rows, -1, columns))
    return x.transpose(3, 4).flatten(4, 5).flatten(2, 3)


def reversed_windows(x: Tensor, rows: int, columns: int, height: int = ROWS) -> Tensor:
    """Undo `windowed`."""
    x = x.unflatten(2, (height // rows, -1)).unflatten(4, (rows, columns))
    return x.transpose(3, 4).flatten(2, 5)


def rolled(x: Tensor, shifts: tuple[int, int], height: int = ROWS) -> Tensor:
    return x.unflatten(2, (height, -1)).roll(shifts, (2, 3)).flatten(2, 3)


def check(
    made: Site, expected: Tensor, *tensors: Tensor, sizes: tuple[int, int] | None = None
) -> None:
    """Check the reference."""
    operands = (*streams(*(sizes or (TOKENS, TOKENS))), *tensors)
    torch.testing.assert_close(function(made)(*operands), expected, rtol=TOLERANCE, atol=TOLERANCE)
