"""A site as the templates see it: its streams, the names of what its kernels take and give."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

from attnc.backends.triton.configs import KINDS
from attnc.backends.triton.epilogue import Epilogue, epilogue_of
from attnc.backends.triton.expressions import Formula
from attnc.backends.triton.names import Names
from attnc.backends.triton.orientation import HEADS_BY_KEYS, QUERIES_BY_KEYS, Orientation
from attnc.backends.triton.pieces import is_uneven
from attnc.backends.triton.prologue import Ahead, aheads
from attnc.backends.triton.reader import read_streams
from attnc.backends.triton.routes import Derived
from attnc.backends.triton.rules import LateSoftmax, Rule, rule_of
from attnc.backends.triton.streams import Blocks, Stream, Term
from attnc.backends.triton.views import Blocked, blocked
from attnc.compiler.kernel import Site
from attnc.dsl.scorelang import coordinates


@dataclass(frozen=True, slots=True)
class Problem:
    """All that the templates need of a site.

    Attributes:
        name: of the entry.
        names: of tensors and sizes.
        dim: width of q and k; `width` of v and the result.
        streams: one for each source, as queries see it.
        turned: the same as keys see it.
        derived: what launchers make of index tensors.
        rule: how rows of scores become weights.
        group: the size that says how many heads share keys, where a tile of queries holds those
            of all of them and so reads the keys once; empty where it holds one head.
        summed: whether each source is normalised alone and the results are added.
        with_lse: whether lse is a result of the entry.
        epilogue: what becomes of the result, if anything.
        ahead: operands that become something else as they are read -> what reads them.
    """

    name: str
    names: Names
    dim: int
    width: int
    streams: tuple[Stream, ...]
    turned: tuple[Stream, ...]
    derived: tuple[Derived, ...]
    rule: Rule
    group: str
    summed: bool
    with_lse: bool
    epilogue: Epilogue | None
    ahead: Mapping[str, Ahead]

    @property
    def held(self) -> Orientation:
        """How kernels hold a tile of queries by keys."""
        return _held(self.group)

    def private(self, name: str) -> str:
        """Return the name of a function of this site."""
        return f"{self.name}_{name}"

    @property
    def late_slope(self) -> Formula | None:
        """d score / d qk where it is one number for all sources, applied to sums at the end."""
        first = self.streams[0]
        same = all(each.slope.tree == first.slope.tree for each in self.streams)
        alone = all(each.post_slope is None for each in self.streams)
        return first.slope if same and alone and first.even else None

    @property
    def late(self) -> bool:
        """Whether a first walk finds lse before weights are summed."""
        return isinstance(self.rule, LateSoftmax)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of q, k and v of all sources."""
        pairs = ((each.own("k"), each.own("v")) for each in self.streams)
        return ("q", *(name for pair in pairs for name in pair))

    @property
    def widths(self) -> Mapping[str, int]:
        """Input -> its last size."""
        values = {each.own("v") for each in self.streams}
        return {name: self.width if name in values else self.dim for name in self.inputs}

    @property
    def statistics(self) -> list[str]:
        """What backward kernels need of each query: one in all, or one per summed source."""
        return self._of_rows(self.rule.statistic) if self.rule.statistic else []

    @property
    def deltas(self) -> list[str]:
        """What gradients of weights count from, likewise."""
        return self._of_rows("delta") if self.rule.centred else []

    @property
    def parts(self) -> list[str]:
        """Results of summed sources on their own, as far as the backward pass needs them."""
        weighed = any(term.of == "weight" for term in self.terms())
        return self._of_rows("alone") if self.summed and (self.looks_back or weighed) else []

    @property
    def reads_result(self) -> bool:
        """Whether gradients of the epilogue read the result before it."""
        return self.epilogue is not None and self.epilogue.reads_result

    def _of_rows(self, name: str) -> list[str]:
        return [each.own(name) for each in self.streams] if self.summed else [name]

    def of_query(self, stream: Stream) -> list[str]:
        """Return names of what a stream needs of each query: statistic and delta."""
        names = [self.rule.statistic] if self.rule.statistic else []
        names += ["delta"] if self.rule.centred else []
        return [stream.own(name) if self.summed else name for name in names]

    @property
    def adds(self) -> bool:
        """Whether a post expression adds to weights."""
        return any(stream.extra for stream in self.streams)

    @property
    def heavy(self) -> bool:
        """Whether gradients of a pair take more than the score's own and a number."""
        return any(each.post_slope or each.late or is_uneven(each.slope) for each in self.streams)

    @property
    def undivided(self) -> bool:
        """Whether sums have all their columns in one tile, for what follows them."""
        return bool(self.summed or self.adds or self.epilogue)

    @property
    def results(self) -> list[str]:
        """What the operator gives: `out`, then what is for its backward pass."""
        if self.summed:
            return ["out", *self.if_kept]
        kept = self.normal == "normal" and self.looks_back
        return ["out", *self.statistics, *(["normal"] if kept else [])]

    @property
    def looks_back(self) -> bool:
        """Whether gradients of scores or of what follows the result depend on it."""
        return self.rule.centred or self.reads_result

    @property
    def inline(self) -> Epilogue | None:
        """The epilogue whose gradients are computed by the kernel for the gradient of q, if any."""
        return None if self.epilogue is None or self.epilogue.is_apart else self.epilogue

    @property
    def reads_out(self) -> bool:
        """Whether the kernel for the gradient of q reads the result, if that is of one softmax."""
        inline = self.inline is not None and self.inline.reads_result
        return (self.rule.centred or inline) and not self.summed

    @property
    def if_kept(self) -> list[str]:
        """Results that are empty unless gradients are wanted, as the launcher's `keep` says."""
        if self.summed:
            return [*self.parts, *self.statistics] if self.parts else []
        return ["normal"] if self.epilogue and "normal" in self.results else []

    @property
    def fakes(self) -> Mapping[str, str]:
        """Result -> expression of an empty one."""
        rows = {"out", "normal", *self.parts}
        made = {}
        for name in self.results:
            of = "q if keep else q[:0]" if self.summed and name in self.if_kept else "q"
            room = f"token_rows({of}, {self.width})" if name in rows else f"by_query({of})"
            made[name] = self.for_gradients(room) if name in rows - {"out"} else room
        if self.epilogue:
            normal = self.for_gradients(f"token_rows(q, {self.width})")
            made["normal"] = f"({normal} if keep else q.new_empty(0))"
        return made

    def for_gradients(self, room: str) -> str:
        """Return room for a result that gradients count from, of the size of what is given."""
        return room

    @property
    def differentiable(self) -> list[str]:
        """Results whose gradients the backward pass takes."""
        return ["out", *(["lse"] if self.with_lse else [])]

    @property
    def normal(self) -> str:
        """The result of what delta is the product with: out, before what post or epilogue add."""
        return "normal" if self.adds or self.epilogue else "out"

    @property
    def saved(self) -> list[str]:
        """Results that the backward pass takes."""
        if self.summed:
            return self.if_kept
        return self.results["normal" in self.results :] if self.looks_back else []

    @property
    def spared(self) -> list[tuple[str, ...]]:
        """Inputs whose gradients are made together, and only where one of them is asked for."""
        return []

    @property
    def learned(self) -> list[str]:
        """Captured tensors that the loss reaches, by generated name in argument order."""
        reached = {load.tensor for each in self.terms() for load in each.reads}
        return [each.name for each in self.names.tensors.values() if each.tensor in reached]

    @property
    def beside(self) -> Mapping[str, str]:
        """Captured tensors beside the result -> their gradients as autograd has them."""
        return self.epilogue.gradients if self.epilogue else {}

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of its kernels."""
        found = {f"{each.kind}s" for each in self.terms() if each.of in ("score", "post")}
        return tuple(each for each in KINDS if each in {*KINDS[:3], *found})

    def terms(self) -> Iterator[Term]:
        """Yield the terms of all streams."""
        return (term for stream in self.streams for term in stream.terms)

    @property
    def blocks(self) -> Blocks | None:
        """What tiles of queries are taken from; none where they are of queries in a row."""
        return next((each.blocks for each in self.streams if each.blocks), None)

    def faces(self) -> tuple[Stream, ...]:
        """Return the streams from both sides, those that look alike once."""
        return tuple({id(each): each for each in (*self.streams, *self.turned)}.values())

    def device_functions(self) -> list[str]:
        """Return sources of device functions for formulas and tokens, each once."""
        formulas = (each.definition for stream in self.faces() for each in stream.formulas())
        blocks = [each.blocks for each in self.faces() if each.blocks is not None]
        sides = (side for each in blocks for side in (each.own, each.seen))
        tokens = (each for side in sides for each in side.tokens.definitions)
        return list(dict.fromkeys((*filter(None, formulas), *tokens)))

    def shared(self) -> list[str]:
        """Return sources of device functions from the table of functions, each once."""
        each = (block for s in self.faces() for f in s.formulas() for block in f.shared)
        after = self.epilogue.shared if self.epilogue else []
        return list(dict.fromkeys([*each, *after]))


def digest(
    site: Site,
    reserved: frozenset[str] = frozenset(),
    listed: Container[int] = (),
    by_offset: bool = False,
) -> Problem:
    """Prepare a site.

    Args:
        site: as the planner sees it.
        reserved: names that a template uses itself, besides those that all do.
        listed: sources of which each query has a list of keys, that `j` and `slot_j` run over.
        by_offset: whether what scores read by `i - j` alone is laid out so.

    Raises:
        Unknown: a size that scores need cannot be told from the tensors' shapes.
    """
    names = Names(site, reserved)
    attention = site.attention
    summed = attention.join == "sum" and (
        len(attention.sources) > 1 or attention.sources[0].weight is not None
    )
    by_source = list(walks(site))
    facing = [
        read_streams(site, names, number, summed, each, number in listed, by_offset)
        for number, each in enumerate(by_source)
    ]
    derived = dict.fromkeys(made for each in by_source if each for made in each.derived)
    dim, width = site.q.shape[3], site.sources[0][1].shape[3]
    assert isinstance(dim, int) and isinstance(width, int)
    streams, turned = zip(*facing, strict=True)
    with_lse = "lse" in attention.outputs
    rule = rule_of(attention)
    assert rule is not None, "refused before"
    group = _group(site, streams)
    after = epilogue_of(attention.epilogue, names, width, _held(group).h)
    ahead = aheads(site, names)
    return Problem(
        site.name, names, dim, width, streams, turned, tuple(derived), rule, group, summed,
        with_lse, after, ahead,
    )  # fmt: skip


def _held(group: str) -> Orientation:
    return HEADS_BY_KEYS if group else QUERIES_BY_KEYS


def _group(site: Site, streams: Sequence[Stream]) -> str:
    """Return the size by which a tile holds several heads, or nothing; see `Problem.group`.

    Loops, weights of sources and reads by block are of one head.
    """
    alike = len({key.shape[1] for key, _ in site.sources}) == 1
    if not alike or not streams[0].grouped or any(each.blocks for each in streams):
        return ""
    bounds = [bound for each in streams for bound in (each.inside.left, each.inside.right)]
    weights = [each.weight.tree for each in streams if each.weight is not None]
    of_head = any("h" in coordinates(tree) for tree in (*bounds, *weights) if tree is not None)
    return "" if of_head else streams[0].own("group")


def walks(site: Site) -> Iterator[Blocked | None]:
    """Yield for each source how it is walked by block, if it is.

    The tiles of queries are of the blocks of the first source that is; a source whose blocks of
    queries are others is walked in a row.
    """
    own = None
    shapes = {
        name: type_.shape for name, type_ in zip(site.attention.tensors, site.tensors, strict=True)
    }
    for source, (key, _) in zip(site.attention.sources, site.sources, strict=True):
        found = blocked(source, shapes)
        if found is not None:
            by_query = found.views.by_query
            shared = key.shape[1] != site.q.shape[1]
            fits = own in (None, by_query.own) and (by_query.even or not shared)
            found, own = (found, by_query.own) if fits else (None, own)
        yield found
