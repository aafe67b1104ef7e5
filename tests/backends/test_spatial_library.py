"""The blocks of the standard library on maps of tokens: compiled for the CPU, compared, trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import attnc
from attnc.compiler.constants import defaults
from attnc.dsl.diagnostics import SpecError

torch.set_num_threads(1)

ROWS, COLUMNS, DIM, HEADS = 4, 6, 8, 2
TOKENS, WIDTH = ROWS * COLUMNS, DIM // HEADS
Y, X = torch.arange(TOKENS) // COLUMNS, torch.arange(TOKENS) % COLUMNS
DY, DX = Y[:, None] - Y[None, :], X[:, None] - X[None, :]
"""Offsets of query and key."""

Weights = Mapping[str, Tensor]
Bias = Callable[[Weights], Tensor]


@cache
def model(call: str, inputs: str = "") -> nn.Module:
    torch.manual_seed(0)
    text = f"model m {{\n input x: [b, 24, 8]\n{inputs}\n output y = {call} @f\n}}"
    with defaults("cpu", torch.float64):  # tables of constants too
        made = attnc.compile(attnc.loads(text, "m.attn")).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def weights(made: nn.Module) -> Weights:
    return {name.removeprefix("f."): each for name, each in made.state_dict().items()}


def tokens(seed: int = 1) -> Tensor:
    return torch.randn(2, TOKENS, DIM, generator=torch.Generator().manual_seed(seed)).double()


def heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def attention(p: Weights, x: Tensor, bias: Tensor, scale: float = WIDTH**-0.5) -> Tensor:
    """Return attention with a bias [.., h, n, n] that is -inf where a pair is not allowed."""
    qkv = F.linear(x, p["qkv.weight"], p["qkv.bias"])
    q, k, v = (heads(part) for part in qkv.chunk(3, -1))
    out = (q @ k.transpose(-2, -1) * scale + bias).softmax(-1) @ v
    return F.linear(out.transpose(1, 2).flatten(2), p["proj.weight"], p["proj.bias"])


def only(allowed: Tensor) -> Tensor:
    return torch.zeros(allowed.shape, dtype=torch.float64).masked_fill(~allowed, -torch.inf)


def same(number: Callable[[Tensor], Tensor], other: Callable[[Tensor], Tensor]) -> Tensor:
    """Allow the pairs whose rows have equal `number` and whose columns have equal `other`."""
    rows, columns = number(Y), other(X)
    return (rows[:, None] == rows[None, :]) & (columns[:, None] == columns[None, :])


def read(table: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Read a table [h, .., ..] at offsets, of which those outside it do not matter."""
    return table[:, rows.clamp(0, table.shape[1] - 1), columns.clamp(0, table.shape[2] - 1)]


def swin_table(p: Weights) -> Tensor:
    return p["rel_bias.table"].unflatten(0, (3, 5)).permute(2, 0, 1)


def dynamic(p: Weights) -> Tensor:
    grid = torch.meshgrid(torch.arange(-1, 2), torch.arange(-2, 3), indexing="ij")
    t = F.linear(torch.stack(grid, -1).double(), p["pos.proj.weight"], p["pos.proj.bias"])
    names = [("norm.0", "fc.0"), ("norm.1", "fc.1"), ("norm_out", "out")]
    for norm, layer in names:
        t = F.layer_norm(t, (4,), p[f"pos.{norm}.weight"], p[f"pos.{norm}.bias"])
        t = F.linear(t.relu(), p[f"pos.{layer}.weight"], p[f"pos.{layer}.bias"])
    return t.permute(2, 0, 1)


def clamped(length: int) -> Tensor:
    """Say for each query and key of an axis whether the key is among the nearest three inside."""
    start = (torch.arange(length) - 1).clamp(0, length - 3)
    place = torch.arange(length)[None, :] - start[:, None]
    return (place >= 0) & (place < 3)


