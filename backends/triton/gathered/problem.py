"""A site as the template of gathered rows sees it: streams whose keys stand in lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from attnc.backends.triton.expressions import Formula, formula
from attnc.backends.triton.gathered.lists import KeyFunction, Listed, key_function, listed
from attnc.backends.triton.gathered.mixture import Mixture
from attnc.backends.triton.problem import Problem, digest
from attnc.backends.triton.routes import once_name
from attnc.backends.triton.streams import Stream, Term
from attnc.compiler.kernel import Site
from attnc.dsl.attention import (
    All,
    Bilinear,
    Constant,
    Coordinate,
    Load,
    Sampled,
    ScoreTree,
    SoftmaxKeys,
    Source,
)
from attnc.dsl.scorelang import (
    FRACTIONS,
    centre,
    derivative,
    fractions,
    reaches,
    replaced,
    simplify,
    slot,
)

RESERVED = frozenset({
    "corner", "difference", "distance_slope", "distant", "dots", "entry", "fx", "fy", "fz", "gain",
    "grad_slot_weights", "grad_l1", "grad_qk", "key", "l1", "listed",
    "load_lists", "lists", "most", "named", "places", "run", "seen", "sign", "slot_weights",
    "starts", "stop", "weighed", "weights",
})  # fmt: skip
"""Names that the kernels and launchers of gathered rows use themselves."""


@dataclass(frozen=True)  # without slots, for the sake of super()
class Gathered(Problem):
    """All that the template needs of a site.

    Attributes:
        lists: of the keys of each stream.
        functions: which tell them in kernels.
        fractions: of the centre, which mix corners, by name; none where they do not.
        with_weights: whether slot_weights are a result of the entry.
    """

    lists: tuple[Listed, ...]
    functions: tuple[KeyFunction, ...]
    fractions: Mapping[str, Formula]
    with_weights: bool

    @property
    def results(self) -> list[str]:
        """What the operator gives."""
        return [*super().results, *(["slot_weights"] if self.with_weights else [])]

    @property
    def fakes(self) -> Mapping[str, str]:
        """Result -> expression of an empty one."""
        shape = f"*q.shape[:3], {self.lists[0].slots}"
        return {
            **super().fakes,
            "slot_weights": f"torch.empty({shape}, dtype=q.dtype, device=q.device)",
        }

    @property
    def differentiable(self) -> list[str]:
        """Results whose gradients the backward pass takes."""
        return [*super().differentiable, *(["slot_weights"] if self.with_weights else [])]

    @property
    def spared(self) -> list[tuple[str, ...]]:
        """Keys and values of each source: without their gradients no pairs are sorted."""
        return [(stream.own("k"), stream.own("v")) for stream in self.streams]

    @property
    def box(self) -> int:
        """Slots that a tile must hold at once, a power of two; 0 where it may hold any number."""
        return 1 << (self.lists[0].slots - 1).bit_length() if self.fractions else 0

    @property
    def seen(self) -> list[str]:
        """Names of gradients of weights that the loss sees themselves."""
        return ["grad_slot_weights"] if self.with_weights else []

    def of_fractions(self) -> list[Term]:
        """Return the terms of what the centre gets through fractions."""
        return [each for each in self.terms() if each.of == "mixture"]

    @property
    def late_slope(self) -> Formula | None:
        """None: gradients of scores are kept by pair, those of `qk`."""
        return None

    def number(self, stream: Stream) -> int:
        """Return which of the streams one is."""
        return next(at for at, each in enumerate(self.streams) if each is stream)

    def slots(self, stream: Stream) -> int:
        """Return how many slots a query has."""
        return self.lists[self.number(stream)].slots

    def kept(self, stream: Stream) -> list[str]:
        """Return buffers [b, h, n, slots] that the gradients of k and v are summed up from."""
        return [stream.own("weights"), *map(stream.own, toward(stream))]

    def by_slot(self, stream: Stream) -> list[str]:
        """Return all buffers [b, h, n, slots] of the backward pass."""
        return [*self.kept(stream), *(each.buffer for each in stream.of_kind("pair"))]


def toward(stream: Stream) -> list[str]:
    """Return which gradients of scores a stream has: of `qk`, of `l1(q, k)`."""
    dot = stream.slope.tree != Constant(0.0) or stream.post_slope is not None
    found = {"grad_qk": dot, "grad_l1": stream.distance_slope is not None}
    return [name for name, has in found.items() if has]


def prepare(site: Site) -> Gathered:
    """Prepare a site, of which all sources have lists.

    Raises:
        Unknown: a size that scores need cannot be told from the tensors' shapes.
    """
    lists = tuple(found for source in site.attention.sources if (found := listed(source)))
    attention = site.attention
    base = digest(_of_all(site), RESERVED, listed=True)
    names, shapes = base.names, dict(zip(site.attention.tensors, site.tensors, strict=True))
    for each in (each for each in lists if each.index):
        names.derive(once_name(each.index), each.index, "once", shapes[each.index].shape)
    functions = tuple(
        key_function(base.private(stream.own("key")), each, names, stream.ranges)
        for stream, each in zip(base.streams, lists, strict=True)
    )
    of_head = replace(base, group="")  # queries of several heads share no keys
    made = Gathered(
        **{each.name: getattr(of_head, each.name) for each in fields(of_head)},
        lists=lists,
        functions=functions,
        fractions={},
        with_weights="slot_weights" in attention.outputs,
    )
    return _mixed(made, site) if isinstance(attention.normaliser, Bilinear) else made


def _of_all(site: Site) -> Site:
    """Return a site without its lists, in which slots are a coordinate.

    A softmax stands for the mixture of corners, which has the same scores.
    """
    sources = tuple(map(_with_slots, site.attention.sources))
    attention = replace(site.attention, sources=sources)
    if isinstance(attention.normaliser, Bilinear):
        attention = replace(attention, normaliser=SoftmaxKeys())
    return replace(site, attention=attention)


def _with_slots(source: Source) -> Source:
    place = slot(source.domain)

    def change(part: ScoreTree) -> ScoreTree:
        return Coordinate("slot_j") if part == place else part

    score, mask, post = (
        None if tree is None else replaced(simplify(tree), change)
        for tree in (source.score, source.mask, source.post)
    )
    assert score is not None
    return replace(source, domain=All(), score=score, mask=mask, post=post)


def _mixed(base: Gathered, site: Site) -> Gathered:
    """Return a site whose corners are mixed, with the gradients of its centre."""
    (stream,), (source,) = base.streams, site.attention.sources
    domain = source.domain
    assert isinstance(domain, Sampled)
    sides = tuple(each.number for each in reaches(domain) if isinstance(each.number, int))
    names, found = base.names, {}
    terms = list(stream.terms)
    for axis, tree in enumerate(fractions(domain)):
        name = FRACTIONS[axis - len(sides)]
        found[name] = formula(
            tree, base.private(name), f"{name}, how far the centre lies behind a position.", names,
            stream.ranges,
        )  # fmt: skip
        read = centre(domain, axis)
        assert isinstance(read, Load)
        slope = formula(derivative(tree, read), "", "", names, stream.ranges)
        terms.append(Term(f"{name}_grad", "row", slope, (read,), "mixture", True))
    rule = Mixture(base.private("mixture"), sides)
    mixed = replace(stream, terms=tuple(terms))
    return replace(base, streams=(mixed,), rule=rule, fractions=found)
