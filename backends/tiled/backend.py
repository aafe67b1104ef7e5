"""The tiled backend: recomputed tiles in plain torch, for any device."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from attnc.backends.tiled import shared
from attnc.backends.tiled.heads import by_heads, heads_entry
from attnc.backends.tiled.normalise import BY_COLUMN
from attnc.backends.tiled.operator import AnyPasses, operators
from attnc.backends.tiled.passes import Passes
from attnc.backends.tiled.refusals import reasons_against
from attnc.backends.tiled.routes import routed
from attnc.backends.tiled.side_by_side import side_by_side
from attnc.backends.tiled.walk import walk
from attnc.backends.tiled.windows import WindowPasses, inner_site, partition
from attnc.compiler.kernel import Answer, Kernel, No, Site, Target, Yes

SPACE = "\n" * 3


class TiledBackend:
    """Tiles of scores, computed for the forward pass and once more for the backward pass."""

    name = "tiled"

    def can(self, site: Site, target: Target) -> Answer:
        """Say yes on every target, unless scores are a result or one tile does not do."""
        against = reasons_against(site)
        return No(tuple(against)) if against else Yes(tuple(dict.fromkeys(_reasons_for(site))))

    def build(self, site: Site, target: Target) -> Kernel:
        """Generate the passes and their operators; they are the same for all targets."""
        parts = list(_parts(site))
        parts = [*_used(parts), *parts]
        imports = {"from torch import Tensor"}
        if any("F." in part for part in parts):
            imports.add("import torch.nn.functional as F")
        source = SPACE.join(part.strip("\n") for part in parts) + "\n"
        return Kernel(self.name, site.name, source, tuple(sorted(imports)))


def _parts(site: Site) -> Iterator[str]:
    """Yield all functions of a site, its entry last."""
    groups = by_heads(site)
    if groups:
        for group in groups:
            yield from _parts(group)
        yield heads_entry(site, groups)
        return
    windows = side_by_side(site)
    if windows is not None:
        yield from windows.pieces()
        return
    passes = _passes(site)
    parts = [*passes.pieces()]
    yield from parts
    yield from operators(passes, parts)


def _passes(site: Site) -> AnyPasses:
    """Choose how a site is computed by its domain."""
    gathered = routed(site)
    if gathered is not None:
        return gathered
    by_column = isinstance(site.attention.normaliser, BY_COLUMN)
    parted = partition(site)
    inner = None if parted is None else inner_site(site, parted)
    if parted is not None and inner is not None:
        passes = WindowPasses(site, parted, inner, by_column)
        if not passes.inner.kept:  # else a window has more than one tile, and so has its sum
            return passes
    return Passes(site, walk(site, by_column=by_column))


def _used(parts: Sequence[str]) -> Iterator[str]:
    """Yield the shared functions that the parts call."""
    text = re.sub(r'""".*?"""', "", "".join(parts), flags=re.DOTALL)
    has_operators = "torch.library" in text
    if has_operators:
        yield from (shared.TILES, shared.WIDENED, shared.BY_TOKEN)
    for names, source in shared.OPTIONAL:
        if any(re.search(rf"(?<![.\w]){name}\(", text) for name in names):
            yield source
    if has_operators:
        yield shared.NO_SECOND


def _reasons_for(site: Site) -> Iterator[str]:
    groups = by_heads(site)
    if groups:
        yield f"{len(groups)} groups of heads, each in its own way"
        for group in groups:
            yield from _reasons_for(group)
        return
    windows = side_by_side(site)
    if windows is not None:
        yield windows.reason
        return
    passes = _passes(site)
    yield "no scores are stored; tiles of them are computed once more for gradients"
    yield passes.reason
    if passes.learned:
        yield f"gradients of {', '.join(passes.learned)} are deterministic"
