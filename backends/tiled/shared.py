"""Functions that generated code of several sites calls; once in every file of kernels."""

TILES = '''\
TILE = {"cpu": 2**18, "cuda": 2**24}  # pairs whose scores are held at once, by device


def chunks(length, most):
    """Slices of 0..length, up to `most` long."""
    return (slice(at, min(at + most, length)) for at in range(0, length, max(most, 1)))


def span(start, stop, length):
    """The part of 0..length from `start` up to `stop`."""
    start = min(max(start, 0), length)
    return slice(start, max(start, min(stop, length)))


def size_of(places):
    """How many places there are: a slice, or numbers."""
    return places.stop - places.start if isinstance(places, slice) else len(places)


def numbers(places, device):
    """The numbers of places: of a slice, or the numbers themselves."""
    if isinstance(places, slice):
        return torch.arange(places.start, places.stop, device=device)
    return places


def heads_of(x, pairs):
    """Slices of batch and heads of x [b, h, ...]; one head holds so many pairs."""
    batch, heads = x.shape[:2]
    most = max(1, TILE.get(x.device.type, TILE["cuda"]) // max(pairs, 1))
    if most >= heads:
        yield from ((bs, slice(0, heads)) for bs in chunks(batch, most // heads))
    else:
        each = chunks(batch, 1)
        yield from ((bs, hs) for bs in each for hs in chunks(heads, most))


def rows_for(x, others):
    """How many rows of x a tile has beside so many others, several heads in it.

    The threads of a CPU share out heads with less loss than a single product.
    """
    heads = min(4, x.shape[0] * x.shape[1])
    return max(32, TILE.get(x.device.type, TILE["cuda"]) // max(others * heads, 1))
'''

WIDENED = '''\
def widened(*tensors):
    """Tensors without gaps, floats in the dtype of the first, but float32 at least."""
    dtype = torch.promote_types(tensors[0].dtype, torch.float32)
    return [(x.to(dtype) if x.is_floating_point() else x).contiguous() for x in tensors]
'''

BY_TOKEN = '''\
def empty_by_token(x, heads, length, width):
    """An empty [b, h, n, e] like x; heads lie side by side, so that merging is free."""
    return x.new_empty(x.shape[0], length, heads, width).transpose(1, 2)
'''

TOKENS_AT = '''\
def tokens_at(best, places):
    """The numbers of the tokens that stand at `best` among the places of a tile."""
    return best + places.start if isinstance(places, slice) else places[best]
'''

BY_KEYS = '''\
def read_by_keys(scores, values, sums, peaks, totals):
    """Add what keys read of the queries of a tile by exp(scores) [b, h, n, m].

    sums [b, h, m, f] and totals [b, h, m] are in units of exp(peaks), which may rise.
    """
    highest = torch.maximum(peaks, scores.amax(-2))
    unit = highest.masked_fill(highest.isneginf(), 0.0)
    fewer, powers = (peaks - unit).exp(), (scores - unit.unsqueeze(-2)).exp()
    sums = sums * fewer.unsqueeze(-1) + powers.mT @ values
    return sums, highest, totals * fewer + powers.sum(-2)
'''

GATHERED = '''\
def flat_at(x, bs, hs, j):
    """The numbers of rows of x [b, h, m, e] at j [b, h, n, slots] and places."""
    b = numbers(bs, j.device)[:, None, None, None]
    h = numbers(hs, j.device)[:, None, None]
    return (b * x.shape[1] + h) * x.shape[2] + j


def keys_at(x, bs, hs, j):
    """Rows [b, h, n, slots, e] of x [b, h, m, e] at j [b, h, n, slots]."""
    return F.embedding(flat_at(x, bs, hs, j), x.reshape(-1, x.shape[3]))


def add_keys_at(grad, values, bs, hs, j):
    """Add the gradient of keys_at(x, ...) to that of x, in a fixed order of sums."""
    flat = flat_at(grad, bs, hs, j).flatten()
    rows, values = grad.view(-1, grad.shape[3]), values.reshape(-1, grad.shape[3])
    if grad.is_cuda:
        rows.index_put_((flat,), values, accumulate=True)
    else:
        rows.index_add_(0, flat, values)
'''

REPEATED = '''\
def repeated(numbers):
    """Which numbers along the last axis have stood there before."""
    in_order, places = numbers.sort(dim=-1, stable=True)
    again = torch.zeros_like(numbers, dtype=torch.bool)
    again[..., 1:] = in_order[..., 1:] == in_order[..., :-1]
    return torch.zeros_like(again).scatter(-1, places, again)
'''

L1 = '''\
def l1_gradients(grad, q, k):
    """Gradients of torch.cdist(q, k, p=1) [b, h, n, m] for q and for k."""
    backward, q, k = torch.ops.aten._cdist_backward, q.contiguous(), k.contiguous()
    grad, turned = grad.contiguous(), grad.mT.contiguous()
    return backward(grad, q, k, 1.0, grad), backward(turned, k, q, 1.0, turned)
'''

