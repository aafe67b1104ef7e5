"""The text that the reference and sdpa backends generate: golden for a few, linted for many."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from attnc.backends.reference import ReferenceBackend, function
from attnc.backends.reference.backend import generate
from attnc.backends.sdpa import SdpaBackend
from attnc.compiler.kernel import Kernel, Site, Target, Yes
from attnc.dsl.attention import (
    All,
    Attention,
    Band,
    Causal,
    Constant,
    Coordinate,
    Dot,
    Extent,
    Load,
    ScoreTree,
    Source,
    Where,
)
from attnc.dsl.dims import Size, symbol
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang import make

torch.set_num_threads(1)

B, N, M = symbol("b"), symbol("n"), symbol("m")
B_, H_, I_, J_ = (Coordinate(name) for name in "bhij")
SCALED = make("mul", Dot(), Constant(0.125))
OFFSET = make("sub", I_, J_)
CPU = Target()


def site(
    *sources: Source,
    n: Size = N,
    keys: tuple[Size, ...] = (M,),
    groups: int = 6,
    join: str = "softmax",
    outputs: tuple[str, ...] = ("out",),
    **tensors: TensorType,
) -> Site:
    streams = tuple((TensorType((B, groups, m, 64)),) * 2 for m in keys)
    attention = Attention(sources, join, tensors=tuple(tensors), outputs=outputs)
    q = TensorType((B, 6, n, 64))
    return Site("encoder_attn", attention, q, streams, tuple(tensors.values()))


def biased(index: ScoreTree) -> ScoreTree:
    return make("add", SCALED, Load("bias", (H_, index)))


PAD = Load("pad", (B_, J_), "bool")
PLAIN = site(Source(All(), SCALED))
WINDOW = site(Source(Band(3, 3), biased(make("add", OFFSET, Constant(3)))), n=N, keys=(N,),
              groups=2, bias=TensorType((6, 7)))  # fmt: skip
LONG = make("sub", make("mul", make("tanh", make("div", SCALED, Constant(30.0))), Constant(30.0)),
            make("mul", Load("a_rather_long_slope", (H_,)),
                 make("log", make("add", make("abs", OFFSET), Constant(1)))))  # fmt: skip
SITES = {
    "plain": PLAIN,
    "causal": site(Source(Causal(), SCALED), keys=(N,)),
    "window": WINDOW,
    "fixed sizes": site(Source(Causal(-1), biased(make("max", OFFSET, Constant(0)))), n=197,
                        keys=(197,), bias=TensorType((6, 197))),
    "long": site(
        Source(Where(make("or", make("le", J_, I_), make("lt", J_, Extent(M - N)))), LONG, PAD),
        outputs=("out", "weights", "scores", "lse"),
        a_rather_long_slope=TensorType((6,)), pad=TensorType((B, M), "bool"),
    ),
    "powers": site(Source(All(), make("div", make("mul", SCALED, Extent(N)), Extent(N * N)))),
    "joint": site(Source(All(), SCALED), Source(Causal(), biased(J_), PAD), keys=(N, M),
                  bias=TensorType((6, 512)), pad=TensorType((B, M), "bool")),
    "sum": site(Source(All(), SCALED), Source(All(), SCALED, PAD, Load("gate", (H_,))),
                keys=(N, M), join="sum", pad=TensorType((B, M), "bool"), gate=TensorType((6,))),
    "per key": site(Source(All(), make("add", SCALED, Load("key_bias", (J_,)))), groups=2,
                    key_bias=TensorType((M,))),
    "scaled": site(Source(Causal(), make("mul", Dot(), Constant(0.1767766952966369)), PAD),
                   groups=1, pad=TensorType((B, M), "bool")),
}  # fmt: skip


def kernels() -> list[Kernel]:
    built = [ReferenceBackend().build(each, CPU) for each in SITES.values()]
    sdpa = SdpaBackend()
    for target in (CPU, Target("cuda", "90")):
        able = [each for each in SITES.values() if isinstance(sdpa.can(each, target), Yes)]
        built += [sdpa.build(each, target) for each in able]
    return [kernel for kernel in built if kernel.source]


def test_plain() -> None:
    kernel = ReferenceBackend().build(PLAIN, CPU)
    assert (kernel.imports, kernel.source) == ((), "")
    assert kernel.call == "({q} @ {k0}.mT * 0.125).softmax(-1) @ {v0}"


def test_plain_as_a_function() -> None:
    assert (
        generate(PLAIN)
        == '''\
def encoder_attn(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(qk * 0.125) v; q: [b, 6, n, 64]; k, v: [b, 6, m, 64]."""
    scores = q @ k.transpose(-2, -1) * 0.125
    return scores.softmax(-1) @ v
