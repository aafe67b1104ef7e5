"""Attention over domains against the usual formulation: partition, plain attention, reverse."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from attnc.backends.reference import function
from tests.backends.domain_calls import (
    COLUMNS,
    HEADS,
    ROWS,
    TOKENS,
    TOLERANCE,
    WIDTH,
    check,
    plain,
    reversed_windows,
    rolled,
    site,
    streams,
    three,
    windowed,
)

torch.set_num_threads(1)


# Windows ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (3, 4), (6, 8), (1, 8)])
def test_windows_are_partition_attention_reverse(rows: int, columns: int) -> None:
    parts = (windowed(x, rows, columns) for x in streams())
    expected = reversed_windows(plain(*parts), rows, columns)
    check(site(f"grid = [{ROWS}, {COLUMNS}], domain = windows([{rows}, {columns}])"), expected)


def regions(rows: int, columns: int, down: int, right: int) -> Tensor:
    """Return Swin's mask [windows, tokens, tokens] of a shifted map: true within one region."""
    image = torch.zeros(ROWS, COLUMNS)
    number = 0
    for y in (slice(0, -rows), slice(-rows, -down), slice(-down, None)):
        for x in (slice(0, -columns), slice(-columns, -right), slice(-right, None)):
            image[y, x] = number
            number += 1
    cut = windowed(image.flatten()[None, None, :, None], rows, columns)[0, 0, :, :, 0]
    return cut[:, :, None] == cut[:, None, :]


@pytest.mark.parametrize(("down", "right"), [(1, 2), (2, 1), (2, 3)])
@pytest.mark.parametrize("wrap", [False, True])
def test_shifted_windows_are_roll_partition_mask_reverse(down: int, right: int, wrap: bool) -> None:
    rows, columns = 3, 4
    parts = (windowed(rolled(x, (-down, -right)), rows, columns) for x in streams())
    mask = torch.zeros((), dtype=torch.float64)
    if not wrap:
        mask = mask.expand(8 // 2, 12, 12).masked_fill(
            ~regions(rows, columns, down, right), -torch.inf
        )
    cut = reversed_windows(plain(*three(parts), mask), rows, columns)
    domain = f"windows([3, 4], shift = [{down}, {right}], wrap = {str(wrap).lower()})"
    made = site(f"grid = [{ROWS}, {COLUMNS}], domain = {domain}")
    check(made, rolled(cut, (down, right)))


def test_dilated_windows_are_groups_at_an_interval() -> None:
    def grouped(x: Tensor) -> Tensor:
        x = x.unflatten(2, (1, 3, 2, 2, 2, 2))  # super row, row, residue, super column, ...
        return x.permute(0, 1, 2, 5, 4, 7, 3, 6, 8).flatten(6, 7)

    def back(x: Tensor) -> Tensor:
        return x.unflatten(6, (3, 2)).permute(0, 1, 2, 6, 4, 3, 7, 5, 8).flatten(2, 7)

    expected = back(plain(*(grouped(x) for x in streams())))
    check(site("grid = [6, 8], domain = windows([3, 2], dilation = 2)"), expected)


def test_stripes_by_heads_are_two_attentions_of_half_the_heads() -> None:
    q, k, v = streams()
    down = [windowed(x[:, :2], ROWS, 2) for x in (q, k, v)]
    across = [windowed(x[:, 2:], 2, COLUMNS) for x in (q, k, v)]
    halves = (
        reversed_windows(plain(*down), ROWS, 2),
        reversed_windows(plain(*across), 2, COLUMNS),
    )
    made = site("grid = [6, 8], domain = per_heads(stripes(1, 2), stripes(0, 2))")
    check(made, torch.cat(halves, 1))


@pytest.mark.parametrize(
    "domain",
    ["windows([6, 8])", "windows(50)", "neighborhood(15)", "neighborhood([6, 8], edge = clamp)",
     "overlapping([6, 8], [6, 8])", "per_heads(windows(9), all)"],
)  # fmt: skip
def test_a_domain_that_holds_everything_is_dense(domain: str) -> None:
    grid = "" if domain == "windows(50)" else "grid = [6, 8], "
    check(site(f"{grid}domain = {domain}"), plain(*streams()))


# Neighbourhoods and boxes ----------------------------------------------------------------


