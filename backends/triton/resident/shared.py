"""Functions that resident kernels and their launchers call; once in every file of kernels."""

from __future__ import annotations

STORE_PART = '''\
@jit
def store_part(tile, parts, rows, length, WIDTH: tl.constexpr, PADDED: tl.constexpr):
    """Write what this program has summed to its part, [length, WIDTH]."""
    columns = tl.arange(0, PADDED)[None, :]
    at = (tl.program_id(0).to(tl.int64) * length + rows[:, None]) * WIDTH + columns
    tl.store(parts + at, tile, mask=(rows[:, None] < length) & (columns < WIDTH))
'''

SPLIT_ROWS = '''\
def split_rows(length, block, heads):
    """How many runs of whole tiles keep a large card busy, and rows of each."""
    tiles = max(1, triton.cdiv(length, block))
    wanted = max(1, min(tiles, 512 // max(1, heads)))
    run = triton.cdiv(tiles, wanted)
    return triton.cdiv(tiles, run), run * block
'''

MERGED = '''\
def merged(peaks, totals, sums):
    """The result and lse of a softmax over all splits, which lie along axis 2.

    peaks: the largest scores of each, in base 2; totals: sums of exp2(score - peak);
    sums: of values.
    """
    peak = peaks.amax(2)
    lowest = torch.finfo(peak.dtype).min
    share = torch.exp2(peaks - peak.clamp_min(lowest)[:, :, None])
    total = (totals * share).sum(2)
    some = total.masked_fill(total == 0, 1)  # of a row without pairs
    result = (sums * share[..., None]).sum(2) / some[..., None]
    return result, (peak + total.log2()) * 0.6931471805599453
'''

FIRST_BEST = '''\
def first_best(bests, places):
    """Where the largest score of all splits, along axis 2, is first; -1 for nowhere."""
    first = bests.argmax(2, keepdim=True)  # splits are in order: the first of equals
    return places.gather(2, first).squeeze(2).long()
'''

TAKEN = '''\
def taken(values, index):
    """Rows of values [b, h, n, width] that index [b, h, m] names; 0 for -1."""
    if values.shape[2] == 0:
        return values.new_zeros(*index.shape, values.shape[3])
    place = index.clamp_min(0)[..., None].expand(-1, -1, -1, values.shape[3])
    return values.gather(2, place).masked_fill(index[..., None] < 0, 0)
'''

HOST = (SPLIT_ROWS, MERGED, FIRST_BEST, TAKEN)
DEVICE = (STORE_PART,)
