"""The two kernels, their launchers and operators; the same text for every site.

`row_products(x, y)` is x y^T [b, h, n, m] in float32, `weighted_rows(weights, x)` is weights x.
The gradients of each are the two again: of x y^T = s they are ds y and ds^T x, of w x = o they
are do x^T and w^T do. So what lies between is plain torch, and every derivative is deterministic.
"""

from __future__ import annotations

LOAD_PART = '''\
@jit
def load_part(x, b, h, rows, columns, strides, length, width):
    """Read x[b, h][rows, columns] as a tile, with zeros past both ends."""
    row = x + b * strides[0] + h * strides[1] + rows[:, None].to(tl.int64) * strides[2]
    at = row + columns[None, :].to(tl.int64) * strides[3]
    inside = (rows[:, None] < length) & (columns[None, :] < width)
    return tl.load(at, mask=inside, other=0.0)
'''

PRODUCTS_KERNEL = '''\
@jit(do_not_specialize=["span"])
def row_products_kernel(
    x, y, parts, x_strides, y_strides, heads, n, m, width, span,
    BLOCK_I: tl.constexpr, BLOCK_J: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """x y^T for a tile of rows of both, summed over one run of columns, BLOCK_J at a time."""
    tiles = tl.cdiv(m, BLOCK_I)
    splits = tl.maximum(tl.cdiv(width, span), 1)
    item, b, h = place(splits * tl.cdiv(n, BLOCK_I) * tiles, heads, 1)
    split = item // tiles // tl.cdiv(n, BLOCK_I)
    x_rows = item // tiles % tl.cdiv(n, BLOCK_I) * BLOCK_I + tl.arange(0, BLOCK_I)
    y_rows = item % tiles * BLOCK_I + tl.arange(0, BLOCK_I)
    acc = tl.zeros([BLOCK_I, BLOCK_I], tl.float32)
    for first in range(split * span, tl.minimum((split + 1) * span, width), BLOCK_J):
        columns = first + tl.arange(0, BLOCK_J)
        x_tile = load_part(x, b, h, x_rows, columns, x_strides, n, width)
        y_tile = load_part(y, b, h, y_rows, columns, y_strides, m, width)
        acc = tl.dot(x_tile, tl.trans(y_tile), acc, PRECISION)
    at = ((b * heads + h) * splits + split) * n + x_rows[:, None]
    inside = (x_rows[:, None] < n) & (y_rows[None, :] < m)
    tl.store(parts + at * m + y_rows[None, :], acc, mask=inside)
'''

WEIGHTED_KERNEL = '''\
@jit
def weighted_rows_kernel(
    weights, x, out, weights_strides, x_strides, out_strides, heads, n, m, width,
    BLOCK_I: tl.constexpr, BLOCK_J: tl.constexpr, PRECISION: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """weights x for a tile of rows and BLOCK_J columns, held as [columns, rows]."""
    tiles = tl.cdiv(n, BLOCK_I)
    item, b, h = place(tl.cdiv(width, BLOCK_J) * tiles, heads, 1)
    columns = item // tiles * BLOCK_J + tl.arange(0, BLOCK_J)
    rows = item % tiles * BLOCK_I + tl.arange(0, BLOCK_I)
    acc = tl.zeros([BLOCK_J, BLOCK_I], tl.float32)
    for first in range(0, m, BLOCK_I):
        x_rows = first + tl.arange(0, BLOCK_I)
        x_tile = load_part(x, b, h, x_rows, columns, x_strides, m, width)
        weights_tile = load_part(weights, b, h, rows, x_rows, weights_strides, n, m)
        weights_tile = tl.trans(weights_tile.to(tl.float32))
        acc += times_sums(tl.trans(x_tile), weights_tile, PRECISION, WIDE)
    at = out + b * out_strides[0] + h * out_strides[1]
    at += rows[None, :].to(tl.int64) * out_strides[2]
    at += columns[:, None].to(tl.int64) * out_strides[3]
    inside = (columns[:, None] < width) & (rows[None, :] < n)
    tl.store(at, acc.to(out.dtype.element_ty), mask=inside)
'''

ROWS_LIKE = '''\
def rows_like(x, count):
    """An empty [b, h, count, width]; elements of a column lie side by side if they do in x."""
    batch, heads, _, width = x.shape
    turned = x.stride(2) < x.stride(3)
    shape = (batch, width, heads, count) if turned else (batch, count, heads, width)
    space = torch.empty(shape, dtype=x.dtype, device=x.device)
    return space.permute(0, 2, 3, 1) if turned else space.transpose(1, 2)
'''

