"""The attentions that are measured on a GPU, and what computes them beside ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import flex_attention as flexible

import attnc
from attnc.api import Compilation
from attnc.compiler.artefact import load_module
from attnc.compiler.kernel import Site, Target
from attnc.compiler.sites import site_of
from attnc.compiler.targets import parse_target
from attnc.dsl.graph import Graph

Function = Callable[..., object]
Mode = Literal["forward", "backward", "step"]
Given = tuple[tuple[int, ...], int]
"""A shape, and what ints are below; 0 for floats."""


@dataclass(frozen=True)
class Attention:
    """One call of `attend` at given sizes.

    Attributes:
        call: as a spec has it.
        inputs: by name, in order.
        results: how many it gives.
        band: keys before and after a query, where that is the domain.
    """

    call: str
    inputs: Mapping[str, Given]
    results: int = 1
    band: tuple[int, int] | None = None

    @property
    def graph(self) -> Graph:
        """The checked model that does nothing else."""
        declared = "".join(
            f"  input {name}: {[*shape]}{' int' if below else ''}\n"
            for name, (shape, below) in self.inputs.items()
        )
        names = [f"r{number}" for number in range(self.results)]
        outputs = "".join(f"  output out_{name} = {name}\n" for name in names)
        text = f"model attention {{\n{declared}  {', '.join(names)} = {self.call}\n{outputs}}}"
        return attnc.check(attnc.loads(text, "attention.attn"))

    @property
    def site(self) -> Site:
        """The attention as backends see it."""
        return site_of(next(node for node in self.graph.body.nodes if node.op == "attend"), "a")

    def draw(self, dtype: torch.dtype, device: str) -> list[Tensor]:
        """Return the same random inputs at every call; different ints in a row."""
        generator = torch.Generator().manual_seed(0)
        made = []
        for shape, below in self.inputs.values():
            if below:
                keys = torch.rand(*shape[:-1], below, generator=generator)
                made.append(keys.topk(shape[-1], dim=-1).indices.to(device))
            else:
                made.append(torch.randn(shape, generator=generator).to(device, dtype))
        return made


@dataclass(frozen=True)
class OnCard(Compilation):
    """A compilation for a card in which one backend computes all that it can."""

    card: str = "cuda:90"

    @property
    def plan_target(self) -> Target:
        """The card."""
        return parse_target(self.card)


def module(compilation: Compilation) -> nn.Module:
    """Return the emitted model; interpreted kernels take the tiles that fit every card."""
    artefact = compilation.artefact
    package = load_module(artefact)
    if compilation.interpreted:
        vars(package.kernels)["card_of"] = lambda q: None
    model: nn.Module = getattr(package, artefact.model)()
    return model


@dataclass(frozen=True)
class Case:
    """One figure.

    Attributes:
        full: as it is measured.
        tiny: the same for a run that only checks numbers.
        others: what else computes it.
        plain: the same attention of all pairs, for rates by pair that is computed.
    """

    name: str
    part: str
    full: Attention
    tiny: Attention
    mode: Mode
    others: Mapping[str, Callable[[Attention], Function]] = field(default_factory=dict)
    plain: Attention | None = None


# Other ways -------------------------------------------------------------------------------


def sdpa(attention: Attention, causal: bool = False) -> Function:
    """Return torch's own function: cuDNN or FlashAttention on a GPU."""
    return partial(F.scaled_dot_product_attention, is_causal=causal)


