"""Tiled attention as torch sees it: custom operators, and what the backend refuses."""

from __future__ import annotations

import io
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

import attnc
from attnc.api import Compilation
from attnc.backends.tiled import TiledBackend
from attnc.compiler.kernel import No, Target
from tests.backends.tiled_cases import CASES, Entry, LoadKernels, built, named, operands, site

torch.set_num_threads(1)

BOUNDARY = "q, kn, vn, domain = causal, score = qk * 0.25 + short[h, i - j], outputs = [lse]"


@pytest.mark.parametrize("name", ["plain", "sum", "table by index", "bilinear", "slots"])
def test_operators_pass_torch_s_own_checks(name: str, load_kernels: LoadKernels) -> None:
    of = named(name)
    names = vars(load_kernels(of, TiledBackend().build(of, Target())))
    given = [x.requires_grad_() if x.is_floating_point() else x for x in operands(of)]
    torch.library.opcheck(names["attend_op"]._opoverload, tuple(given))
    plain = [x.detach() for x in given]
    checks = ("test_schema", "test_faketensor")
    backward = names["attend_backward_op"]._opoverload
    found = names["attend_op"](*plain)
    kept = found if isinstance(found, tuple) else ()
    grad = kept[0] if kept else found
    torch.library.opcheck(backward, (grad, *plain, *kept), test_utils=checks)


@pytest.mark.parametrize("name", ["lse", "received", "duplex of two", "weights by slot", "slots"])
def test_results_of_half_precision_have_the_dtypes_that_are_announced(
    name: str, load_kernels: LoadKernels
) -> None:
    of = named(name)
    names = vars(load_kernels(of, TiledBackend().build(of, Target())))
    given = [x.bfloat16() if x.is_floating_point() else x for x in operands(of)]
    checks = ("test_faketensor",)
    torch.library.opcheck(names["attend_op"]._opoverload, tuple(given), test_utils=checks)


class Model(nn.Module):
    """A module that calls an entry, as emitted models do."""

    def __init__(self, entry: Entry) -> None:
        super().__init__()
        self.entry = entry
        self.table = nn.Parameter(torch.randn(2, 70))

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out, lse = self.entry(q, k, v, self.table[:, : q.shape[2]])
        return out.transpose(1, 2).flatten(2) + lse.sum()


def streams(n: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(n)
    return [torch.randn(2, 2, n, each, generator=generator) for each in (8, 8, 6)]


def test_torch_compile_traces_through_with_dynamic_lengths(load_kernels: LoadKernels) -> None:
    model = Model(built(site(BOUNDARY, 2), load_kernels))
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    for n in (9, 40):
        given = [x.requires_grad_() for x in streams(n)]
        grads = [
            torch.autograd.grad(made(*given).square().sum(), (*given, model.table))
            for made in (model, compiled)
        ]
        for x, y in zip(*grads, strict=True):
            torch.testing.assert_close(x, y)


def test_export_saves_and_loads(load_kernels: LoadKernels) -> None:
    model = Model(built(site(BOUNDARY, 2), load_kernels))
    n = torch.export.Dim("n", min=2, max=64)
    file = io.BytesIO()
    exported = torch.export.export(model, tuple(streams(9)), dynamic_shapes=[{2: n}] * 3)
    torch.export.save(exported, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    torch.testing.assert_close(loaded(*streams(30)), model(*streams(30)))


def test_gradients_of_gradients_are_refused(load_kernels: LoadKernels) -> None:
    of = site(CASES["plain"])
    given = [x.requires_grad_() for x in operands(of)]
    out = built(of, load_kernels)(*given)
    assert isinstance(out, Tensor)
    (grad,) = torch.autograd.grad(out.square().sum(), given[0], create_graph=True)
    with pytest.raises(RuntimeError, match="the reference backend has them"):
        grad.sum().backward()


# What is refused --------------------------------------------------------------------------

REFUSED: Mapping[str, tuple[int, str, str]] = {
    "weights": (2, "q, k, v, outputs = [weights]", "weights would be stored in full"),
    "scores": (2, "q, k, v, outputs = [scores]", "scores would be stored in full"),
    "given scores": (1, "scores = given, v = v", "are in memory already"),
    "routed over queries": (
        1,
        "qg, kg, vg, domain = routed(seen), normalize = softmax(queries)",
        "a table of all pairs",
    ),
    "received of slots": (
        2,
        "q, k, v, normalize = softmax(queries), renormalize = true, outputs = [received]",
        "a second walk",
    ),
    "slots of summed sources": (
        1,
        "q, [source(k, v), source(k2, v2)], join = sum, "
        "normalize = softmax(queries), renormalize = true",
        "summed",
    ),
    "slots of columns": (
        2,
        "qg, kg, vg, domain = band(2, 3), normalize = softmax(queries), outputs = [slot_weights]",
        "gathered keys",
    ),
    "low power": (1, "q, k, v, normalize = relu(power = 0.5)", "infinite gradients"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_why(name: str) -> None:
    results, call, message = REFUSED[name]
    answer = TiledBackend().can(site(call, results), Target())
    assert isinstance(answer, No)
    assert any(message in reason for reason in answer.reasons)


def test_models_of_equal_kernels_stand_side_by_side() -> None:
    """The second one defines the operators anew; the first finds them by name."""
    text = (
        "model {} {{\n input x: [b, n, 8]\n"
        " y = local_attention(x, heads=2, window=2) @f\n output y = y\n}}"
    )
    specs = [attnc.loads(text.format(name)) for name in ("one", "two")]
    kernels = [Compilation(attnc.check(spec)).artefact.files["kernels.py"] for spec in specs]
    first, second = (attnc.compile(spec) for spec in specs)
    assert "custom_op" in kernels[0]
    assert kernels[0] == kernels[1]
    second.load_state_dict(first.state_dict())
    x = torch.randn(2, 9, 8)
    torch.testing.assert_close(first(x), second(x), rtol=0, atol=0)
    first(x).sum().backward()
    assert all(weight.grad is not None for weight in first.parameters())