'''
    )


def test_window() -> None:
    assert (
        ReferenceBackend().build(WINDOW, CPU).source
        == '''\
def encoder_attn(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """softmax(qk * 0.125 + bias[h, i - j + 3]) v where j >= i - 3 and j <= i + 3.

    q: [b, 6, n, 64]; k, v: [b, 2, n, 64]; bias: [6, 7].
    """
    n = q.shape[2]
    wide = torch.promote_types(q.dtype, torch.float32)  # never half precision
    bias = bias.to(wide)
    h = torch.arange(6, device=q.device)[:, None, None]
    i = torch.arange(n, device=q.device)[:, None]
    j = torch.arange(n, device=q.device)
    k = k.repeat_interleave(3, dim=1)
    v = v.repeat_interleave(3, dim=1)
    term = (q @ k.transpose(-2, -1)).to(wide) * 0.125
    scores = term + bias[h, (i - j + 3).clamp(min=0, max=6)]
    scores = scores.masked_fill((j < i - 3) | (j > i + 3), -torch.inf)
    return scores.softmax(-1).to(v.dtype) @ v
'''
    )


@pytest.mark.parametrize("width", [88, 100])
def test_ruff_has_nothing_to_say(tmp_path: Path, width: int) -> None:
    for number, kernel in enumerate(kernels()):
        imports = ["import torch"] * ("torch." in kernel.source) + list(kernel.imports)
        text = '"""One kernel."""\n\n' + "\n".join(imports) + "\n\n\n" + kernel.source
        (tmp_path / f"kernel_{number}.py").write_text(text)
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--line-length", str(width), str(tmp_path)]
    chosen = ["--select", "E,F,W,I,B,UP,SIM,RUF,RET", "--ignore", "RUF002"]
    for command in (["format", "--check", "--diff"], ["check", *chosen]):
        done = subprocess.run([*ruff, *command, *options], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


class Wrapped(nn.Module):
    """A site as a module, for export."""

    def __init__(self, attention: Site) -> None:
        super().__init__()
        self.attend = function(attention)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        found = self.attend(q, k, v, bias)
        assert isinstance(found, Tensor)
        return found


def arguments(n: int) -> tuple[Tensor, ...]:
    """Return q, k, v and the bias of WINDOW."""
    shapes = (2, 6, n, 64), (2, 2, n, 64), (2, 2, n, 64), (6, 7)
    return tuple(torch.randn(shape) for shape in shapes)


def test_compiles_in_one_graph() -> None:
    compiled = torch.compile(Wrapped(WINDOW), backend="eager", fullgraph=True)
    given = arguments(9)
    torch.testing.assert_close(compiled(*given), Wrapped(WINDOW)(*given))


def test_exports_with_dynamic_sizes() -> None:
    stream = {0: torch.export.Dim("b"), 2: torch.export.Dim("n", min=2)}
    module = Wrapped(WINDOW)
    exported = torch.export.export(
        module, arguments(9), dynamic_shapes=(stream, stream, stream, None)
    )
    given = arguments(17)
    torch.testing.assert_close(exported.module()(*given), module(*given))
