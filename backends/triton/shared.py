"""Functions that the kernels of all sites call; once in every file of kernels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from attnc.backends.triton.operation import Operation

IMPORTS = """\
try:
    import triton
    import triton.language as tl

    jit = triton.jit
except ImportError:  # without triton only the CPU implementations run

    def jit(function=None, **options):
        return function or jit
"""

PLACE = '''\
@jit
def place(length, heads, BLOCK: tl.constexpr):
    """Tile, batch element and head of this program; neighbours share the last two."""
    tiles = tl.cdiv(length, BLOCK)
    program = tl.program_id(0)
    b = (program // tiles // heads).to(tl.int64)
    h = (program // tiles % heads).to(tl.int64)
    return program % tiles, b, h
'''

PLACE_BLOCK = '''\
@jit
def place_block(blocks, slots, heads, BLOCK: tl.constexpr):
    """Block of this program and its first slot there, batch element and head."""
    tiles = tl.cdiv(slots, BLOCK)
    tile, b, h = place(blocks * tiles, heads, 1)
    return tile // tiles, tile % tiles * BLOCK, b, h
'''

LOAD_ROWS = '''\
@jit
def load_rows(
    x, b, h, rows, strides, WIDTH: tl.constexpr, PADDED: tl.constexpr,
    FIRST: tl.constexpr = 0,
):  # fmt: skip
    """Read columns of rows of x[b, h], WIDTH from FIRST on, as a tile of PADDED."""
    columns = tl.arange(0, PADDED)[None, :].to(tl.int64)
    row = x + b * strides[0] + h * strides[1] + rows[:, None].to(tl.int64) * strides[2]
    at = row + (FIRST + columns) * strides[3]
    if WIDTH == PADDED:
        return tl.load(at)
    return tl.load(at, mask=columns < WIDTH, other=0.0)
'''

LOAD_AT = '''\
@jit
def load_at(x, b, h, rows, columns, strides, WIDTH: tl.constexpr = 0):
    """Read columns of rows of x[b, h] in float32, in any order; 0 from WIDTH on, if given."""
    row = x + b * strides[0] + h * strides[1] + rows[:, None].to(tl.int64) * strides[2]
    at = row + columns[None, :].to(tl.int64) * strides[3]
    if WIDTH > 0:
        return tl.load(at, mask=columns[None, :] < WIDTH, other=0.0).to(tl.float32)
    return tl.load(at).to(tl.float32)
'''

STORE_ROWS = '''\
@jit
def store_rows(
    tile, x, b, h, rows, length, strides, WIDTH: tl.constexpr, PADDED: tl.constexpr,
    FIRST: tl.constexpr = 0,
):  # fmt: skip
    """Write a tile to rows of x[b, h] from column FIRST on, less rows past the end."""
    columns = tl.arange(0, PADDED)[None, :].to(tl.int64)
    row = x + b * strides[0] + h * strides[1] + rows[:, None].to(tl.int64) * strides[2]
    inside = (rows[:, None] < length) & (columns < WIDTH)
    tile = tile.to(x.dtype.element_ty)
    tl.store(row + (FIRST + columns) * strides[3], tile, mask=inside)
'''

LOAD_LSE = '''\
@jit
def load_lse(lse, at):
    """Read lse in base 2; 0 for queries without keys, all of whose weights are 0."""
    value = tl.load(lse + at) * 1.4426950408889634
    return tl.where(value == float("-inf"), 0.0, value)
'''

TOKEN_ROWS = '''\
def token_rows(x, width):
    """An empty [b, h, n, width] whose heads lie side by side: merging them is free."""
    batch, heads, length, _ = x.shape
    space = torch.empty((batch, length, heads, width), dtype=x.dtype, device=x.device)
    return space.transpose(1, 2)
'''

BY_QUERY = '''\
def by_query(q, *shape):
    """An empty tensor for sums, float32 at least; [b, h, n] unless stated."""
    dtype = torch.promote_types(q.dtype, torch.float32)
    return torch.empty(shape or q.shape[:3], dtype=dtype, device=q.device)
'''

RELAID = '''\
def relaid(x):
    """The same values, laid out as `token_rows` does."""
    return token_rows(x, x.shape[-1]).copy_(x)
'''

IF_WANTED = '''\
def if_wanted(grad, wanted):
    """The gradient of a captured tensor, or nothing where no one asks for it."""
    return grad.contiguous() if wanted else grad.new_empty(0)
'''

CARD_OF = '''\
def card_of(q):
    """The compute capability that tiles are listed by; None in float32."""
    if q.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        raise TypeError(f"no kernels for {q.dtype}: use float16, bfloat16 or float32")
    half = q.element_size() == 2
    return torch.cuda.get_device_capability(q.device) if half else None
'''

TILE_FOR = '''\
def tile_for(tiles, length, q):
    """Choose rows of q and k, warps and stages by card and length of the tiled side.

    Cards that are not listed take what fits every card.
    """
    by_length = tiles.get(card_of(q), tiles[None])
    longest = min((most for most in by_length if most and length <= most), default=None)
    return by_length[longest]
'''

DOT_PRECISION = '''\
def dot_precision(q):
    """How float32 products are computed: in full, unless torch allows TF32."""
    if torch.version.hip or not torch.backends.cuda.matmul.allow_tf32:
        return "ieee"
    return "tf32"
'''

BY_PAIR = '''\
def by_pair(values):
    """Values by pair, [b or 1, h or 1, n, m] or less, in rows made for wide loads.

    Tiles are 128 columns at most and may read past the end of a row; a copy has room
    for that and rows of a multiple of 16 elements.
    """
    values = values[(None,) * (4 - values.dim())]
    *outer, rows, length = values.shape
    if values.stride(3) == 1 and values.stride(2) % 16 == 0 and length % 128 == 0:
        return values
    width = triton.cdiv(length, 16) * 16
    count = outer[0] * outer[1] * rows * width
    space = torch.empty(count + 128, dtype=values.dtype, device=values.device)
    copy = space[:count].view(*outer, rows, width)
    copy[..., :length] = values
    return copy
'''

BY_OFFSET = '''\
def by_offset(values, n):
    """Lines over j of values by i - j, which are [b or 1, h or 1, n + m - 1] or less.

    That of query i is [i % 16, cdiv(n, 16) - i // 16]. All begin at a multiple of 16
    elements, for wide loads, and have room for a tile of 128 columns past the end.
    """
    values = values[(None,) * (3 - values.dim())].flip(-1)
    before, keys = triton.cdiv(n, 16) * 16, values.shape[-1] - n + 1
    width = triton.cdiv(before + keys + 128, 16) * 16
    ahead = before + 16 - n
    padded = torch.nn.functional.pad(values, (ahead, width + 16 - ahead - keys - n))
    lines = padded.unfold(-1, width, 1).flip(-2).contiguous()  # one element apart
    return lines.unfold(-1, width - before, 16)
'''

OFFSET_SUMS = '''\
def offset_sums(tiles, n, m):
    """Sums by i - j, from 1 - m to n - 1, of tiles [.., diagonals, size, size]."""
    size, pad = tiles.shape[-1], torch.nn.functional.pad
    skewed = pad(tiles.flip(-1), (0, size)).flatten(-2)[..., :-size]
    sums = skewed.unflatten(-1, (size, -1)).sum(-2)  # of each diagonal of a tile
    left, right = pad(sums, (0, 1)).unflatten(-1, (2, size)).unbind(-2)
    sums = (pad(left, (0, 0, 0, 1)) + pad(right, (0, 0, 1, 0))).flatten(-2)
    first = triton.cdiv(m, size) * size - m
    return sums[..., first : first + n + m - 1]
'''

READ_GRADIENT = '''\
def read_gradient(read, tensor, grad):
    """Gradient of a tensor in float32, from those of all elements that `read` takes.

    grad: with further axes to sum over. The order of sums is fixed: the result is the
    same in every run.
    """
    places = torch.arange(tensor.numel(), device=tensor.device).view(tensor.shape)
    taken = read(places)
    total = torch.zeros(tensor.numel(), dtype=grad.dtype, device=grad.device)
    total.index_put_((taken,), grad.sum_to_size(taken.shape), accumulate=True)
    return total.view(tensor.shape)
'''

ONCE = '''\
def once(index):
    """Rows of an index in order, with -1 in place of what a row names again."""
    index = index.sort(-1).values
    again = index[..., 1:] == index[..., :-1]
    return torch.cat((index[..., :1], index[..., 1:].masked_fill(again, -1)), -1).int()
'''

PLACES_NAMING = '''\
def places_naming(index, count):
    """Where an index names each of `count` numbers, and where runs of them start."""
    named = index.flatten(-2)
    named = torch.where(named < 0, count, named)
    named, order = named.sort(stable=True)
    numbers = torch.arange(count + 1, dtype=named.dtype, device=named.device)
    numbers = numbers.expand(*named.shape[:-1], -1).contiguous()
    starts = torch.searchsorted(named, numbers)
    return starts.int(), order.int()
'''

ROWS_NAMING = '''\
def rows_naming(index, count):
    """Which rows of an index name each of `count` numbers, and where runs start."""
    starts, places = places_naming(index, count)
    return starts, places // index.shape[-1]
'''

PLAIN_GRADIENTS = '''\
def plain_gradients(plain, inputs, needed, grads):
    """Gradients of a plain function, run once more; None where none are needed."""
    again = torch.is_grad_enabled()  # then gradients of gradients are wanted, too
    with torch.enable_grad():
        given = [
            x if again else x.detach().requires_grad_(need)
            for x, need in zip(inputs, needed, strict=True)
        ]
        results = plain(*given)
    results = results if isinstance(results, tuple) else (results,)
    pairs = zip(results, grads, strict=True)
    reached = [(x, grad) for x, grad in pairs if x.requires_grad]
    sought = [x for x, need in zip(given, needed, strict=True) if need]
    found = [None for _ in sought]
    if reached:
        found = torch.autograd.grad(
            [x for x, _ in reached], sought, [grad for _, grad in reached],
            create_graph=again, allow_unused=True
        )  # fmt: skip
    found = iter(found)
    return tuple(next(found) if need else None for need in needed)
'''

ONCE_MORE = '''\
def once_more(function, inputs, needed):
    """Copies of inputs that autograd follows, and what a function makes of them.

    It works in float32, as kernels do: what they rounded is rounded here in the same way.
    """
    dtype = inputs[0].dtype
    with torch.enable_grad():
        pairs = zip(inputs, needed, strict=True)
        given = [x.detach().requires_grad_(need) for x, need in pairs]
        wide = torch.promote_types(dtype, torch.float32)
        made = function(*(x.to(wide) for x in given))
        made = made if isinstance(made, tuple) else (made,)
        return given, [x.to(dtype) for x in made]
'''

GRADIENTS_OF = '''\
def gradients_of(given, needed, made, grads):
    """Gradients of inputs from those of what was made; None where none are needed."""
    sought = [x for x, need in zip(given, needed, strict=True) if need]
    pairs = zip(made, grads, strict=True)
    reached = [(x, grad) for x, grad in pairs if x.requires_grad]
    found = iter(())
    if reached:
        xs, of_xs = zip(*reached, strict=True)
        found = iter(torch.autograd.grad(xs, sought, of_xs, allow_unused=True))
    return [next(found) if need else None for need in needed]
'''

FUNCTIONS = (
    TOKEN_ROWS, BY_QUERY, CARD_OF, TILE_FOR, DOT_PRECISION, READ_GRADIENT, ONCE, ROWS_NAMING,
    PLACES_NAMING,
    BY_PAIR, BY_OFFSET, OFFSET_SUMS, IMPORTS, PLACE, PLACE_BLOCK, LOAD_ROWS, LOAD_AT, STORE_ROWS,
    LOAD_LSE,
)  # fmt: skip
"""Sources to choose from: functions of the host, then of the device."""

_NAME = re.compile(r"^def (\w+)\(", re.M)


def of_boundary(operation: Operation, with_plain: bool, changed: bool = False) -> Iterator[str]:
    """Yield sources of functions that operators call.

    Args:
        operation: whose operators.
        with_plain: whether there is a plain implementation.
        changed: whether operands become something else before they are multiplied.
    """
    if operation.learned:
        yield IF_WANTED
    if changed:
        yield from (ONCE_MORE, GRADIENTS_OF)
    if with_plain:
        yield from (RELAID, PLAIN_GRADIENTS)


def called(functions: Iterable[str], texts: Sequence[str]) -> list[str]:
    """Return, in order, those of some functions that texts call, or that these in turn call.

    Args:
        functions: sources, each of one function, or of something that all files hold.
        texts: what may call them.
    """
    listed, text = list(functions), "\n".join(texts)
    kept = {source for source in listed if not _NAME.search(source)}
    while True:
        found = {source for source in listed if source not in kept and _is_called(source, text)}
        if not found:
            return [source for source in listed if source in kept]
        kept |= found
        text += "\n".join(found)


def _is_called(source: str, text: str) -> bool:
    name = _NAME.search(source)
    return name is not None and re.search(rf"\b{name[1]}\(", text) is not None
