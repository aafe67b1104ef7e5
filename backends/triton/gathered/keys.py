"""The kernel for the gradients of k and v: a tile of keys goes through the pairs that name them.

The launcher sorts pairs by key: runs of one order, in the order of queries, so that sums have a
fixed order and nothing is added to from two programs.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import indent

from attnc.backends.triton.gathered.problem import Gathered, toward
from attnc.backends.triton.gathered.tile import QUERIES_BY_SLOTS, rows_of
from attnc.backends.triton.kernel import KernelText, kernel_text
from attnc.backends.triton.pieces import key_sizes, padded, stored
from attnc.backends.triton.pieces import rows_of as own_rows_of
from attnc.backends.triton.streams import Stream


def keys(problem: Gathered, stream: Stream) -> KernelText:
    """Return the kernel."""
    k, v = stream.own("k"), stream.own("v")
    kept = problem.kept(stream)
    needed = ["q"] if toward(stream) else []
    needed += [k] if "grad_l1" in toward(stream) else []
    lists = [stream.own("starts"), stream.own("places")]
    return kernel_text(
        problem,
        f"keys{stream.tag}",
        "Gradients of k and v for one tile of keys.",
        inputs=[*needed, "grad_out", *kept, *lists],
        outputs=[f"grad_{k}", f"grad_{v}"],
        contiguous=[*kept, *lists],
        used={"heads", "n", *key_sizes(stream, QUERIES_BY_SLOTS), *problem.sizes(stream)},
        body=_body(problem, stream),
    )


def _body(problem: Gathered, stream: Stream) -> Iterator[str]:
    k, v, m, group = (stream.own(name) for name in ("k", "v", "m", "group"))
    head, heads = ("shared", f"heads // {group}") if stream.grouped else ("h", "heads")
    yield f"tile, b, {head} = place({m}, {heads}, BLOCK_J)"
    yield "j = tile * BLOCK_J + tl.arange(0, BLOCK_J)"
    if "grad_l1" in toward(stream):
        yield f"near = tl.minimum(j, {m} - 1)  # past the end the last row again, never stored"
        yield f"k_tile = {own_rows_of(k, head, 'near', problem.dim)}"
    yield f"grad_k_tile = tl.zeros([BLOCK_J, {padded(problem.dim)}], tl.float32)"
    yield f"grad_v_tile = tl.zeros([BLOCK_J, {padded(problem.width)}], tl.float32)"
    lines = "\n".join(_one_head(problem, stream))
    if stream.grouped:
        lines = f"h = shared * {group} + member\n{lines}"
        yield f"for member in range({group}):\n" + indent(lines, "    ")
    else:
        yield lines
    yield stored("grad_k_tile", f"grad_{k}", head, "j", m, problem.dim)
    yield stored("grad_v_tile", f"grad_{v}", head, "j", m, problem.width)


def _one_head(problem: Gathered, stream: Stream) -> Iterator[str]:
    """Go through the pairs of one head of q."""
    m, starts = stream.own("m"), stream.own("starts")
    by_head = problem.lists[stream.tag].by_head
    yield f"lists = {'b * heads + h' if by_head else 'b'}"
    yield f"run = {starts} + lists * ({m} + 1) + j"
    yield f"start = tl.load(run, mask=j < {m}, other=0)"
    yield f"stop = tl.load(run + 1, mask=j < {m}, other=0)"
    body = "\n".join(_some_pairs(problem, stream))
    yield "for first in range(0, tl.max(stop - start), BLOCK_I):\n" + indent(body, "    ")


def _some_pairs(problem: Gathered, stream: Stream) -> Iterator[str]:
    slots, has = problem.slots(stream), toward(stream)
    yield "entry = start[:, None] + first + tl.arange(0, BLOCK_I)[None, :]"
    yield "named = entry < stop[:, None]"
    at = f"{stream.own('places')} + lists * n * {slots} + entry"
    yield f"pair = tl.load({at}, mask=named, other=0)"
    yield f"i = tl.where(named, pair // {slots}, n)"
    yield f"at = (b * heads + h) * n * {slots} + pair"
    yield f"p = {_kept(stream, 'weights')}"
    yield f"grad_tile = {rows_of('grad_out', 'h', 'i', 'n', problem.width)}"
    yield "grad_v_tile += weighed(p, grad_tile)"
    if has:
        yield f"q_tile = {rows_of('q', 'h', 'i', 'n', problem.dim)}"
    if "grad_qk" in has:
        yield f"ds = {_kept(stream, 'grad_qk')}"
        yield "grad_k_tile += weighed(ds, q_tile)"
    if "grad_l1" in has:
        yield f"distant = {_kept(stream, 'grad_l1')}"
        yield "difference = k_tile[:, None, :].to(tl.float32) - q_tile.to(tl.float32)"
        yield "grad_k_tile += weighed(distant, sign(difference))"


def _kept(stream: Stream, name: str) -> str:
    return f"tl.load({stream.own(name)} + at, mask=named, other=0.0)"