def unfolded(x: Tensor, kernel: int, padding: int, stride: int = 1) -> Tensor:
    """Return the boxes [b, h, boxes, kernel * kernel, e] of tokens on the map."""
    image = x.unflatten(2, (ROWS, COLUMNS)).permute(0, 1, 4, 2, 3).flatten(0, 1)
    boxes = F.unfold(image, kernel, padding=padding, stride=stride)
    return boxes.unflatten(1, (-1, kernel**2)).unflatten(0, (2, -1)).permute(0, 1, 4, 3, 2)


def test_a_truncated_neighbourhood_with_a_table_by_slot() -> None:
    q, k, v = streams()
    table = torch.randn(HEADS, 9, dtype=torch.float64)
    keys, values = unfolded(k, 3, 1), unfolded(v, 3, 1)
    exists = unfolded(torch.ones_like(k), 3, 1)[..., 0] > 0
    scores = (q[:, :, :, None] @ keys.transpose(-2, -1))[..., 0, :] * WIDTH**-0.5
    counts = exists.sum(-1).double()
    scores = (scores * counts.log()[..., None] + table[:, None]).masked_fill(~exists, -torch.inf)
    expected = (scores.softmax(-1)[..., None, :] @ values)[..., 0, :]
    score = "qk * scale * log(key_count) + table[h, slot]"
    made = site(f"grid = [6, 8], domain = neighborhood(3), score = {score}", {"table": "[4, 9]"})
    check(made, expected, table)


@pytest.mark.parametrize("counted", [False, True])
def test_overlapping_windows_are_unfolded_keys(counted: bool) -> None:
    """Zero keys beyond the map exist where k and v are padded, and not where they are not."""
    q, k, v = streams()
    keys, values = unfolded(k, 4, 1, stride=2), unfolded(v, 4, 1, stride=2)
    scores = windowed(q, 2, 2) @ keys.transpose(-2, -1) * WIDTH**-0.5
    if not counted:
        exists = unfolded(torch.ones_like(k), 4, 1, stride=2)[..., 0] > 0
        scores = scores.masked_fill(~exists[:, :, :, None], -torch.inf)
    expected = reversed_windows(scores.softmax(-1) @ values, 2, 2)
    if not counted:
        check(site("grid = [6, 8], domain = overlapping(2, 4)"), expected)
        return
    wide = dict.fromkeys("kv", f"[2, {HEADS}, 80, {WIDTH}]")
    made = site("grid = [6, 8], key_grid = [8, 10], domain = overlapping(2, 4)", wide)
    padded = (F.pad(x.unflatten(2, (6, 8)), (0, 0, 1, 1, 1, 1)).flatten(2, 3) for x in (k, v))
    torch.testing.assert_close(function(made)(q, *padded), expected, rtol=TOLERANCE, atol=TOLERANCE)


# By index ---------------------------------------------------------------------------------


def test_routed_regions_gather_whole_regions() -> None:
    draw = torch.Generator().manual_seed(0)
    route = torch.rand(2, 4, 4, generator=draw).argsort(-1)[..., :2]
    q, k, v = (windowed(x, 3, 4) for x in streams())
    keys, values = (
        torch.stack([x[b][:, route[b]] for b in range(2)]).flatten(3, 4) for x in (k, v)
    )
    expected = reversed_windows(plain(q, keys, values), 3, 4)
    made = site("grid = [6, 8], domain = routed(r, regions = [2, 2])", {"r": "[2, 4, 2] int"})
    check(made, expected, route)


@pytest.mark.parametrize("shape", ["[2, 48, 5] int", "[2, 4, 48, 5] int"])
def test_routed_keys_gather_single_keys(shape: str) -> None:
    q, k, v = streams()
    heads = 4 if "4, 48" in shape else 1
    draw = torch.Generator().manual_seed(0)
    keep = torch.rand(2, heads, TOKENS, TOKENS, generator=draw).argsort(-1)[..., :5]
    index = keep.expand(2, HEADS, TOKENS, 5).flatten(2)[..., None].expand(-1, -1, -1, WIDTH)
    keys, values = (x.gather(2, index).unflatten(2, (TOKENS, 5)) for x in (k, v))
    expected = plain(q[:, :, :, None], keys, values)[:, :, :, 0]
    given = keep if heads > 1 else keep[:, 0]
    check(site("domain = routed(r)", {"r": shape}), expected, given)


def test_routed_to_all_is_dense() -> None:
    everything = torch.arange(4).expand(2, 4, 4)
    made = site("grid = [6, 8], domain = routed(r, regions = [2, 2])", {"r": "[2, 4, 4] int"})
    check(made, plain(*streams()), everything)
    keys = torch.arange(TOKENS).expand(2, TOKENS, TOKENS)
    check(site("domain = routed(r)", {"r": "[2, 48, 48] int"}), plain(*streams()), keys)


