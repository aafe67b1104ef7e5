"""Claims of variants: numbers with a source, some of which can be counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from attnc.dsl import codes, tree
from attnc.dsl.diagnostics import Collector
from attnc.dsl.plain_data import Record, whole, wrong_kind
from attnc.dsl.spans import Span

FIELDS = ("value", "source", "tolerance", "at")
"""Keys of a claim."""

COUNTED: Mapping[str, float] = {"params": 0.0, "macs": 0.02, "flops": 0.02}
"""Claims that can be counted from a spec, and how far off they may be unless they say so."""


SIZED = ("macs", "flops")
"""Claims whose number changes with the size of the input."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A number that a spec claims about a variant.

    Attributes:
        name: `params`, `macs`, `flops`, or a metric such as `top1`.
        tolerance: the relative error that is still right.
        sizes: values of symbolic sizes that it is about.
    """

    variant: str
    name: str
    value: int | float
    source: str
    tolerance: float
    sizes: Mapping[str, int] = field(default_factory=dict)


def read_claims(
    variant: tree.Variant, sizes: Mapping[str, bool], collector: Collector
) -> tuple[Claim, ...]:
    """Read the claims of a variant; what is wrong with them is reported.

    Args:
        sizes: the symbolic sizes of the inputs, and whether each is that of a batch, which counts 1
            where a claim does not say.
    """
    if variant.claims is None:
        return ()
    read = [
        _claim(variant.name, name, node, sizes, collector) for name, node in variant.claims.items
    ]
    return tuple(claim for claim in read if claim is not None)


def claims(spec: tree.Spec, variant: str) -> tuple[Claim, ...]:
    """Return the claims of a variant of a checked spec."""
    chosen = next(each for each in spec.variants if each.name == variant)
    return read_claims(chosen, symbolic_sizes(spec), Collector())


def symbolic_sizes(spec: tree.Spec) -> dict[str, bool]:
    """Return the symbolic sizes of the inputs; true for those that are first axes only."""
    params = {param.name for param in spec.params}
    found: dict[str, bool] = {}
    for port in spec.inputs:
        for axis, size in enumerate(port.shape.items if port.shape else ()):
            if isinstance(size, tree.Name) and size.id not in params:
                found[size.id] = found.get(size.id, True) and axis == 0
    return found


def _claim(
    variant: str, name: str, node: tree.Expr, sizes: Mapping[str, bool], collector: Collector
) -> Claim | None:
    where = f"{name!r} in claims of variant {variant!r}"
    before = len(collector.found)
    record = Record.of(node, where, collector)
    found = {key: record.take(key) for key in FIELDS}
    record.close()
    if len(collector.found) == before:  # a misspelt key may be the one that is missing
        record.need("value")
    value = _number(found["value"], f"'value' of {where}", "a number", collector)
    tolerance = _tolerance(found["tolerance"], f"'tolerance' of {where}", collector)
    given = _sizes(record.record("at"), where, collector)
    if name in SIZED:
        _check_sizes(record.span, where, given, sizes, collector)
    if value is None or len(collector.found) > before:
        return None
    batches = {size: 1 for size, is_batch in sizes.items() if is_batch}
    return Claim(
        variant, name, value, record.text("source"),
        COUNTED.get(name, 0.0) if tolerance is None else tolerance, {**batches, **given},
    )  # fmt: skip


def _number(
    node: tree.Expr | None, where: str, expected: str, collector: Collector
) -> int | float | None:
    if isinstance(node, tree.Number):
        return node.value
    if node is not None:
        wrong_kind(node, where, expected, collector)
    return None


def _tolerance(node: tree.Expr | None, where: str, collector: Collector) -> float | None:
    value = _number(node, where, "a share such as 0.02", collector)
    if value is not None and node is not None and not 0 <= value < 1:
        collector.add(codes.WRONG_KIND.at(
            node.span, where=where, expected="a share from 0 up to 1", found=str(value)
        ))  # fmt: skip
    return None if value is None else float(value)


def _sizes(record: Record, where: str, collector: Collector) -> dict[str, int]:
    found = {}
    for name, node in record.items.items():
        count = whole(node, f"{name!r} in 'at' of {where}", {}, collector)
        if count is not None:
            found[name] = count
    return found


def _check_sizes(
    span: Span,
    where: str,
    given: Mapping[str, int],
    sizes: Mapping[str, bool],
    collector: Collector,
) -> None:
    """Report sizes that no input has, and missing ones that are not of a batch."""
    for name in given.keys() - sizes.keys():
        known = f"sizes of the inputs: {', '.join(sizes)}" if sizes else "all sizes are known"
        collector.add(codes.UNKNOWN_KEY.at(span, key=name, where=f"'at' of {where}", hint=known))
    for name in [name for name, is_batch in sizes.items() if not is_batch and name not in given]:
        collector.add(codes.MISSING_KEY.at(
            span, where=where, key=f"at.{name}", hint=f"say for which size: at: {{{name}: 512}}"
        ))  # fmt: skip