ADD_PRODUCT = '''\
def add_product(total, x, y):
    """Add x @ y to a part [b, h, m, e] of a gradient: in one go if it has no gaps."""
    if total.is_contiguous():
        total.flatten(0, 1).baddbmm_(x.flatten(0, 1), y.flatten(0, 1))
    else:
        total += x @ y
'''

CUT = '''\
def cut_behind(scores, rows, cols, right):
    """Forbid keys j > i + right; only columns where there may be some are touched."""
    first = max(rows.start + right + 1 - cols.start, 0)
    if first < scores.shape[-1]:
        i = torch.arange(rows.start, rows.stop, device=scores.device)[:, None]
        j = torch.arange(cols.start + first, cols.stop, device=scores.device)
        scores[..., first:].masked_fill_(j > i + right, -torch.inf)


def cut_before(scores, rows, cols, left):
    """Forbid keys j < i - left; only columns where there may be some are touched."""
    stop = min(rows.stop - 1 - left - cols.start, scores.shape[-1])
    if stop > 0:
        i = torch.arange(rows.start, rows.stop, device=scores.device)[:, None]
        j = torch.arange(cols.start, cols.start + stop, device=scores.device)
        scores[..., :stop].masked_fill_(j < i - left, -torch.inf)
'''

DIAGONALS = '''\
def diagonals(table, rows, cols, offset, descending=False):
    """table[..., i - j + offset] for a tile of pairs; pairs that lead out of it read 0.

    Descending: table[..., j - i + offset].
    """
    run, (start, stop) = run_of(rows, cols, offset, descending)
    inside = span(start, stop, table.shape[-1])
    around = (inside.start - start, stop - inside.stop)
    if inside.start == inside.stop:
        return table.new_zeros(*table.shape[:-1], size_of(rows), size_of(cols))
    values = F.pad(table[..., inside], around)
    values = values if descending else values.flip(-1)
    return values.unfold(-1, size_of(cols), 1).flip(-2)


def add_diagonals(grad, table, rows, cols, offset, descending=False):
    """Add the gradient of diagonals(table, ...) to that of `table`."""
    run, (start, stop) = run_of(rows, cols, offset, descending)
    inside = span(start, stop, table.shape[-1])
    if inside.start == inside.stop:
        return
    grad = grad.sum_to_size(*table.shape[:-1], *grad.shape[-2:])
    # In rows that are one place longer than they are apart diagonals stand in columns.
    outer, high = grad.shape[:-2], size_of(rows)
    skewed = grad.new_zeros(*outer, high, run)
    apart = (*skewed.stride()[:-2], run - 1, 1)
    skewed.as_strided(grad.shape, apart, high - 1).copy_(grad)
    sums = skewed.sum(-2)
    sums = sums if descending else sums.flip(-1)
    table[..., inside] += sums[..., inside.start - start : inside.stop - start]


def run_of(rows, cols, offset, descending):
    """How many diagonals a tile of pairs has, and their places in the table."""
    run = size_of(rows) + size_of(cols) - 1
    low, high = (cols, rows) if descending else (rows, cols)
    start = low.start - (high.stop - 1) + offset
    return run, (start, start + run)
'''

ADD_AT = '''\
def add_at(grad, tensor, places):
    """Add the gradient of tensor[places] to that of `tensor`, in a fixed order."""
    places = [torch.as_tensor(place, device=tensor.device) for place in places]
    places = torch.broadcast_tensors(*places)
    values = grad.sum_to_size(places[0].shape)
    if tensor.is_cuda:
        tensor.index_put_(places, values, accumulate=True)
        return
    flat = torch.zeros_like(places[0])
    for place, size in zip(places, tensor.shape, strict=True):
        flat = flat * size + torch.where(place < 0, place + size, place)
    tensor.view(-1).index_add_(0, flat.flatten(), values.flatten())
'''

SOFTMAX = '''\
def softmax(scores, dim):
    """Softmax along an axis; over nothing it is 0."""
    if not scores.shape[dim]:
        return scores
    peak = scores.amax(dim, keepdim=True)
    nothing = peak.isneginf()
    weights = (scores - peak.masked_fill(nothing, 0.0)).exp_()
    return weights.div_(weights.sum(dim, keepdim=True).masked_fill(nothing, 1.0))
'''

GRADIENT = '''\
def softmax_gradient(grad, weights, dim):
    """weights * (grad - the sum of weights * grad), in one pass."""
    return torch._softmax_backward_data(grad, weights, dim, weights.dtype)
'''

SINK = '''\
def softmax_beside(scores, sink):
    """Softmax over keys and a sink [b, h, 1, 1]: weights of keys and of the sink."""
    peak = torch.maximum(scores.amax(-1, keepdim=True), sink)
    weights, last = (scores - peak).exp_(), (sink - peak).exp()
    total = weights.sum(-1, keepdim=True) + last
    return weights.div_(total), last / total
'''

NO_SECOND = '''\
def no_second(name):
    """Raise the error for gradients of gradients."""
    raise RuntimeError(
        f"{name} has no gradients of gradients: the reference backend has them"
    )
'''

