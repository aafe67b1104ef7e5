"""Functions that the kernels of all sites call; once in every file of kernels."""

IMPORTS = '''
try:
    import triton
    import triton.language as tl

    jit = triton.jit
except ImportError:  # without triton only the CPU implementations run

    def jit(function=None, **options):
        return function or jit
'''

PLACE = '''
@jit
def place(length, heads, BLOCK: tl.constexpr):
    """Tile, batch element and head of this program; neighbours share batch element and head."""
    tiles = tl.cdiv(length, BLOCK)
    program = tl.program_id(0)
    b = (program // tiles // heads).to(tl.int64)
    h = (program // tiles % heads).to(tl.int64)
    return program % tiles, b, h
'''

LOAD_ROWS = '''
@jit
def load_rows(x, b, h, rows, strides, WIDTH: tl.constexpr, PADDED: tl.constexpr):
    """Read rows of x[b, h] as a tile [rows, PADDED], with zeros from column WIDTH on."""
    columns = tl.arange(0, PADDED)[None, :]
    row = x + b * strides[0] + h * strides[1] + rows[:, None].to(tl.int64) * strides[2]
    if WIDTH == PADDED:
        return tl.load(row + columns * strides[3])
    return tl.load(row + columns * strides[3], mask=columns < WIDTH, other=0.0)
'''

STORE_ROWS = '''
@jit
def store_rows(tile, x, b, h, rows, length, strides, WIDTH: tl.constexpr, PADDED: tl.constexpr):
    """Write a tile to rows of x[b, h], except rows past the end and columns of padding."""
    columns = tl.arange(0, PADDED)[None, :]
    row = x + b * strides[0] + h * strides[1] + rows[:, None].to(tl.int64) * strides[2]
    inside = (rows[:, None] < length) & (columns < WIDTH)
    tl.store(row + columns * strides[3], tile.to(x.dtype.element_ty), mask=inside)
'''

LOAD_LSE = '''
@jit
def load_lse(lse, at):
    """Read lse in base 2; 0 for queries without keys, all of whose weights are 0."""
    value = tl.load(lse + at) * 1.4426950408889634
    return tl.where(value == float("-inf"), 0.0, value)
'''

BY_TOKEN = '''
def by_token(x, width):
    """An uninitialised [b, h, n, width] whose heads lie beside each other: to merge them is free."""
    batch, heads, length, _ = x.shape
    space = torch.empty((batch, length, heads, width), dtype=x.dtype, device=x.device)
    return space.transpose(1, 2)
'''

TILE_FOR = '''
def tile_for(choices, length, q):
    """Choose (rows of q, rows of k, warps, stages) by card and by the length of the tiled side.

    float32, and cards that are not listed, take what fits every card.
    """
    if q.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        raise TypeError(f"these kernels take float16, bfloat16 and float32, not {q.dtype}")
    card = torch.cuda.get_device_capability(q.device) if q.element_size() == 2 else None
    by_length = choices.get(card, choices[None])
    return next(tile for most, tile in by_length.items() if most is None or length <= most)
'''

DOT_PRECISION = '''
def dot_precision(q):
    """How float32 products are computed: as exactly as float32, unless torch allows TF32."""
    if torch.version.hip or not torch.backends.cuda.matmul.allow_tf32:
        return "ieee"
    return "tf32"
'''

SCATTER = '''
def scatter(grad, like, at):
    """Sum the gradients of reads into a tensor like the one that was read.

    grad: float32, one for each read; at: the index of each along every axis, or None for an axis
    read in order. Sums run in a fixed order: the result is the same in every run.
    """
    total = torch.zeros(like.shape, dtype=torch.float32, device=like.device)
    return torch.ops.aten.index_put_(total, at, grad, True).to(like.dtype)
'''

DEVICE = (PLACE, LOAD_ROWS, STORE_ROWS, LOAD_LSE)
HOST = (BY_TOKEN, TILE_FOR, DOT_PRECISION)
