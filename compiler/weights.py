"""Checking a checkpoint against a model, from the header of its file alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from attnc.compiler.safetensors_header import BYTES, Entry, Header
from attnc.dsl.graph import Weight
from attnc.dsl.suggest import closest
from attnc.dsl.weight_ops import MisfitError, result_shapes
from attnc.dsl.weightmap import Link, Matching, WeightMap

KINDS: Mapping[str, str] = {
    "BOOL": "bool", "U8": "int", "I8": "int", "I16": "int", "U16": "int", "I32": "int",
    "U32": "int", "I64": "int", "U64": "int", "F16": "float", "BF16": "float", "F32": "float",
    "F64": "float", "C64": "complex",
}  # fmt: skip
"""dtype of a file -> kind of a weight; 8-bit floats are none, they need scales beside them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not fit.

    Attributes:
        kind: `missing` (a weight that nothing in the file leads to), `unexpected` (a tensor that
            leads nowhere), `rival` (one that leads to a weight already taken), `shape`, `dtype`.
        name: of the weight or tensor.
        detail: expected and found, in words; may be empty.
        nearest: a name on the other side that is much alike, or none.
    """

    kind: str
    name: str
    detail: str = ""
    nearest: str | None = None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """How a file and a model fit.

    Attributes:
        source: whose names the file has: `official`; empty where names need no map.
        links: tensors of the file and what they become.
        findings: what does not fit.
        unused: tensors declared unused.
    """

    source: str
    links: tuple[Link, ...]
    findings: tuple[Finding, ...]
    unused: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the file can be loaded."""
        return not self.findings

    def to_json(self) -> dict[str, object]:
        """Return the report as plain data."""
        return {
            "ok": self.ok,
            "source": self.source,
            "linked": sum(len(link.ours) for link in self.links),
            "unused": list(self.unused),
            "findings": [
                {"kind": f.kind, "name": f.name, "detail": f.detail, "nearest": f.nearest}
                for f in self.findings
            ],
        }


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a file holds.

    Attributes:
        entries: by name.
        totals: dtype -> (tensors, elements, bytes).
        metadata: free texts.
    """

    entries: tuple[Entry, ...]
    totals: Mapping[str, tuple[int, int, int]]
    metadata: Mapping[str, str]


def inspect(header: Header) -> Inspection:
    """Return what a file holds: names, shapes, dtypes, totals."""
    tensors: Counter[str] = Counter()
    elements: Counter[str] = Counter()
    for entry in header.entries.values():
        tensors[entry.dtype] += 1
        elements[entry.dtype] += entry.elements
    totals = {d: (tensors[d], elements[d], elements[d] * BYTES[d]) for d in sorted(tensors)}
    entries = tuple(header.entries[name] for name in sorted(header.entries))
    return Inspection(entries, totals, header.metadata)


def check(
    weight_map: WeightMap, ours: Mapping[str, Weight], official: Mapping[str, Entry]
) -> CheckReport:
    """Say how the tensors of a checkpoint fit the weights of a model.

    Args:
        ours: by name, as `attnc.dsl.state.weights` gives them.
        official: the tensors of a file, by the names that the map speaks of.
    """
    matching = weight_map.match(official, ours)
    needed = [name for name in matching.missing if not ours[name].is_count]
    findings = [*_stray(matching, needed), *_misfits(matching.links, official, ours)]
    return CheckReport(weight_map.name, matching.links, tuple(findings), matching.unused)


def check_back(
    weight_map: WeightMap, ours: Mapping[str, Weight], entries: Mapping[str, Entry]
) -> CheckReport:
    """Say whether a file with our names fits the model, and what its tensors are officially.

    The links of the report lead from ours to the official names.
    """
    identity = check(WeightMap(), ours, entries)
    matching = weight_map.match_back(ours)
    backward = tuple(link.reversed() for link in matching.links)
    lost = [Finding("missing", name, "no rule leads back from it") for name in matching.missing]
    found = [*identity.findings, *lost]
    if not found:
        found += _misfits(backward, entries, {})
    return CheckReport(weight_map.name, backward, tuple(found))


def _stray(matching: Matching, missing: Sequence[str]) -> Iterator[Finding]:
    for name in missing:
        yield Finding("missing", name, nearest=closest(name, matching.unexpected))
    for name in matching.unexpected:
        yield Finding("unexpected", name, nearest=closest(name, missing))
    for name, taken in matching.rivals.items():
        yield Finding("rival", name, f"{', '.join(taken)} has its tensor already")


def _misfits(
    links: tuple[Link, ...], entries: Mapping[str, Entry], weights: Mapping[str, Weight]
) -> Iterator[Finding]:
    """Yield what the links' operations and results do not fit."""
    for link in links:
        inputs = [entries[name] for name in link.official]
        name = link.ours[0] if weights else link.official[0]
        if len({entry.dtype for entry in inputs}) > 1:
            yield Finding("dtype", name, f"its parts are {', '.join(e.dtype for e in inputs)}")
        try:
            shapes = result_shapes(link.ops, tuple(entry.shape for entry in inputs))
        except MisfitError as misfit:
            yield Finding("shape", name, f"{', '.join(link.official)}: {misfit}")
            continue
        for target, shape in zip(link.ours, shapes, strict=True):
            if target in weights:
                yield from _differences(target, weights[target], shape, inputs[0])


def _differences(
    name: str, weight: Weight, shape: tuple[int, ...], entry: Entry
) -> Iterator[Finding]:
    if shape != weight.shape:
        raw = "" if shape == entry.shape else f" from {list(entry.shape)}"
        yield Finding("shape", name, f"expected {list(weight.shape)}, got {list(shape)}{raw}")
    if KINDS.get(entry.dtype) != weight.dtype:
        yield Finding("dtype", name, f"expected {weight.dtype}, got {entry.dtype}")
