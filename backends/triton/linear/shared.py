"""Functions that the kernels of linear attention call, once in every file of kernels."""

PLACE_COLUMNS = '''\
@jit
def place_columns(parts, heads, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Tile of columns, part of the rows, batch element and head of this program."""
    tiles = tl.cdiv(WIDTH, BLOCK)
    item, b, h = place(tiles * parts, heads, 1)
    return item % tiles, item // tiles, b, h
'''

LOAD_COLUMNS = '''\
@jit
def load_columns(x, b, h, rows, columns, strides, WIDTH: tl.constexpr):
    """Read some columns of rows of x[b, h], with zeros from column WIDTH on."""
    row = x + b * strides[0] + h * strides[1] + rows[:, None].to(tl.int64) * strides[2]
    inside = columns[None, :] < WIDTH
    at = row + columns[None, :].to(tl.int64) * strides[3]
    return tl.load(at, mask=inside, other=0.0)
'''

STORE_COLUMNS = '''\
@jit
def store_columns(tile, x, b, h, rows, length, columns, strides, WIDTH: tl.constexpr):
    """Write a tile to some columns of x[b, h], less rows and columns past the ends."""
    row = x + b * strides[0] + h * strides[1] + rows[:, None].to(tl.int64) * strides[2]
    inside = (rows[:, None] < length) & (columns[None, :] < WIDTH)
    tile = tile.to(x.dtype.element_ty)
    at = row + columns[None, :].to(tl.int64) * strides[3]
    tl.store(at, tile, mask=inside)
'''

SUMS_AT = '''\
@jit
def sums_at(x, b, h, part, strides, rows, columns, HEIGHT, WIDTH, TURNED: tl.constexpr):
    """Places of x[b, h, part][rows, columns], or of its transpose, and which exist."""
    start = x + b * strides[0] + h * strides[1] + part * strides[2]
    rows, columns = rows[:, None], columns[None, :]
    inside = (rows < HEIGHT) & (columns < WIDTH)
    if TURNED:
        return start + rows * strides[4] + columns * strides[3], inside
    return start + rows * strides[3] + columns * strides[4], inside
'''

LOAD_SUMS = '''\
@jit
def load_sums(
    x, b, h, part, strides, rows, columns, HEIGHT, WIDTH, TURNED: tl.constexpr
):  # fmt: skip
    """Read x[b, h, part] or its transpose as a tile, with zeros past its ends."""
    at, inside = sums_at(x, b, h, part, strides, rows, columns, HEIGHT, WIDTH, TURNED)
    return tl.load(at, mask=inside, other=0.0)
'''

STORE_SUMS = '''\
@jit
def store_sums(tile, x, b, h, part, strides, rows, columns, HEIGHT, WIDTH):
    """Write a tile to x[b, h, part], except past its ends."""
    at, inside = sums_at(x, b, h, part, strides, rows, columns, HEIGHT, WIDTH, False)
    tl.store(at, tile, mask=inside)
'''

TIMES_SUMS = '''\
@jit
def times_sums(tile, sums, PRECISION: tl.constexpr, WIDE: tl.constexpr):
    """Rows times float32 sums; those of many rows may leave the range of float16."""
    if tile.dtype == tl.float16:
        return tl.dot(tile.to(tl.float32), sums, None, WIDE, out_dtype=tl.float32)
    return tl.dot(tile, sums.to(tile.dtype), None, PRECISION, out_dtype=tl.float32)
'''

WIDE_PRECISION = '''\
def wide_precision():
    """How float16 times float32 is computed: TF32 has the digits of the former."""
    return "ieee" if torch.version.hip else "tf32"
'''

SPLIT_CHUNKS = '''\
def split_chunks(length, block, programs):
    """Parts of the rows that are walked side by side, and rows in each, 4 chunks up.

    There are as many as keep a large card busy when every part has so many programs.
    """
    chunks = max(1, triton.cdiv(length, block))
    parts = max(1, min(triton.cdiv(512, programs), chunks // 4))
    span = triton.cdiv(chunks, parts) * block
    return triton.cdiv(length, span), span
'''

CARRIED = '''\
def carried(sums, rate, span, later=False):
    """What each part begins with: the sums of all parts before it, or after it.

    sums: [b, h, parts, ..] of each part; rate: [b, h] or None; span: rows in a part.
    """
    parts = sums.shape[2]
    if parts == 1:
        return torch.zeros_like(sums)
    number = torch.arange(parts, device=sums.device)
    between = number[:, None] - number - 1
    between = between.mT if later else between
    if rate is None:
        fade = torch.ones_like(between, dtype=sums.dtype)
    else:
        rate = rate.to(sums.dtype)[..., None, None]
        fade = (rate * (span * between.clamp(min=0))).exp()
    fade = fade.masked_fill(between < 0, 0.0)
    return (fade @ sums.flatten(3)).view_as(sums)
'''

HOST = (WIDE_PRECISION, SPLIT_CHUNKS, CARRIED)
DEVICE = (
    PLACE_COLUMNS, LOAD_COLUMNS, STORE_COLUMNS, SUMS_AT, LOAD_SUMS, STORE_SUMS, TIMES_SUMS,
)  # fmt: skip
