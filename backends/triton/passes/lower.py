"""An attention as several that other templates compute, one behind another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from attnc.backends.bare import bare
from attnc.backends.triton.rules import affine, with_weight
from attnc.backends.triton.turned.sites import is_swappable, needed, reading, swapped
from attnc.compiler.kernel import Site
from attnc.dsl.attention import (
    Constant,
    Load,
    SoftmaxBoth,
    SoftmaxKeys,
    SoftmaxQueries,
    Source,
    Unnormalised,
    Weight,
)
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang import make

ALL_ROWS = Constant(True)
KNOWN = "known = lse.masked_fill(lse.isneginf(), torch.inf)  # no pair: weights of 0"


@dataclass(frozen=True, slots=True)
class Pass:
    """One of the attentions.

    Attributes:
        site: what it computes.
        operands: expressions of q, and of k and v of each source.
        results: names for its outputs.
        purpose: what it is for, as a reason of the plan.
        then: a statement behind it; empty for none.
    """

    site: Site
    operands: tuple[str, ...]
    results: tuple[str, ...]
    purpose: str
    then: str = ""


def passes(site: Site) -> tuple[Pass, ...]:
    """Return the attentions that a site is; nothing where it is none of these kinds."""
    attention = site.attention
    if bare(site) != site:  # what else there is would be of one of them
        return ()
    if is_swappable(site) and "received" in attention.outputs:
        return tuple(_received(site))
    if is_swappable(site) and attention.normaliser == SoftmaxBoth():
        return tuple(_both(site))
    together = len(site.sources) == 1 or attention.join == "softmax"
    weighted = any(source.weight is not None for source in attention.sources)
    if attention.renormalise == ALL_ROWS and together and not weighted and not attention.given:
        return tuple(_renormalised(site))
    return ()


def _both(site: Site) -> Iterator[Pass]:
    """Two softmaxes of one score, each with values of its own."""
    wanted = tuple(name for name in site.attention.outputs if name != "back")
    yield Pass(_softmax(site, "rows", wanted), ("q", "k", "v"), wanted, "softmax over keys")
    assert site.vq is not None
    columns = swapped(_softmax(site, "", ("out",)), "columns", site.vq)
    yield Pass(needed(columns), ("k", "q", "vq"), ("back",), "softmax over queries")


def _received(site: Site) -> Iterator[Pass]:
    """What a key receives: exp of the lse over queries of s - lse, which are log weights."""
    attention = site.attention
    (source,) = attention.sources
    is_plain = source.post is None and attention.renormalise is None
    if not isinstance(attention.normaliser, SoftmaxKeys) or not is_plain:
        return
    wanted = tuple(name for name in attention.outputs if name not in ("lse", "received"))
    wanted = (*wanted, "lse")
    yield Pass(_softmax(site, "rows", wanted), ("q", "k", "v"), wanted, "softmax over keys", KNOWN)
    made, lse = reading(site, "lse", "i")
    shifted = replace(source, score=make("sub", source.score, lse))
    made = replace(made, attention=replace(made.attention, sources=(shifted,)))
    values = TensorType((*site.q.shape[:3], 1))
    columns = swapped(_softmax(made, "", ("out", "lse")), "columns", values)
    yield Pass(
        needed(columns), ("k", "q", "no_values(q)"), ("_", "received"),
        "what every key receives, summed over the queries", "received = received.exp()",
    )  # fmt: skip


def _renormalised(site: Site) -> Iterator[Pass]:
    """Weights over their sum, of scores that spell the weights out by a known lse."""
    attention = site.attention
    posts = [source.post for source in attention.sources if source.post is not None]
    if {*attention.outputs} - {"out", "lse"} or any(affine(post) is None for post in posts):
        return
    if isinstance(attention.normaliser, SoftmaxKeys):
        streams = _streams(site)
        made = _softmax(site, "rows", ("out", "lse"))
        ones = tuple((k, TensorType((*k.shape[:3], 1))) for k, _ in made.sources)
        operands = ("q", *(each for k, _ in streams for each in (k, f"no_values({k})")))
        yield Pass(
            replace(made, sources=ones), operands, ("_", "lse"),
            "lse of every query over the keys", KNOWN,
        )  # fmt: skip
        yield _over_sum(*reading(site, "lse", "i"))
    elif isinstance(attention.normaliser, SoftmaxQueries) and is_swappable(site):
        values = TensorType((*site.q.shape[:3], 1))
        columns = swapped(_softmax(site, "", ("out", "lse")), "columns", values)
        yield Pass(
            needed(columns), ("k", "q", "no_values(q)"), ("_", "lse"),
            "lse of every key over the queries", KNOWN,
        )  # fmt: skip
        yield _over_sum(*reading(site, "lse", "j"))


def _over_sum(site: Site, lse: Load) -> Pass:
    """Return the walk whose scores are weights.

    No pair allowed has s over lse but by rounding; of others exp may not become infinite.
    """
    attention = site.attention

    def spelt_out(source: Source) -> Source:
        weight = make("exp", make("min", make("sub", source.score, lse), Constant(0.0)))
        return replace(source, score=with_weight(source.post or Weight(), weight), post=None)

    sources = tuple(map(spelt_out, attention.sources))
    attention = replace(attention, sources=sources, outputs=("out",), normaliser=Unnormalised())
    made = needed(replace(site, name=f"{site.name}_weights", attention=attention))
    operands = ("q", *(each for stream in _streams(site) for each in stream))
    return Pass(made, operands, ("out",), "weights from their scores, over their sum")


def _softmax(site: Site, name: str, outputs: tuple[str, ...]) -> Site:
    """Return a plain softmax over keys of the scores of a site, under a name of its own."""
    attention = site.attention
    is_own = isinstance(attention.normaliser, SoftmaxKeys)
    attention = replace(
        attention, sources=tuple(replace(each, post=None) for each in attention.sources),
        outputs=outputs, renormalise=None,
        normaliser=attention.normaliser if is_own else SoftmaxKeys(),
    )  # fmt: skip
    name = f"{site.name}_{name}" if name else site.name
    return needed(replace(site, name=name, attention=attention, vq=None))


def _streams(site: Site) -> list[tuple[str, str]]:
    """Return the names of k and v of all sources."""
    tags = [""] if len(site.sources) == 1 else [str(at) for at in range(len(site.sources))]
    return [(f"k{tag}", f"v{tag}") for tag in tags]