HALVES = torch.stack(
    [same(lambda y: 0 * y, lambda x: x // 2), same(lambda y: y // 2, lambda x: 0 * x)]
)
WINDOWS = same(lambda y: y // 2, lambda x: x // 3)
SHIFTED = same(lambda y: (y + 1) // 2, lambda x: (x + 2) // 3)
ROLLED = same(lambda y: (y - 1) % 4 // 2, lambda x: (x - 1) % 6 // 3)
APART = same(lambda y: y % 2, lambda x: x % 2)
AROUND = clamped(ROWS)[Y[:, None], Y[None, :]] & clamped(COLUMNS)[X[:, None], X[None, :]]
NEAR = (DY.abs() <= 1) & (DX.abs() <= 1)

CASES: Mapping[str, tuple[str, Bias]] = {
    "windows": ("window_attention(x, window=[2, 3]", lambda p: only(WINDOWS)),
    "windows and table": (
        "window_attention(x, window=[2, 3], rel_bias=true",
        lambda p: only(WINDOWS) + read(swin_table(p), DY + 1, DX + 2),
    ),
    "shifted": (
        "shifted_window_attention(x, window=[2, 3], rel_bias=true",
        lambda p: only(SHIFTED) + read(swin_table(p), DY + 1, DX + 2),
    ),
    "shifted around": (
        "shifted_window_attention(x, window=[2, 3], wrap=true", lambda p: only(ROLLED),
    ),
    "shifted around with table": (
        "shifted_window_attention(x, window=[2, 3], wrap=true, rel_bias=true",
        lambda p: only(ROLLED) + read(swin_table(p), rolled(Y, 4) + 1, rolled(X, 6) + 2),
    ),
    "dilated": (
        "dilated_attention(x, group=[2, 3], interval=[2, 2], position_width=4",
        lambda p: only(APART) + read(dynamic(p), DY // 2 + 1, DX // 2 + 2),
    ),
    "dilated without bias": (
        "dilated_attention(x, group=[2, 3], interval=[2, 2]", lambda p: only(APART),
    ),
    "neighbourhood": (
        "neighborhood_attention(x, kernel=3, rel_bias=true",
        lambda p: only(AROUND) + read(p["rpb"], 2 - DY, 2 - DX),
    ),
    "neighbourhood cut": (
        "neighborhood_attention(x, kernel=3, edge=\"truncate\"", lambda p: only(NEAR),
    ),
    "cross-shaped": ("cross_shaped_attention(x, stripe=2", lambda p: only(HALVES)),
    "overlapping": (
        "overlapping_attention(x, window=2, overlap=1, counted=false",
        lambda p: only(clip(DY, Y) & clip(DX, X)) + read(p["rel_bias"], 2 - DY, 2 - DX),
    ),
}  # fmt: skip


def rolled(place: Tensor, length: int) -> Tensor:
    """Return offsets of query and key along an axis that was rolled by one."""
    place = (place - 1) % length
    return place[:, None] - place[None, :]


def clip(offset: Tensor, query: Tensor) -> Tensor:
    """Allow the keys from one before the window of two tokens up to one behind it."""
    place = query[:, None] % 2 - offset
    return (place >= -1) & (place < 3)


@pytest.mark.parametrize("name", CASES)
def test_blocks_are_attention_under_their_mask(name: str) -> None:
    call, bias = CASES[name]
    made, x = model(f"{call}, heads=2, grid=[4, 6])"), tokens()
    p = weights(made)
    torch.testing.assert_close(made(x), attention(p, x, bias(p)), rtol=1e-11, atol=1e-11)


def convolved(v: Tensor, p: Weights, name: str, near: Tensor) -> Tensor:
    """Convolve [b, n, c] on the map, tap by tap, with the pairs that `near` allows."""
    kernel = p[f"{name}.weight"]
    reach, total = kernel.shape[-1] // 2, p[f"{name}.bias"]
    for at in range(kernel[0, 0].numel()):
        up, left = reach - at // kernel.shape[-1], reach - at % kernel.shape[-1]
        pairs = (DY.eq(up) & DX.eq(left) & near).double()
        total = total + (pairs @ v) * kernel[:, 0].flatten(1)[:, at]
    return total


def test_routed_attention_sees_the_regions_with_the_best_means() -> None:
    call = "routed_attention(x, heads=2, grid=[4, 6], regions=[2, 2], chosen=2, lepe=3)"
    made, x = model(call), tokens()
    p = weights(made)
    q, k, v = F.linear(x, p["qkv.weight"], p["qkv.bias"]).chunk(3, -1)
    region = Y // 2 * 2 + X // 3
    means = [torch.stack([t[:, region == r].mean(1) for r in range(4)], 1) for t in (q, k)]
    best = (means[0] @ means[1].transpose(1, 2)).topk(2).indices
    allowed = F.one_hot(best, 4).sum(2).bool()[:, region][:, :, region][:, None]
    seen = attention(p, x, only(allowed), DIM**-0.5)
    nearby = convolved(v, p, "lepe", torch.tensor(True))
    torch.testing.assert_close(made(x), seen + nearby @ p["proj.weight"].T, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("crossed", "stripe"), [("true", 2), ("true", 1), ("false", 2)])
def test_values_nearby_are_those_of_the_same_stripe(crossed: str, stripe: int) -> None:
    options = f"stripe={stripe}, crossed={crossed}, lepe=3"
    made, x = model(f"cross_shaped_attention(x, heads=2, grid=[4, 6], {options})"), tokens()
    p = weights(made)
    q, k, v = F.linear(x, p["qkv.weight"], p["qkv.bias"]).chunk(3, -1)
    everywhere = torch.ones(TOKENS, TOKENS, dtype=torch.bool)
    columns, rows = everywhere, everywhere
    names, parts = ["lepe"], [v]
    if crossed == "true":
        columns = same(torch.zeros_like, lambda place: place // stripe)
        rows = same(lambda place: place // stripe, torch.zeros_like)
        names, parts = ["lepe_columns.conv", "lepe_rows.conv"], list(v.chunk(2, -1))
    scores = heads(q) @ heads(k).transpose(-2, -1) * WIDTH**-0.5
    out = (scores + only(torch.stack([columns, rows]))).softmax(-1) @ heads(v)
    nearby = [
        convolved(part, p, name, stripe_of)
        for part, name, stripe_of in zip(parts, names, (columns, rows), strict=False)
    ]
    summed = out.transpose(1, 2).flatten(2) + torch.cat(nearby, -1)
    expected = F.linear(summed, p["proj.weight"], p["proj.bias"])
    torch.testing.assert_close(made(x), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("groups", [1, 2])
def test_sparse_attention_sees_the_keys_of_its_index(groups: int) -> None:
    made = model("sparse_attention(x, keep, heads=2)", f" input keep: [b, {groups}, 24, 5] int")
    draw = torch.Generator().manual_seed(0)
    keep = torch.rand(2, groups, TOKENS, TOKENS, generator=draw).argsort(-1)[..., :5]
    allowed, x = F.one_hot(keep, TOKENS).sum(3).bool(), tokens()
    expected = attention(weights(made), x, only(allowed))
    torch.testing.assert_close(made(x, keep), expected, rtol=1e-11, atol=1e-11)


def test_overlapping_attention_counts_zeros_beyond_the_map() -> None:
    """A zero key takes part with the score of its bias and adds nothing."""
    made, x = model("overlapping_attention(x, heads=2, grid=[4, 6], window=2, overlap=1)"), tokens()
    p = weights(made)
    q, k, v = (heads(t) for t in F.linear(x, p["qkv.weight"], p["qkv.bias"]).chunk(3, -1))
    k, v = (F.pad(t.unflatten(2, (4, 6)), (0, 0, 1, 1, 1, 1)).flatten(2, 3) for t in (k, v))
    far_y, far_x = torch.arange(48) // 8 - 1, torch.arange(48) % 8 - 1
    rows, columns = far_y[None, :] - Y[:, None], far_x[None, :] - X[:, None]
    bias = only(clip(-rows, Y) & clip(-columns, X)) + read(p["rel_bias"], rows + 2, columns + 2)
    out = (q @ k.transpose(-2, -1) * WIDTH**-0.5 + bias).softmax(-1) @ v
    expected = F.linear(out.transpose(1, 2).flatten(2), p["proj.weight"], p["proj.bias"])
    torch.testing.assert_close(made(x), expected, rtol=1e-11, atol=1e-11)


def test_aggregated_attention_joins_neighbours_and_a_pooled_map() -> None:
    options = "heads=2, grid=[4, 6], kernel=3, pooled_grid=[2, 3]"
    call = f"aggregated_attention(x, pooled, {options}, score=qk + bias[h, iy - jy, jx])"
    made, x = model(call, " input pooled: [b, 6, 8]\n input bias: [2, 5, 3]"), tokens()
    bias = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(5)).double()
    pooled, p = tokens(2)[:, :6], weights(made)

    def projected(t: Tensor) -> tuple[Tensor, Tensor]:
        k, v = F.linear(t, p["kv.weight"], p["kv.bias"]).chunk(2, -1)
        return F.normalize(heads(k), dim=-1), heads(v)

    q = F.normalize(heads(F.linear(x, p["q.weight"], p["q.bias"])), dim=-1)
    (k, v), (pooled_k, pooled_v) = projected(x), projected(pooled)
    temperature = F.softplus(p["query.temperature"])
    seen = (NEAR.sum(1).double() + 6).log()[:, None]
    scaled = (q + p["query.embedding"]) * temperature * seen
    place = ((1 - DY) * 3 + 1 - DX).clamp(0, 8)
    local = scaled @ k.transpose(-2, -1) + p["table"][:, place] + only(NEAR)
    keys = torch.arange(6)
    # A row that is out of the table counts from its end, as indices do.
    far = scaled @ pooled_k.transpose(-2, -1) + bias[:, Y[:, None] - keys // 3, keys % 3]
    both = torch.cat([local, far], -1).softmax(-1)
    added = (q @ p["places"] + p["places_bias"]).gather(-1, place.expand(2, 2, -1, -1))
    near = both[..., :TOKENS] + added * NEAR
    out = (near @ v + both[..., TOKENS:] @ pooled_v).transpose(1, 2).flatten(2)
    expected = F.linear(out, p["proj.weight"], p["proj.bias"])
    torch.testing.assert_close(made(x, pooled, bias), expected, rtol=1e-11, atol=1e-11)


def test_length_scaled_queries_of_one_count_are_scaled_alike() -> None:
    made, x = model("length_scaled_query(reshape(x, [b, 1, 24, 8]), count=24)"), tokens()
    p = weights(made)
    expected = (x + p["embedding"][0]) * F.softplus(p["temperature"][0]) * math.log(24)
    torch.testing.assert_close(made(x)[:, 0], expected, rtol=1e-11, atol=1e-11)


def test_log_position_bias_reads_logarithms_of_offsets() -> None:
    made = model("log_position_bias(x[0, :3, 0], x[0, :4, 1], heads=2, width=5)")
    p, x = weights(made), tokens()
    x[0, 1, 0], x[0, 2, 0], x[0, 3, 1] = 0, -8, 7
    table = made(x)
    for r, c in product(range(3), range(4)):
        place = torch.stack([x[0, r, 0], x[0, c, 1]])
        place = place.sign() * place.abs().log1p() / math.log(8)
        hidden = F.relu(F.linear(place, p["fc1.weight"], p["fc1.bias"]))
        expected = F.linear(hidden, p["fc2.weight"], p["fc2.bias"])
        torch.testing.assert_close(table[:, r, c], expected, rtol=1e-11, atol=1e-11)


def test_conv_glu_gates_by_the_neighbourhood() -> None:
    made, x = model("conv_glu(x, grid=[4, 6], ratio=2.5)"), tokens()
    p = weights(made)
    assert p["conv.weight"].shape == (13, 1, 3, 3)
    gate, value = F.linear(x, p["fc1.weight"], p["fc1.bias"]).chunk(2, -1)
    gate = F.gelu(convolved(gate, p, "conv", torch.tensor(True)))
    expected = F.linear(gate * value, p["fc2.weight"], p["fc2.bias"])
    torch.testing.assert_close(made(x), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["windows and table", "dilated", "cross-shaped", "overlapping"])
def test_blocks_train(name: str) -> None:
    made, x = model(f"{CASES[name][0]}, heads=2, grid=[4, 6])"), tokens()
    target = tokens(3)
    optimiser = torch.optim.SGD(made.parameters(), lr=0.01)
    losses = []
    for _ in range(8):
        loss = F.mse_loss(made(x), target)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(loss.item())
        gradients = {name: each.grad for name, each in made.named_parameters()}
        assert all(each is not None and each.abs().sum() > 0 for each in gradients.values())
    assert losses[-1] < losses[0]


def test_grids_that_hold_other_tokens_are_refused() -> None:
    with pytest.raises(SpecError) as caught:
        model("window_attention(x, heads=2, grid=[4, 5], window=[2, 3])")
    assert "grid = [4, 5] does not hold 24 queries" in str(caught.value.diagnostics[0].message)
