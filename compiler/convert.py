"""Moving tensors between a checkpoint's names and ours, one link at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import singledispatch
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from attnc.compiler.safetensors_header import BYTES, Entry, Header, read_header
from attnc.compiler.safetensors_writer import Planned, tensor_bytes, write
from attnc.compiler.weights import CheckReport, check, check_back
from attnc.dsl import codes
from attnc.dsl.diagnostics import Note, SpecError
from attnc.dsl.graph import Weight
from attnc.dsl.weight_ops import (
    Concat,
    Copy,
    Crop,
    Op,
    Pad,
    Rearrange,
    Reorder,
    Split,
    Stack,
    Tie,
    Unstack,
    result_shapes,
)  # fmt: skip
from attnc.dsl.weightmap import Link, WeightMap


def load(
    weight_map: WeightMap, ours: Mapping[str, Weight], path: Path, below: str = ""
) -> dict[str, Tensor]:
    """Return a checkpoint's tensors under our names, on the CPU, in the dtypes of the file.

    Args:
        below: stands before all names in the file that count: `w.` in a golden file.

    Raises:
        SpecError: the file is damaged, or does not fit the model in every weight.
        EnvironmentLacks: the file cannot be read.
    """
    header = read_header(path)
    entries = header.below(below)
    report = check(weight_map, ours, entries)
    if not report.ok:
        notes = [Note(f"{f.kind}: {f.name} {f.detail}".rstrip()) for f in report.findings]
        raise SpecError([
            codes.WEIGHTS_MISFIT.at(None, name=path, count=len(notes), notes=notes)
        ])  # fmt: skip
    return dict(moved(header, entries, report.links))


def convert(
    weight_map: WeightMap,
    ours: Mapping[str, Weight],
    source: Path,
    target: Path,
    *,
    back: bool = False,
) -> CheckReport:
    """Write a checkpoint with our names, or with `back` one of ours with the official names.

    Tensors pass through memory link by link; `target` appears when it is complete. Where the
    report is not ok, nothing is written.

    Raises:
        SpecError: `source` is damaged, or weights that should be equal are not.
        EnvironmentLacks: `source` cannot be read or `target` not written.
    """
    header = read_header(source)
    report = (check_back if back else check)(weight_map, ours, header.entries)
    if report.ok:
        links = _widest_first(report.links, header)
        tensors = moved(header, header.entries, links)
        metadata = {**header.metadata, "format": "pt"}
        write(target, _planned(links, header), tensors, metadata)
    return report


def moved(
    header: Header, entries: Mapping[str, Entry], links: Sequence[Link]
) -> Iterator[tuple[str, Tensor]]:
    """Yield what the tensors of a file become, by name.

    Args:
        entries: the tensors by the names that the links give them.

    Raises:
        SpecError: tied weights differ.
    """
    with safe_open(header.path, "pt") as file:
        for link in links:
            tensors = [file.get_tensor(entries[name].name) for name in link.official]
            try:
                for op in link.ops:
                    tensors = apply(op, tensors)
            except NotEqualError:
                names = ", ".join(link.official)
                problem = codes.NOT_EQUAL.at(None, name=header.path, names=names)
                raise SpecError([problem]) from None
            yield from zip(link.ours, tensors, strict=True)


class NotEqualError(Exception):
    """Tensors to tie differ."""


@singledispatch
def apply(op: Op, tensors: list[Tensor]) -> list[Tensor]:
    """Return what an operation makes of tensors whose shapes it fits.

    Raises:
        NotEqualError: tensors to tie differ in a bit.
    """
    raise TypeError(f"no tensors for {op}")


@apply.register
def _(op: Rearrange, tensors: list[Tensor]) -> list[Tensor]:
    made = []
    for tensor in tensors:
        split, permutation, merged = op.steps(tuple(tensor.shape))
        made.append(tensor.reshape(split).permute(permutation).reshape(merged))
    return made


@apply.register
def _(op: Reorder, tensors: list[Tensor]) -> list[Tensor]:
    made = []
    for tensor in tensors:
        parts = tensor.chunk(len(op.order), op.axis)
        made.append(torch.cat([parts[part] for part in op.order], op.axis))
    return made


@apply.register
def _(op: Split, tensors: list[Tensor]) -> list[Tensor]:
    sizes = op.sizes or (tensors[0].shape[op.axis] // op.parts,) * op.parts
    return list(torch.split(tensors[0], list(sizes), op.axis))


@apply.register
def _(op: Concat, tensors: list[Tensor]) -> list[Tensor]:
    return [torch.cat(tensors, op.axis)]


@apply.register
def _(op: Unstack, tensors: list[Tensor]) -> list[Tensor]:
    return list(tensors[0].unbind(op.axis))


@apply.register
def _(op: Stack, tensors: list[Tensor]) -> list[Tensor]:
    return [torch.stack(tensors, op.axis)]


@apply.register
def _(op: Pad, tensors: list[Tensor]) -> list[Tensor]:
    return [
        torch.cat([_zeros(t, op.axis, op.before), t, _zeros(t, op.axis, op.after)], op.axis)
        for t in tensors
    ]


@apply.register
def _(op: Crop, tensors: list[Tensor]) -> list[Tensor]:
    return [t.narrow(op.axis, op.before, t.shape[op.axis] - op.before - op.after) for t in tensors]


@apply.register
def _(op: Tie, tensors: list[Tensor]) -> list[Tensor]:
    first, *others = [tensor_bytes(tensor) for tensor in tensors]
    if any(other != first for other in others):
        raise NotEqualError
    return tensors[:1]


@apply.register
def _(op: Copy, tensors: list[Tensor]) -> list[Tensor]:
    return tensors * op.parts


def _zeros(tensor: Tensor, axis: int, size: int) -> Tensor:
    return tensor.new_zeros((*tensor.shape[:axis], size, *tensor.shape[axis + 1 :]))


def _planned(links: Sequence[Link], header: Header) -> list[Planned]:
    """Return what the links will give, in their order."""
    records = []
    for link in links:
        inputs = [header.entries[name] for name in link.official]
        shapes = result_shapes(link.ops, tuple(entry.shape for entry in inputs))
        records += [
            Planned(name, inputs[0].dtype, shape)
            for name, shape in zip(link.ours, shapes, strict=True)
        ]
    return records


def _widest_first(links: Sequence[Link], header: Header) -> list[Link]:
    """Order links so that every tensor begins at a multiple of its element's size."""
    return sorted(links, key=lambda link: -BYTES[header.entries[link.official[0]].dtype])
