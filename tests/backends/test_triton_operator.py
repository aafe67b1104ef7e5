"""The custom operators around generated kernels, by their CPU implementation."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from attnc.backends.reference import ReferenceBackend, function
from attnc.backends.triton import TritonBackend
from attnc.compiler.emit.kernels_file import KernelFile
from attnc.compiler.kernel import Kernel, Site, Target
from attnc.dsl.attention import All, Attention, Causal, Constant, Coordinate, Dot, Load, Source
from attnc.dsl.dims import symbol
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang import make

torch.set_num_threads(1)

B, N = symbol("b"), symbol("n")
TARGET = Target("cuda", "90")
LoadKernels = Callable[[Site, Kernel], ModuleType]
SCALED = make("mul", Dot(), Constant(0.25))
TABLE = Load("table", (Coordinate("h"), make("sub", Coordinate("i"), Coordinate("j"))))
PAD = Load("pad", (Coordinate("b"), Coordinate("j")), "bool")


def site(join: str = "softmax", outputs: tuple[str, ...] = ("out", "lse")) -> Site:
    """Return a causal site with a table and a padding mask; summed with a second one."""
    first = Source(Causal(), make("add", SCALED, TABLE), PAD)
    second = Source(All(), SCALED, weight=Load("gate", ()))
    streams = (first,) if join == "softmax" else (first, second)
    tensors = {"table": TensorType((2, 64)), "pad": TensorType((B, N), "bool")}
    if join == "sum":
        tensors["gate"] = TensorType(())
    stream = TensorType((B, 2, N, 16))
    attention = Attention(streams, join, tensors=tuple(tensors), outputs=outputs)
    return Site("attend", attention, stream, ((stream, stream),) * len(streams),
                tuple(tensors.values()))  # fmt: skip


def built(of: Site) -> Kernel:
    return TritonBackend(ReferenceBackend()).build(of, TARGET)


def arguments(of: Site, n: int = 12, requires_grad: bool = True) -> list[Tensor]:
    """Return random arguments of the entry."""
    torch.manual_seed(3)
    made = [torch.randn(2, 2, n, 16) for _ in range(1 + 2 * len(of.sources))]
    made += [torch.randn(2, 64), torch.rand(2, n) > 0.2, torch.randn(())][: len(of.tensors)]
    return [x.requires_grad_() if requires_grad and x.is_floating_point() else x for x in made]


def keep(join: str) -> list[list[bool]]:
    """Return what operators take besides tensors: whether sums leave the result of each source."""
    return [[True], [False]] if join == "sum" else [[]]


@pytest.mark.parametrize("join", ["softmax", "sum"])
def test_the_operator_passes_torch_s_own_checks(join: str, load_kernels: LoadKernels) -> None:
    of = site(join, ("out",))
    names = vars(load_kernels(of, built(of)))
    for kept in keep(join):
        torch.library.opcheck(names["attend_op"]._opoverload, (*arguments(of), *kept))


@pytest.mark.skipif(torch.cuda.is_available(), reason="Triton is not in its interpreter")
@pytest.mark.parametrize("join", ["softmax", "sum"])
def test_launchers_give_what_operators_announce(join: str, load_kernels: LoadKernels) -> None:
    """Shapes, dtypes and strides, for the backward pass as well."""
    of = site(join, ("out", "lse") if join == "softmax" else ("out",))
    names = vars(load_kernels(of, TritonBackend().build(of, TARGET)))
    given = [x.detach() for x in arguments(of)]
    checks = ("test_schema", "test_faketensor")
    for kept in keep(join):
        operator = names["attend_op"]._opoverload
        torch.library.opcheck(operator, (*given, *kept), test_utils=checks)
    results = names["attend_op"](*given, *keep(join)[0])
    saved = results if join == "softmax" else results[1:]
    grads = results if join == "softmax" else results[:1]
    for wanted in ([True] * 2, [False] * 2):
        arguments_ = (*grads, *given, *saved, wanted[: 1 if join == "softmax" else 2])
        operator = names["attend_backward_op"]._opoverload
        torch.library.opcheck(operator, arguments_, test_utils=checks)


@pytest.mark.parametrize("join", ["softmax", "sum"])
def test_the_cpu_has_the_reference_s_results_and_gradients(
    join: str, load_kernels: LoadKernels
) -> None:
    of = site(join, ("out",))
    entry = vars(load_kernels(of, built(of)))["attend"]
    given, other = arguments(of), arguments(of)
    ours, theirs = entry(*given), function(of)(*other)
    assert isinstance(theirs, Tensor)
    assert torch.equal(ours, theirs)
    ours.square().sum().backward()
    torch.autograd.backward(theirs.square().sum())
    for x, y in zip(given, other, strict=True):
        if y.grad is not None:
            assert x.grad is not None
            torch.testing.assert_close(x.grad, y.grad)


def test_the_cpu_has_gradients_of_gradients(load_kernels: LoadKernels) -> None:
    of = site("softmax", ("out",))
    entry = vars(load_kernels(of, built(of)))["attend"]
    q, k, v, table, pad = (x.double() if x.is_floating_point() else x for x in arguments(of, 3))
    smooth = [x.detach().requires_grad_() for x in (q[:1, :, :, :2], k[:1, :, :, :2])]

    def result(*given: Tensor) -> Tensor:
        wide = [torch.nn.functional.pad(x, (0, 14)) for x in given]
        made: Tensor = entry(*wide, v[:1].detach(), table.detach(), pad[:1])
        return made

    assert torch.autograd.gradgradcheck(result, smooth)


class Model(nn.Module):
    """A module that calls an entry, as emitted models do."""

    def __init__(self, entry: Callable[..., tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.entry = entry
        self.table = nn.Parameter(torch.randn(2, 64))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, pad: Tensor) -> Tensor:
        out, lse = self.entry(q, k, v, self.table, pad)
        return out.transpose(1, 2).flatten(2) + lse.clamp_min(-9.0).sum()


def test_torch_compile_traces_through_with_dynamic_lengths(load_kernels: LoadKernels) -> None:
    of = site()
    model = Model(vars(load_kernels(of, built(of)))["attend"])
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    for n in (9, 14):
        q, k, v, _, pad = arguments(of, n)
        grads = [
            torch.autograd.grad(made(q, k, v, pad).square().sum(), (q, k, v, model.table))
            for made in (model, compiled)
        ]
        for x, y in zip(*grads, strict=True):
            torch.testing.assert_close(x, y)


def test_export_saves_and_loads(load_kernels: LoadKernels) -> None:
    of = site()
    model = Model(vars(load_kernels(of, built(of)))["attend"])
    q, k, v, _, pad = arguments(of, requires_grad=False)
    n = torch.export.Dim("n", min=2, max=64)
    shapes = [{2: n}, {2: n}, {2: n}, {1: n}]
    file = io.BytesIO()
    exported = torch.export.export(model, (q, k, v, pad), dynamic_shapes=shapes)
    torch.export.save(exported, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    q, k, v, _, pad = arguments(of, 30, requires_grad=False)
    torch.testing.assert_close(loaded(q, k, v, pad), model(q, k, v, pad))


def test_a_file_may_be_imported_twice(tmp_path: Path) -> None:
    of = site()
    text = KernelFile({of: built(of)}).text
    given = arguments(of)
    entries = []
    for name in ("first", "second"):
        names: dict[str, object] = {"__name__": name}
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        exec(compile(text, str(path), "exec"), names)
        entries.append(names["attend"])
    results = [entry(*given)[0] for entry in entries if callable(entry)]
    assert torch.equal(*results)


def test_a_file_works_without_triton(tmp_path: Path) -> None:
    of = site()
    (tmp_path / "kernels.py").write_text(KernelFile({of: built(of)}).text)
    script = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch, kernels\n"
        "x = torch.randn(2, 2, 5, 16)\n"
        "pad = torch.ones(2, 5, dtype=torch.bool)\n"
        "print(*kernels.attend(x, x, x, torch.randn(2, 64), pad)[0].shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["2", "2", "5", "16"], done.stderr