def flex(
    attention: Attention, mask: Callable[..., Tensor] | None = None, table: bool = False
) -> Function:
    """Return FlexAttention, on a GPU its Triton kernel.

    Args:
        mask: of (batch, head, i, j), unless the domain is a band; blocks without a pair are
            skipped.
        table: whether the last input is a learned term by head and distance.
    """
    n = attention.inputs["q"][0][2]
    on_gpu = torch.cuda.is_available()
    options: Any = {"BACKEND": "TRITON"} if on_gpu and _has_choice() else None
    block_mask = None
    if attention.band is not None:
        mask = _near(*attention.band)
    if mask is not None:
        device = "cuda" if on_gpu else "cpu"
        block_mask = flexible.create_block_mask(mask, None, None, n, n, device=device)

    def run(q: Tensor, k: Tensor, v: Tensor, *learned: Tensor) -> object:
        def score(value: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            return value + learned[0][h, i - j + n - 1] if table else value

        return flexible.flex_attention(
            q, k, v, score_mod=score if table else None, block_mask=block_mask,
            kernel_options=options,
        )  # fmt: skip

    return torch.compile(run, dynamic=False) if on_gpu else run


def _has_choice() -> bool:
    """Say whether this torch lets one choose Flex's backend."""
    known = getattr(flexible, "FlexKernelOptions", None)
    return known is not None and "BACKEND" in known.__annotations__


def _earlier(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
    return i >= j


def _near(before: int, after: int) -> Callable[..., Tensor]:
    def near(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (i - j <= before) & (j - i <= after)

    return near


# Attentions -------------------------------------------------------------------------------


def tokens(
    b: int, h: int, n: int, d: int, pieces: str = "", more: Mapping[str, Given] | None = None
) -> Attention:
    """Return self attention of [b, h, n, d]."""
    shape: Given = ((b, h, n, d), 0)
    inputs = {"q": shape, "k": shape, "v": shape, **(more or {})}
    return Attention(f"attend(q, k, v{pieces})", inputs)


def banded(b: int, h: int, n: int, d: int, before: int, after: int) -> Attention:
    """Return it with keys up to so far before and after a query."""
    made = tokens(b, h, n, d, f", domain = band({before}, {after})")
    return replace(made, band=(before, after))


def with_table(b: int, h: int, n: int, d: int) -> Attention:
    """Return it with a learned term by head and distance."""
    pieces = f", score = qk * scale + table[h, i - j + {n - 1}]"
    return tokens(b, h, n, d, pieces, {"table": ((h, 2 * n - 1), 0)})


def latents(b: int, h: int, n: int, d: int, m: int) -> Attention:
    """Return tokens and latents that read each other from one product."""
    long, short = ((b, h, n, d), 0), ((b, h, m, d), 0)
    return Attention(
        "attend(q, k, v, vq = u, normalize = softmax(keys, queries))",
        {"q": long, "k": short, "v": short, "u": long}, 2,
    )  # fmt: skip


def regions(b: int, h: int, side: int, d: int, count: int, chosen: int) -> Attention:
    """Return a map of side * side tokens in count * count regions, each of which sees `chosen`."""
    pieces = f", grid = [{side}, {side}], domain = routed(route, regions = [{count}, {count}])"
    route: Given = ((b, count * count, chosen), count * count)
    return tokens(b, h, side * side, d, pieces, {"route": route})


def chosen(b: int, h: int, n: int, d: int, keys: int) -> Attention:
    """Return tokens each of which sees so many keys, named by an index that all heads share."""
    index: Given = ((b, n, keys), n)
    return tokens(b, h, n, d, ", domain = routed(index)", {"index": index})


def windows(b: int, h: int, side: int, d: int, window: int) -> Attention:
    """Return a map in windows of window * window tokens."""
    return tokens(
        b, h, side * side, d, f", grid = [{side}, {side}], domain = windows({window})"
    )  # fmt: skip


MODES: tuple[Mode, ...] = ("forward", "backward")

CASES: tuple[Case, ...] = (
    *(
        Case(f"dense, head dim {d}, {mode}", "dense", tokens(4, 16, 4096, d),
             tokens(1, 1, 40, d), mode, {"flex": flex, "sdpa": sdpa})
        for d in (128, 64) for mode in MODES
    ),
    *(
        Case(f"causal, head dim 128, {mode}", "causal",
             tokens(4, 16, 4096, 128, ", domain = causal"),
             tokens(1, 1, 40, 128, ", domain = causal"), mode,
             {"flex": partial(flex, mask=_earlier), "sdpa": partial(sdpa, causal=True)})
        for mode in MODES
    ),
    *(
        Case(f"window of 256, head dim 64, {mode}", "window", banded(2, 16, 8192, 64, 128, 127),
             banded(1, 1, 70, 64, 8, 7), mode, {"flex": flex}, tokens(2, 16, 8192, 64))
        for mode in MODES
    ),
    Case("table, head dim 64, step", "table", with_table(4, 8, 2048, 64),
         with_table(1, 2, 40, 64), "step", {"flex": partial(flex, table=True)}),
    *(
        Case(f"duplex, 32 latents, {mode}", "duplex", latents(1, 16, 65536, 64, 32),
             latents(1, 1, 70, 64, 32), mode)
        for mode in MODES
    ),
    *(
        Case(f"8 of 64 regions, head dim 64, {mode}", "routed", regions(8, 8, 64, 64, 8, 8),
             regions(1, 1, 8, 64, 4, 3), mode, plain=tokens(8, 8, 4096, 64))
        for mode in MODES
    ),
    *(
        Case(f"64 of 4096 keys, head dim 64, {mode}", "chosen", chosen(2, 8, 4096, 64, 64),
             chosen(1, 1, 20, 64, 5), mode, plain=tokens(2, 8, 4096, 64))
        for mode in MODES
    ),
    *(
        Case(f"windows of {w}, head dim 32, {mode}", "windows", windows(64, 4, 56, 32, w),
             windows(1, 1, w, 32, w), mode)
        for w in (7, 14) for mode in MODES
    ),
)  # fmt: skip
