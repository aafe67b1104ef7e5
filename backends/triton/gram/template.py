"""When a site is computed by products of few wide rows, and the parts of the file that does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256

from attnc.backends.materialised.generate import Generator
from attnc.backends.torch_function import site_trees, unknown_sizes
from attnc.backends.triton import shared
from attnc.backends.triton.gram import kernels
from attnc.backends.triton.gram.configs import tile_table
from attnc.backends.triton.linear import shared as linear_shared
from attnc.backends.triton.resident import shared as resident_shared
from attnc.compiler.kernel import Kernel, Site, Target
from attnc.dsl.scorelang import has_distance

MOST = 256
"""Rows up to which scores of all pairs are few beside the rows themselves."""


def reasons_against(site: Site) -> Iterator[str]:
    """Yield why the template does not compute a site."""
    if len(site.sources) > 1 or site.attention.given:
        yield "wide rows are multiplied for one source of q and k"
        return
    if site.attention.epilogue is not None:
        yield "what follows the result of wide rows stands apart"
    if site.attention.prologues:
        yield "what becomes of wide rows before they are multiplied stands apart"
    ((k, v),) = site.sources
    counts = (site.q.shape[2], k.shape[2])
    known = [count for count in counts if isinstance(count, int) and count <= MOST]
    if len(known) < len(counts):
        yield f"wide rows are multiplied where there are {MOST} at most, a number at compile time"
    values = [v, *([] if site.vq is None else [site.vq])]
    widths = [each.shape[3] for each in (site.q, *values)]
    if any(isinstance(width, int) and width < max(known, default=0) for width in widths):
        yield "head dims are less than the number of rows: scores of all pairs are not few"
    for size in unknown_sizes(site):
        yield f"no axis of q, k, v or a tensor tells the size {size}; make it a param"
    if any(map(has_distance, site_trees(site))):
        yield "it computes q . k; here an expression reads l1(q, k)"


def reasons_for(site: Site) -> Iterator[str]:
    """Yield what speaks for it."""
    n, m = site.q.shape[2], site.sources[0][0].shape[2]
    yield f"heads are wide: scores of {n} by {m} rows are sums over runs of columns, side by side"
    yield "q, k and v are read once, whatever their width; no half precision between"
    yield "gradients are the same two kernels, deterministic: no atomics"


def build(
    site: Site, target: Target, cards: Sequence[Target], with_plain: bool, name: str
) -> Kernel:
    """Generate the kernels, their operators, and the entry between them in plain torch."""
    parts = [*_shared(with_plain), tile_table((target, *cards)), *_kernels(with_plain)]
    namespace = f"attnc_{sha256(''.join(parts).encode()).hexdigest()[:8]}"
    # without plain torch the kernels serve every device, for Triton's interpreter
    devices = ', device_types="cuda"' if with_plain else ""
    parts.append(kernels.OPERATORS.format(namespace=namespace, devices=devices))
    parts += [kernels.ON_THE_CPU] if with_plain else []
    parts.append(_Entry(site).source())
    source = "\n\n\n".join(part.strip("\n") for part in parts) + "\n"
    return Kernel(name, site.name, source, ("from torch import Tensor",))


def _shared(with_plain: bool) -> Iterator[str]:
    yield from (shared.BY_QUERY, shared.CARD_OF, shared.TILE_FOR, shared.DOT_PRECISION)
    yield from (linear_shared.WIDE_PRECISION, resident_shared.SPLIT_ROWS, kernels.ROWS_LIKE)
    yield from (shared.IMPORTS, shared.PLACE, linear_shared.TIMES_SUMS, kernels.LOAD_PART)


def _kernels(with_plain: bool) -> Iterator[str]:
    yield from (kernels.PRODUCTS_KERNEL, kernels.WEIGHTED_KERNEL, kernels.LAUNCHERS)
    yield from (kernels.PLAIN,) if with_plain else ()


class _Entry(Generator):
    """Writes the function that models call, with kernels for what is as wide as rows are."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._is_wide = True

    def _product(self, suffix: str) -> str:
        return f"row_products(q, k{suffix})"

    def _widened(self, product: str) -> str:
        return product

    def _narrowed(self, written: str, values: str) -> str:
        stored = {"weights", "slot_weights"} & {*self._attention.outputs}
        return super()._narrowed(written, values) if stored else written

    def _summed(self, weights: str, values: str) -> str:
        return f"weighted_rows({weights}, {values})"