BOXES = '''\
def within(places, length):
    """The part of a range that lies in 0..length."""
    skipped = max(0, -(places.start // places.step))
    start = places.start + skipped * places.step
    return range(start, min(places.stop, length), places.step)


def cut(length, size, shift=0, step=1):
    """The windows along an axis, the first cut off so that one begins at `shift`."""
    period = size * step
    for start in range(shift % period - period, length, period):
        for turn in range(step):
            places = within(range(start + turn, start + period, step), length)
            if places:
                yield places


def turned(length, size, shift, step=1):
    """The windows along an axis on a ring, of which one begins at `shift`."""
    for places in cut(length, size, 0, step):
        yield [(place + shift) % length for place in places]


def clamped(own, kernel, length):
    """The keys along an axis of queries whose neighbourhoods move inwards at edges."""
    step, turn = own.step, own.start % own.step
    last = turn + (max(0, (length - turn + step - 1) // step - kernel)) * step
    before = kernel // 2 * step
    start, end = (min(max(at - before, turn), last) for at in (own.start, own[-1]))
    return within(range(start, end + kernel * step, step), length)


def crossed(places, lengths, device):
    """The numbers of tokens at places along the axes of a grid, the last fastest."""
    numbers = torch.zeros(1, dtype=torch.long, device=device)
    for each, length in zip(places, lengths, strict=True):
        each = torch.tensor([*each], dtype=torch.long, device=device)
        numbers = (numbers[:, None] * length + each).flatten()
    return numbers
'''

WINDOWS = '''\
def windows_in(x, axes, chosen=1):
    """Places (batch, first axis of windows) of tiles of windows [b, ..., h, ..., e].

    A window sees `chosen` windows.
    """
    one = x[:1, :1].flatten(axes + 2, -2)
    pairs = one.numel() // one.shape[-1] * one.shape[-2] * chosen
    most = max(1, TILE.get(x.device.type, TILE["cuda"]) // max(pairs, 1))
    if most >= x.shape[1]:
        each = chunks(x.shape[0], most // x.shape[1])
        yield from ((bs, slice(0, x.shape[1])) for bs in each)
    else:
        each = chunks(x.shape[0], 1)
        yield from ((bs, ys) for bs in each for ys in chunks(x.shape[1], most))


def whole(q, k):
    """All places of one tile: batch, heads, queries, keys."""
    return tuple(slice(0, size) for size in (*q.shape[:3], k.shape[2]))


def tile_of(x, bs, ys, axes):
    """Windows [w, h, tokens, e] of a tile, side by side."""
    return x[bs, ys].flatten(0, axes).flatten(2, -2)
'''

ROUTES = '''\
def routes_in(route, keys, x, bs, ys):
    """Places (batch, head, region) [w, h, chosen] of what the regions of a tile see.

    route: [b, regions, chosen] or [b, h, regions, chosen].
    keys: [b, h, regions, tokens, e].
    Also which keys are there once more, [w, h, 1, keys], or None where none is.
    """
    heads = keys.shape[1]
    route = route[bs] if route.dim() == 4 else route[bs, None].expand(-1, heads, -1, -1)
    regions = route.unflatten(2, (x.shape[1], -1))[:, :, ys].flatten(2, 3)
    regions = regions.transpose(1, 2)
    batch = numbers(bs, route.device)[:, None, None, None].expand(regions.shape)
    head = numbers(slice(0, heads), route.device)[:, None].expand(regions.shape)
    at = tuple(each.flatten(0, 1) for each in (batch, head, regions))
    same = at[2][..., :, None] == at[2][..., None, :]
    again = same.tril(-1).any(-1)
    if not again.any():
        return at, None
    return at, again.repeat_interleave(keys.shape[3], dim=-1).unsqueeze(-2)


def add_rows(grad, values, at):
    """Add the gradient of grad[at] [w, h, chosen, tokens, e], in a fixed order."""
    if grad.is_cuda:
        grad.index_put_(at, values, accumulate=True)
        return
    flat = (at[0] * grad.shape[1] + at[1]) * grad.shape[2] + at[2]
    rows = grad.view(-1, grad.shape[3] * grad.shape[4])
    rows.index_add_(0, flat.flatten(), values.reshape(-1, rows.shape[1]))
'''

BESIDE = '''\
def beside(*parts):
    """Results of groups of heads as one [b, h, n, e], a token's heads side by side."""
    return torch.cat([part.transpose(1, 2) for part in parts], dim=2).transpose(1, 2)
'''

OPTIONAL = (
    (("beside",), BESIDE),
    (("add_product",), ADD_PRODUCT),
    (("tokens_at",), TOKENS_AT),
    (("read_by_keys",), BY_KEYS),
    (("keys_at", "add_keys_at"), GATHERED),
    (("repeated",), REPEATED),
    (("l1_gradients",), L1),
    (("routes_in",), ROUTES),
    (("cut_behind", "cut_before"), CUT),
    (("diagonals", "add_diagonals"), DIAGONALS),
    (("add_at",), ADD_AT),
    (("softmax",), SOFTMAX),
    (("crossed",), BOXES),
    (("windows_in",), WINDOWS),
    (("softmax_gradient",), GRADIENT),
    (("softmax_beside",), SINK),
)
"""Names of functions, and the source of them, that only some sites call."""