LAUNCHERS = '''\
def row_products_launch(x, y):
    """Launch the kernel on runs of columns; what they leave is summed in a fixed order."""
    batch, heads, n, width = x.shape
    m = y.shape[2]
    block_i, block_j, warps, stages = tile_for(gram_tiles["products"], max(n, m), x)
    tiles = triton.cdiv(n, block_i) * triton.cdiv(m, block_i)
    splits, span = split_rows(width, block_j, batch * heads * tiles)
    parts = by_query(x, batch, heads, splits, n, m)
    with torch.cuda.device_of(x):
        row_products_kernel[(batch * heads * splits * tiles,)](
            x, y, parts, x.stride(), y.stride(), heads, n, m, width, span,
            block_i, block_j, dot_precision(x),
            num_warps=warps, num_stages=stages, enable_fp_fusion=True,
        )  # fmt: skip
    return parts.sum(2)


def weighted_rows_launch(weights, x):
    """Launch the kernel on tiles of rows and columns."""
    batch, heads, m, width = x.shape
    n = weights.shape[2]
    block_i, block_j, warps, stages = tile_for(gram_tiles["weighted"], max(n, m), x)
    out = rows_like(x, n)
    tiles = triton.cdiv(n, block_i) * triton.cdiv(width, block_j)
    with torch.cuda.device_of(x):
        weighted_rows_kernel[(batch * heads * tiles,)](
            weights, x, out, weights.stride(), x.stride(), out.stride(), heads, n, m, width,
            block_i, block_j, dot_precision(x), wide_precision(),
            num_warps=warps, num_stages=stages, enable_fp_fusion=True,
        )  # fmt: skip
    return out
'''

PLAIN = '''\
def row_products_cpu(x, y):
    """The same on the CPU."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return x.to(wide) @ y.to(wide).mT


def weighted_rows_cpu(weights, x):
    """The same on the CPU."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return rows_like(x, weights.shape[2]).copy_(weights.to(wide) @ x.to(wide))
'''

OPERATORS = '''\
def row_products_fake(x, y):
    """Shape of the result."""
    return by_query(x, *x.shape[:3], y.shape[2])


def weighted_rows_fake(weights, x):
    """Shape of the result."""
    return rows_like(x, weights.shape[2])


def keep_both(ctx, inputs, output):
    """Keep what the backward pass needs."""
    ctx.save_for_backward(*inputs)


def row_products_backward(ctx, grad):
    """Gradients of x and y."""
    x, y = ctx.saved_tensors
    of_x, of_y = ctx.needs_input_grad
    return (
        weighted_rows(grad, y) if of_x else None, weighted_rows(grad.mT, x) if of_y else None
    )  # fmt: skip


def weighted_rows_backward(ctx, grad):
    """Gradients of weights and x."""
    weights, x = ctx.saved_tensors
    of_weights, of_x = ctx.needs_input_grad
    return (
        row_products(grad, x).to(weights.dtype) if of_weights else None,
        weighted_rows(weights.mT, grad) if of_x else None,
    )  # fmt: skip


def row_products(x, y):
    """x y^T [b, h, n, m] in float32; x: [b, h, n, width], y: [b, h, m, width]."""
    return torch.ops.{namespace}.row_products(x, y)


def weighted_rows(weights, x):
    """weights x [b, h, n, width]; weights: [b, h, n, m], x: [b, h, m, width]."""
    return torch.ops.{namespace}.weighted_rows(weights, x)


row_products_op = torch.library.custom_op(
    "{namespace}::row_products", row_products_launch,
    mutates_args=(){devices},
    schema="(Tensor x, Tensor y) -> Tensor",
)  # fmt: skip
row_products_op.register_fake(row_products_fake)
row_products_op.register_autograd(row_products_backward, setup_context=keep_both)
weighted_rows_op = torch.library.custom_op(
    "{namespace}::weighted_rows", weighted_rows_launch,
    mutates_args=(){devices},
    schema="(Tensor weights, Tensor x) -> Tensor",
)  # fmt: skip
weighted_rows_op.register_fake(weighted_rows_fake)
weighted_rows_op.register_autograd(weighted_rows_backward, setup_context=keep_both)
'''

ON_THE_CPU = """\
row_products_op.register_kernel("cpu")(row_products_cpu)
weighted_rows_op.register_kernel("cpu")(weighted_rows_cpu)
"""
