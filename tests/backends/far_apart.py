"""Kernels on tensors whose elements lie more than 2^31 apart; run by test_large_offsets.py.

    python -m tests.backends.far_apart NAME ... [--narrow]

A tensor is laid out along one axis with a stride so large that its last element is over 2^31
elements from its first. Memory that is never touched takes none. Kernels run in Triton's
interpreter, on that layout and on a dense one; all results and gradients have to be the same bits.
With `--narrow` the kernels lose their conversions to int64, and must not pass.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from types import ModuleType

os.environ["TRITON_INTERPRET"] = "1"

import torch
from torch import Tensor

from attnc.backends.triton import TritonBackend
from attnc.compiler.emit.kernels_file import KernelFile
from attnc.compiler.kernel import No, Site, Target
from attnc.compiler.sites import site_operands
from attnc.dsl.dims import substitute
from tests.backends.conftest import Harness, import_file

FAR = 1 << 31
"""Elements; one more does not fit an int32."""

MAP_NORESERVE = 0x4000  # Linux
TARGET = Target("cuda", "90")
TOKENS = "[b, 2, n, 16]"
BASIC = dict.fromkeys("qkv", TOKENS)


@dataclass(frozen=True)
class Call:
    """One attention of n tokens in a batch of 2."""

    text: str
    inputs: Mapping[str, str]
    n: int = 33

    @property
    def site(self) -> Site:
        """As backends see it."""
        return Harness.site(self.text, self.inputs)


CALLS: Mapping[str, Call] = {
    "bias": Call(
        "attend(q, k, v, domain = causal, score = qk * scale + bias[b, h, i, j])",
        {**BASIC, "bias": "[b, 2, n, n]"},
    ),
    "shared keys": Call(
        "attend(q, k, v, domain = causal)", {**BASIC, "k": "[b, 1, n, 16]", "v": "[b, 1, n, 16]"}
    ),
    "mask of half the rows": Call(
        "attend(q, k, v, mask = keep[b, i // 2 + 16, j])", {**BASIC, "keep": "[b, n, n] bool"}
    ),
    "table": Call(
        "attend(q, k, v, score = qk * scale + table[h, i - j + n - 1])",
        {**BASIC, "table": "[2, 2 * n - 1]"},
    ),
    "windows": Call(
        "attend(q, k, v, grid = [6, 6], domain = windows(3), outputs = [lse])",
        dict.fromkeys("qkv", "[b, 2, 36, 16]"),
    ),
    "regions": Call(
        "attend(q, k, v, grid = [6, 6], domain = routed(route, regions = [3, 3]))",
        {**dict.fromkeys("qkv", "[b, 2, 36, 16]"), "route": "[b, 9, 2] int"},
    ),
    "chosen keys": Call(
        "attend(q, k, v, domain = routed(route))", {**BASIC, "route": "[b, n, 4] int"}, 9
    ),
    "latents": Call(
        "attend(q, k, v, vq = u, normalize = softmax(keys, queries))",
        {"q": TOKENS, "k": "[b, 2, 8, 16]", "v": "[b, 2, 8, 16]", "u": TOKENS}, 70,
    ),
    "fading": Call(
        "attend(q, k, v, domain = causal, normalize = none, "
        "score = qk * exp(-exp(rate[b, h]) * (i - j)))",
        {**BASIC, "rate": "[b, 2]"},
    ),
    "channels": Call("attend(q, k, v, scale = 0.25)", dict.fromkeys("qkv", "[b, 2, 12, n]"), 48),
}  # fmt: skip


def far(x: Tensor, axis: int) -> Tensor:
    """Return the same values, over 2^31 elements between the first and the last of an axis."""
    if x.dim() == 0 or x.shape[axis] < 2:
        return x
    others = [size for at, size in enumerate(x.shape) if at != axis]
    stride = -(-FAR // (x.shape[axis] - 1))
    dense = torch.empty(others, device="meta").stride()
    strides = [*dense[:axis], stride, *dense[axis:]]
    assert stride > x.numel() // x.shape[axis], "the axis would overlap the others"
    made = _untouched(FAR + 2 * stride, x.dtype).as_strided(x.shape, strides)
    return made.copy_(x.detach())


def _untouched(elements: int, dtype: torch.dtype) -> Tensor:
    size = elements * torch.empty((), dtype=dtype).element_size()
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    return torch.frombuffer(mmap.mmap(-1, size, flags=flags), dtype=dtype)


def drawn(call: Call) -> Iterator[Tensor]:
    """Yield the operands in half precision."""
    generator = torch.Generator().manual_seed(0)
    for _, kind in site_operands(call.site):
        shape = [int(str(substitute(size, {"b": 2, "n": call.n}))) for size in kind.shape]
        if kind.dtype == "int":
            yield torch.randint(0, 4, shape, generator=generator)
        elif kind.dtype == "bool":
            yield torch.rand(shape, generator=generator) < 0.7
        else:
            yield torch.randn(shape, generator=generator).half()


def kernels(site: Site, folder: Path, narrow: bool) -> ModuleType:
    """Return the kernels of a site."""
    text = KernelFile({site: TritonBackend().build(site, TARGET)}).text
    if narrow:
        text = text.replace(".to(tl.int64)", "")
    module = import_file(folder / f"kernels_{len([*folder.iterdir()])}.py", text)
    vars(module)["card_of"] = lambda q: None
    return module


def run(
    module: ModuleType, site: Site, given: list[Tensor], lay: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """Return results and gradients; all that kernels read and write is laid out by `lay`."""
    leaves = [lay(x) for x in given]
    for leaf in leaves:
        leaf.requires_grad_(leaf.is_floating_point())
    made = vars(module)[site.name](*leaves)
    made = made if isinstance(made, tuple) else (made,)
    generator = torch.Generator().manual_seed(1)
    factors = [lay(torch.randn(x.shape, generator=generator).to(x.dtype)) for x in made]
    floats = [leaf for leaf in leaves if leaf.requires_grad]
    grads = torch.autograd.grad(made, floats, factors)
    return [x.detach().clone() for x in (*made, *grads)]


def check(name: str, folder: Path, narrow: bool) -> str:
    """Return `equal`, `refused`, or along which axis something differs."""
    call = CALLS[name]
    site = call.site
    if isinstance(TritonBackend().can(site, TARGET), No):
        return "refused"
    given, module = list(drawn(call)), kernels(site, folder, narrow)
    expected = run(module, site, given, lambda x: x)
    rows = vars(module).get("token_rows")
    for axis in range(4):
        lay = _along(axis)
        if rows is not None:
            vars(module)["token_rows"] = lambda x, width, lay=lay: lay(
                torch.zeros((*x.shape[:-1], width), dtype=x.dtype)
            )
        found = run(module, site, given, lay)
        vars(module)["token_rows"] = rows
        if not all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)):
            return f"differs along axis {axis}"
    return "equal"


def _along(axis: int) -> Callable[[Tensor], Tensor]:
    return lambda x: far(x, min(axis, x.dim() - 1))


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(mkdtemp())
    for name in [each for each in sys.argv[1:] if each != "--narrow"] or CALLS:
        print(f"{name}: {check(name, folder, '--narrow' in sys.argv)}", flush=True)
