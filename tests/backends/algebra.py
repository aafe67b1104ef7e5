"""Small specs, each with its meaning in plain torch, on inputs by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

import attnc

torch.set_num_threads(1)

B, H, N, M, D = 2, 2, 6, 8, 3
SCALE = D**-0.5
Given = Mapping[str, Tensor]

SHAPES: Mapping[str, tuple[int, ...]] = {
    "q": (B, H, N, D), "k": (B, H, N, D), "v": (B, H, N, 4),
    "kc": (B, H, M, D), "vc": (B, H, M, 4),
    "learned": (H, 1, D), "value": (H, 1, 4),
    "t": (H,), "u": (B, H, N), "c": (B, N), "gate": (B, N, N), "area": (N,),
    "signed": (H, 2 * N - 1), "absolute": (H, N), "wrapped": (H, 2, 3),
    "rows": (2 * N - 1, D), "columns": (2 * N - 1, D), "values": (2 * N - 1, 4),
    "logits": (B, H, N, 3), "x": (B, H, 12, D),
}  # fmt: skip
"""Float inputs by name: those that a spec mentions are declared."""
WHOLE = {"p": (B,), "e": (B,), "seg": (B, N)}


@dataclass(frozen=True)
class Case:
    """Statements that bind `o`, and what `o` is."""

    text: str
    meaning: Callable[[Given], Tensor]


# Plain torch ------------------------------------------------------------------------------

ROW, COL = torch.arange(N)[:, None], torch.arange(N)[None, :]
OTHER = torch.arange(M)[None, :]


def dot(q: Tensor, k: Tensor) -> Tensor:
    return torch.einsum("bhid,bhjd->bhij", q, k)


def read(scores: Tensor, v: Tensor, allowed: Tensor | None = None) -> Tensor:
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    return torch.einsum("bhij,bhje->bhie", scores.softmax(-1), v)


def plain(g: Given) -> Tensor:
    return dot(g["q"], g["k"]) * SCALE


def cross(g: Given) -> Tensor:
    return dot(g["q"], g["kc"]) * SCALE


def by_batch(x: Tensor) -> Tensor:
    return x[:, None, None, None]


def mentioned(text: str, names: Mapping[str, object]) -> list[str]:
    return [name for name in names if re.search(rf"\b{name}\b(?!\s*=)", text)]


def check(case: Case) -> None:
    """Compare the reference with the meaning of a case."""
    text = case.text
    draw = torch.Generator().manual_seed(0)
    given = {
        each: torch.randn(SHAPES[each], generator=draw).double() for each in mentioned(text, SHAPES)
    }
    given |= {
        each: torch.randint(1, 3, WHOLE[each], generator=draw) + 3 * (each == "e")
        for each in mentioned(text, WHOLE)
    }
    declared = "\n".join(
        f"  input {each}: {list(tensor.shape)} {'' if tensor.is_floating_point() else 'int'}"
        for each, tensor in given.items()
    )
    spec = f"model m() {{\n{declared}\n  {text}\n  output o = o\n}}"
    model = attnc.compile(attnc.loads(spec), target="reference").double()
    found = model(*given.values())
    torch.testing.assert_close(found, case.meaning(given), rtol=1e-12, atol=1e-12)
