"""Functions that kernels of gathered rows call, once in every file of kernels."""

from attnc.dsl.scorelang import FUNCTIONS

LISTED = '''\
def listed(index, count):
    """Rows of an index of `count` keys in order, -1 for what a row names again."""
    numbers = torch.arange(count, dtype=torch.int32, device=index.device)
    numbers = numbers.expand(*index.shape[:-1], count)
    return once(numbers.gather(-1, index))  # a number that is none of them is an error
'''

LOAD_LISTS = '''\
@jit
def load_lists(
    x, b, h, rows, length, strides, WIDTH: tl.constexpr, PADDED: tl.constexpr
):  # fmt: skip
    """Read rows [.., .., PADDED] of x[b, h]; zeros for row `length` and padding."""
    columns = tl.arange(0, PADDED)[None, None, :].to(tl.int64)
    rows = rows[:, :, None]
    at = x + b * strides[0] + h * strides[1] + rows.to(tl.int64) * strides[2]
    inside = (rows < length) & (columns < WIDTH)
    return tl.load(at + columns * strides[3], mask=inside, other=0.0)
'''

DOTS = '''\
@jit
def dots(row, rows):
    """Products of each row [r, d] with rows of its own [r, t, d]: [r, t]."""
    return tl.sum(row[:, None, :].to(tl.float32) * rows.to(tl.float32), 2)
'''

WEIGHED = '''\
@jit
def weighed(weights, rows):
    """Sums of rows [r, t, d] by weights [r, t]: [r, d]."""
    return tl.sum(weights[:, :, None] * rows.to(tl.float32), 1)
'''

CORNER = '''\
@jit
def corner(s, inside):
    """Softmax of scores in base 2 over slots inside; 0 where none of them has a key."""
    s = tl.where(inside, s, float("-inf"))
    top = tl.max(s, 1)
    shift = tl.where(top == float("-inf"), 0.0, top)
    p = tl.exp2(s - shift[:, None])
    total = tl.sum(p, 1)
    return p / tl.where(total == 0.0, 1.0, total)[:, None]
'''

SIGN = FUNCTIONS["sign"].triton_definition.strip().replace("@triton.jit", "@jit") + "\n"
"""The same that scores may call."""

HOST = (LISTED,)
DEVICE = (LOAD_LISTS, DOTS, WEIGHED, CORNER, SIGN)
"""Sources to choose from."""
