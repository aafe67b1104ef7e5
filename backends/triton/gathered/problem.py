"""A site as the template of gathered rows sees it: streams whose keys stand in lists.

Streams without lists may stand beside them; those are as in the template of tiles by tiles.
"""

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
    has_distance,
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
        lists: of the keys of a stream, by its tag; streams without any are tiled.
        functions: which tell them in kernels, likewise.
        fractions: of the centre, which mix corners, by name; none where they do not.
        with_weights: whether slot_weights are a result of the entry.
    """

    lists: Mapping[str, Listed]
    functions: Mapping[str, KeyFunction]
    fractions: Mapping[str, Formula]
    with_weights: bool

    @property
    def results(self) -> list[str]:
        """What the operator gives."""
        return [*super().results, *(["slot_weights"] if self.with_weights else [])]

    @property
    def fakes(self) -> Mapping[str, str]:
        """Result -> expression of an empty one."""
        shape = f"*q.shape[:3], {self.slots(self.gathered[0])}"
        return {
            **super().fakes,
            "slot_weights": f"torch.empty({shape}, dtype=q.dtype, device=q.device)",
        }

    @property
    def precise(self) -> bool:
        """Whether gradients count from results in float32.

        Distances are all of one sign, so that rounding a result would not cancel out in the sum of
        distances times gradients of scores, as it does where that is a sum of products.
        """
        return self.rule.centred and any(has_distance(each.slope.tree) for each in self.terms())

    @property
    def normal(self) -> str:
        """The result of what delta is the product with, one of its own where that is precise."""
        return "normal" if self.precise else super().normal

    def for_gradients(self, room: str) -> str:
        """Return room for a result that gradients count from, in float32 where that is precise."""
        return f"torch.empty_like({room}, dtype=torch.float32)" if self.precise else room

    @property
    def differentiable(self) -> list[str]:
        """Results whose gradients the backward pass takes."""
        return [*super().differentiable, *(["slot_weights"] if self.with_weights else [])]

    @property
    def spared(self) -> list[tuple[str, ...]]:
        """Keys and values of each source: without their gradients no pairs are sorted."""
        return [(stream.own("k"), stream.own("v")) for stream in self.gathered]

    @property
    def gathered(self) -> list[Stream]:
        """Streams whose keys stand in lists."""
        return [stream for stream in self.streams if stream.tag in self.lists]

    @property
    def tiled(self) -> list[Stream]:
        """Streams without lists, as queries see them."""
        return [stream for stream in self.streams if stream.tag not in self.lists]

    @property
    def block(self) -> str:
        """The constant that says how many slots a tile has."""
        return "SLOTS" if self.tiled else "BLOCK_J"

    @property
    def constants(self) -> tuple[str, ...]:
        """Constants of kernels over queries besides the rows of tiles."""
        return ("SLOTS",) if self.tiled else ()

    @property
    def undivided(self) -> bool:
        """Always: rows of slots are read whole."""
        return True

    @property
    def box(self) -> int:
        """Slots that a tile must hold at once, a power of two; 0 where it may hold any number."""
        slots = [each.slots for each in self.lists.values()]
        most = max(each for each in slots if isinstance(each, int)) if self.fractions else 0
        return 1 << (most - 1).bit_length() if most else 0

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

    def slots(self, stream: Stream) -> str:
        """Return how many slots a query has: a number, or what kernels call it."""
        return self.names.size(self.lists[stream.tag].slots)

    def slots_on_host(self, stream: Stream) -> str:
        """Return the same for launchers."""
        slots = self.slots(stream)
        return slots if slots.isdigit() else self.names.host(slots)

    def sizes(self, stream: Stream) -> set[str]:
        """Return the name of how many slots a query has, where it is no number."""
        return {name for name in (self.slots(stream),) if not name.isdigit()}

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
    """Prepare a site, of which some sources have lists.

    Raises:
        Unknown: a size that scores need cannot be told from the tensors' shapes.
    """
    attention = site.attention
    by_source = {at: found for at, each in enumerate(attention.sources) if (found := listed(each))}
    base = digest(_of_all(site), RESERVED, by_source)
    names, shapes = base.names, dict(zip(attention.tensors, site.tensors, strict=True))
    for each in (each for each in by_source.values() if each.index):
        names.derive(once_name(each.index), each.index, "once", shapes[each.index].shape)
    lists = {base.streams[at].tag: each for at, each in by_source.items()}
    functions = {
        stream.tag: key_function(
            base.private(stream.own("key")), lists[stream.tag], names, stream.ranges
        )
        for stream in base.streams if stream.tag in lists
    }  # fmt: skip
    after = None if base.epilogue is None else replace(base.epilogue, head="h")
    of_head = replace(base, group="", epilogue=after)  # queries of several heads share no keys
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
    if listed(source) is None:
        return source
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
