"""How gradients of captured tensors read them: by the slots of queries instead of keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from attnc.backends.triton.gathered.lists import Listed
from attnc.backends.triton.gathered.problem import RESERVED, Gathered
from attnc.backends.triton.names import Names
from attnc.backends.triton.problem import Problem
from attnc.backends.triton.streams import Stream, Term
from attnc.compiler.kernel import Site
from attnc.dsl.attention import All, Constant, Coordinate, Load, ScoreTree, Source
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang import make, replaced


def reading(problem: Gathered, site: Site) -> tuple[Problem, Site]:
    """Return problem and site as gradients of captured tensors read them.

    Slots are the keys there, and the key that a slot holds is read from one more int tensor,
    [b, h or 1, n, slots], below 0 for none. Pairs without a key do not exist.
    """
    batch, heads, length, _ = site.q.shape
    attention, types, streams = site.attention, [], []
    sources, operands = [*attention.sources], [*site.sources]
    for number, stream in enumerate(problem.streams):
        lists = problem.lists.get(stream.tag)
        if lists is None:
            streams.append(stream)
            continue
        key = _key_in_slot(keys_name(site, stream), lists)
        sources[number] = Source(All(), Constant(0.0), make("ge", key, Constant(0)))
        operands[number] = _of_slots(*site.sources[number], lists)
        shape = (batch, heads if lists.by_head else 1, length, lists.slots)
        types.append(TensorType(shape, "int"))
        streams.append(replace(stream, terms=tuple(_by_slot(stream.terms, key))))
    added = (keys_name(site, stream) for stream in problem.gathered)
    changed = replace(
        site,
        attention=replace(
            attention, sources=tuple(sources), tensors=(*attention.tensors, *added)
        ),
        sources=tuple(operands),
        tensors=(*site.tensors, *types),
    )  # fmt: skip
    read = replace(
        problem, name=problem.private("listed"), names=Names(changed, RESERVED),
        streams=tuple(streams),
    )  # fmt: skip
    return read, changed


def keys_name(site: Site, stream: Stream) -> str:
    """Return what trees call the tensor of the keys of a stream."""
    name = stream.own("keys")
    while name in site.attention.tensors:
        name += "_"
    return name


def _key_in_slot(name: str, lists: Listed) -> Load:
    head = Coordinate("h") if lists.by_head else Constant(0)
    return Load(name, (Coordinate("b"), head, Coordinate("i"), Coordinate("j")), "int")


def _of_slots(k: TensorType, v: TensorType, lists: Listed) -> tuple[TensorType, TensorType]:
    """Return k and v with as many keys as a query has slots."""
    return replace(k, shape=(*k.shape[:2], lists.slots, *k.shape[3:])), v


def _by_slot(terms: tuple[Term, ...], key: Load) -> Iterator[Term]:
    """Yield terms whose reads have slots for keys."""

    def change(part: ScoreTree) -> ScoreTree:
        if part == Coordinate("j"):
            return key
        return Coordinate("j") if part == Coordinate("slot_j") else part

    for term in terms:
        reads = (replaced(load, change) for load in term.reads)
        yield replace(term, reads=tuple(load for load in reads if isinstance(load, Load)))
