"""What alone reads a result, element by element, is part of the attention where kernels do it."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

import attnc
from attnc.api import Compilation
from attnc.compiler.passes.fusible import Fusible
from attnc.compiler.plan import SitePlan
from attnc.compiler.plan_text import site_text
from attnc.dsl.attention import Result
from attnc.dsl.dims import symbol
from attnc.dsl.scorelang import text

torch.set_num_threads(1)

SHAPES = {
    "few": "[b, 2, 16, 16]", "many": "[b, 2, 1024, 16]", "w": "[b, 2, 1024, 16]", "heat": "[2]",
    "q": "[b, 2, n, 16]", "k": "[b, 2, m, 16]", "v": "[b, 2, m, 16]",
    "keep": "[b, m] bool", "t": "[b, 2, n, 16]", "u": "[b, n, 32]", "g": "[b, n, 32]",
    "rows": "[b, n, 1]", "lengths": "[n, 1]", "channels": "[32]", "number": "[1]", "scalar": "[]",
    "of_heads": "[2, 1, 1]", "of_queries": "[b, 2, n, 1]", "of_width": "[16]",
}  # fmt: skip
ATTEND = "attend(q, k, v, mask=keep[b, j])"
MERGED = f'rearrange({ATTEND}, "b h n e -> b n (h e)")'
PLACE = "[b, h, i, c]"
FUSED = {
    "o = {} + u": f"o + u{PLACE}",
    "o = u - {} / 2": None,
    "o = {} * sigmoid(g)": f"o * sigmoid(g{PLACE})",
    "o = ({} + u) * silu(g)": f"(o + u{PLACE}) * (g{PLACE} * sigmoid(g{PLACE}))",
    "o = {} * sigmoid(rows) + channels": "o * sigmoid(rows[b, i]) + channels[h, c]",
    "o = {} * number / lengths": "o * number / lengths[i]",
    "o = {} * scalar": "o * scalar",
    "o = {} - mean(u, axis=1, keepdim=true)": "o - mean[b, h, c]",
    "o = g * {} * u": f"g{PLACE} * o * u{PLACE}",
    "z = silu(g)\n  o = layer_norm({} * z, weight=false, bias=false) + mean(z)": f"o * z{PLACE}",
}  # fmt: skip


def model(body: str) -> str:
    used = [name for name in SHAPES if re.search(rf"\b{name}\b", body)]
    inputs = "\n".join(f"  input {name}: {SHAPES[name]}" for name in used)
    return f"model m() {{\n{inputs}\n  {body}\n  output o = o\n}}"


def plan(body: str, target: str = "cuda:90") -> SitePlan:
    graph = attnc.check(attnc.loads(model(body)))
    (site,) = Compilation(graph, target, {"b": 2, "n": 9, "m": 300}).plan.sites
    return site


def results(body: str, target: str) -> list[Tensor]:
    """Return the result and the gradients of all inputs but masks."""
    spec, sizes = attnc.loads(model(body)), {"b": 2, "n": 9, "m": 30}
    torch.manual_seed(0)
    given = []
    for type_ in attnc.check(spec).inputs.values():
        tensor = torch.randn([sizes.get(str(size)) or int(str(size)) for size in type_.shape])
        given.append(tensor > -1 if type_.dtype == "bool" else tensor.double().requires_grad_())
    found = attnc.compile(spec, target=target).double()(*given)
    floats = [each for each in given if each.is_floating_point()]
    return [found, *torch.autograd.grad(found.square().sum(), floats)]


@pytest.mark.parametrize("body", [body for body, meant in FUSED.items() if meant])
def test_the_plan_has_what_follows_the_result(body: str) -> None:
    found = plan(body.format(MERGED))
    assert found.chosen == "triton" and found.site.attention.epilogue is not None
    assert text(found.site.attention.epilogue) == FUSED[body]
    assert found.fusible == ()


OF_HEADS = {
    "o * t": f"o * t{PLACE}",
    "o * sigmoid(of_queries) + of_width": "o * sigmoid(of_queries[b, h, i]) + of_width[c]",
    "of_heads * o": "of_heads[h] * o",
}
SUM = "attend(q, [source(k, v), source(t, t, weight=heat[h])], join=sum)"


@pytest.mark.parametrize("body", FUSED)
def test_the_numbers_are_those_of_what_is_written(body: str) -> None:
    pairs = (results(body.format(MERGED), target) for target in ("cuda:90", "reference"))
    for found, expected in zip(*pairs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("call", [ATTEND, SUM])
@pytest.mark.parametrize("after", OF_HEADS)
def test_heads_need_not_be_merged(after: str, call: str) -> None:
    body = f"x = {call}\n  o = " + re.sub(r"\bo\b", "x", after)
    attention = plan(body).site.attention
    assert attention.epilogue is not None and text(attention.epilogue) == OF_HEADS[after]
    for pair in zip(*(results(body, target) for target in ("cuda:90", "reference")), strict=True):
        torch.testing.assert_close(*pair, rtol=1e-12, atol=1e-12)


def test_the_plan_counts_the_bytes() -> None:
    added, gated = (plan(body.format(MERGED)) for body in ("o = {} + u", "o = ({} + u) * silu(g)"))
    result = 2 * 9 * 32 * 2
    assert (added.saved, gated.saved) == (2 * result, 6 * result)
    by_row = plan(f"o = {MERGED} * sigmoid(rows)")
    assert by_row.saved == 2 * (result + 2 * 9 * 2)


@pytest.mark.parametrize(
    "body",
    [
        f"y = {MERGED}\n  o = y + u + mean(y)",
        f"o = {MERGED} * 2",
        'o = rearrange(attend(q, k, v), "b h n e -> b n (h e)") + u',
        f"o = {MERGED.replace(', mask', ', normalize=softmax(queries), mask')} + u",
        f"o = layer_norm({MERGED}) + u",
    ],
)
def test_what_is_not_part_of_an_attention_stays(body: str) -> None:
    assert plan(body).site.attention.epilogue is None


def test_where_keys_stay_in_a_tile_results_are_followed_and_where_queries_stay_not() -> None:
    found = plan("o = attend(many, few, few, score=qk * heat[h]) * w")
    assert found.chosen == "triton" and found.site.attention.epilogue is not None
    assert any("stay in a tile" in reason for reason in found.verdicts[0].reasons)
    assert (
        plan("o = attend(few, many, many, score=qk * heat[h]) * few").site.attention.epilogue
        is None
    )


def test_on_the_cpu_it_stays() -> None:
    assert plan(f"o = {MERGED} + u", "cpu").site.attention.epilogue is None


@pytest.mark.parametrize(("name", "count"), [("cswin", 3), ("biformer", 3)])
def test_positions_beside_attentions_of_the_zoo_are_part_of_them(name: str, count: int) -> None:
    sites = Compilation(attnc.check(f"zoo:{name}"), "cuda:90").plan.sites
    assert sum(each.site.attention.epilogue is not None for each in sites) == count


def test_attentions_of_other_queries_are_added_as_the_second_is_stored() -> None:
    other = ATTEND.replace("attend(q", "attend(t")
    body = f"x = {ATTEND}\n  y = {other}\n  o = x - heat[1] * y"
    graph = attnc.check(attnc.loads(model(body)))
    first, second = Compilation(graph, "cuda:90", {"b": 2, "n": 9, "m": 300}).plan.sites
    assert text(first.site.attention.epilogue or Result()) == "slice * o"
    assert text(second.site.attention.epilogue or Result()) == f"o - multiply{PLACE}"
    bytes_ = 2 * 2 * symbol("b") * 2 * symbol("n") * 16
    assert first.fusible == (Fusible("beside", (second.site.name,), bytes_),)
    assert f"{bytes_} B go through memory between the two kernels" in site_text(first)
    for pair in zip(*(results(body, target) for target in ("cuda:90", "reference")), strict=True):
        torch.testing.assert_close(*pair, rtol=1e-12, atol=1e-12)
