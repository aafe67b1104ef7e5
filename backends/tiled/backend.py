"""The tiled backend: recomputed tiles in plain torch, for any device."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from attnc.backends.tiled import shared
from attnc.backends.tiled.normalise import BY_COLUMN
from attnc.backends.tiled.operator import operators
from attnc.backends.tiled.passes import Passes
from attnc.backends.tiled.refusals import reasons_against
from attnc.backends.tiled.walk import walk
from attnc.compiler.kernel import Answer, Kernel, No, Site, Target, Yes

SPACE = "\n" * 3


class TiledBackend:
    """Tiles of scores, computed for the forward pass and once more for the backward pass."""

    name = "tiled"

    def can(self, site: Site, target: Target) -> Answer:
        """Say yes on every target, unless scores are a result or one tile does not do."""
        against = reasons_against(site)
        return No(tuple(against)) if against else Yes(tuple(_reasons_for(site)))

    def build(self, site: Site, target: Target) -> Kernel:
        """Generate the passes and their operators; they are the same for all targets."""
        passes = _passes(site)
        parts = [*passes.pieces()]
        parts = [*_used(parts), *parts]
        parts += operators(passes, parts)
        source = SPACE.join(part.strip("\n") for part in parts) + "\n"
        return Kernel(self.name, site.name, source, ("from torch import Tensor",))


def _passes(site: Site) -> Passes:
    by_column = isinstance(site.attention.normaliser, BY_COLUMN)
    return Passes(site, walk(site, by_column=by_column))


def _used(parts: Sequence[str]) -> Iterator[str]:
    """Yield the shared functions that the parts call."""
    text = "".join(parts)
    yield from (shared.TILES, shared.WIDENED, shared.BY_TOKEN)
    for names, source in shared.OPTIONAL:
        if any(re.search(rf"\b{name}\(", text) for name in names):
            yield source
    yield shared.NO_SECOND


def _reasons_for(site: Site) -> Iterator[str]:
    passes = _passes(site)
    yield "no scores are stored; tiles of them are computed once more for gradients"
    yield passes.walk.reason
    if passes.learned:
        yield f"gradients of {', '.join(passes.learned)} are deterministic"