def test_groups_and_segments_are_masks_by_number() -> None:
    draw = torch.Generator().manual_seed(0)
    numbers = torch.randint(0, 3, (2, TOKENS), generator=draw)
    same = (numbers[:, :, None] == numbers[:, None, :])[:, None]
    bias = torch.zeros(same.shape, dtype=torch.float64).masked_fill(~same, -torch.inf)
    expected = plain(*streams(), bias)
    shape = {"g": "[2, 48] int"}
    check(site("domain = groups(g)", shape), expected, numbers)
    check(site("domain = where(g[b, i] == g[b, j])", shape), expected, numbers)


def test_blocks_are_separate_attentions() -> None:
    lengths = (10, 30, 8)
    parts = zip(*(x.split(lengths, dim=2) for x in streams()), strict=True)
    expected = torch.cat([plain(*part) for part in parts], 2)
    check(site("domain = blocks([10, 30, 8])"), expected)


def test_streams_of_different_rates_meet_in_time() -> None:
    """Block-causal: four keys to a frame, two queries to a frame."""
    late = torch.arange(TOKENS)[None, :] // 4 > torch.arange(TOKENS)[:, None] // 2
    bias = torch.zeros(late.shape, dtype=torch.float64).masked_fill(late, -torch.inf)
    check(site("domain = where(i // 2 >= j // 4)"), plain(*streams(), bias))


# Padding, as the official codes have it ---------------------------------------------------

PADDED = (7, 10)
"""A map of 6 x 8 tokens in windows of 7 x 5, filled up with zeros."""


def filled(x: Tensor) -> Tensor:
    return F.pad(x.unflatten(2, (6, 8)), (0, 0, 0, 2, 0, 1)).flatten(2, 3)


def cropped(x: Tensor) -> Tensor:
    return x.unflatten(2, PADDED)[:, :, :6, :8].flatten(2, 3)


def on_padded(bias: Tensor | float) -> Tensor:
    """Return attention within windows of the padded map, cropped."""
    parts = (windowed(filled(x), 7, 5, PADDED[0]) for x in streams())
    return cropped(reversed_windows(plain(*three(parts), bias), 7, 5, PADDED[0]))


PADDINGS: Mapping[str, tuple[str, float]] = {
    "counted": ("domain = windows([7, 5])", 0.0),
    "a finite score": (
        "domain = windows([7, 5]), score = qk * scale + where(jy < 6 and jx < 8, 0, -1e6)", -1e6,
    ),
    "masked": ("domain = windows([7, 5]), mask = jy < 6 and jx < 8", -torch.inf),
}  # fmt: skip


@pytest.mark.parametrize("name", PADDINGS)
def test_padded_keys_may_count_score_low_or_be_masked(name: str) -> None:
    arguments, low = PADDINGS[name]
    real = windowed(filled(torch.ones(1, 1, TOKENS, 1)), 7, 5, PADDED[0])[0, 0, :, :, 0] > 0
    bias = torch.zeros(2, 1, 35, dtype=torch.float64).masked_fill(~real[:, None], low)
    made = site(f"grid = [7, 10], {arguments}", n=70)
    q, k, v = (filled(x) for x in streams())
    result = function(made)(q, k, v)
    assert isinstance(result, Tensor)
    found = cropped(result)
    torch.testing.assert_close(found, on_padded(bias), rtol=TOLERANCE, atol=TOLERANCE)
    if name == "masked":  # the same without padding: windows end at the edge of the map
        ragged = site("grid = [6, 8], domain = windows([7, 5])")
        check(ragged, found)


def test_regions_of_shifted_windows_may_score_minus_100() -> None:
    q, k, v = streams()
    parts = (windowed(rolled(x, (-1, -2)), 3, 4) for x in (q, k, v))
    low = torch.zeros(4, 12, 12, dtype=torch.float64).masked_fill(~regions(3, 4, 1, 2), -100.0)
    expected = rolled(reversed_windows(plain(*three(parts), low), 3, 4), (1, 2))
    together = "(iy + 2) // 3 == (jy + 2) // 3 and (ix + 2) // 4 == (jx + 2) // 4"
    score = f"qk * scale + where({together}, 0, -100)"
    domain = "windows([3, 4], shift = [1, 2], wrap = true)"
    check(site(f"grid = [6, 8], domain = {domain}, score = {score}"), expected)
