"""Inputs to run a model on: those of a golden file, or random ones of the declared types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from attnc.compiler.convert import apply
from attnc.compiler.golden import Golden
from attnc.compiler.pairs import number
from attnc.compiler.parity import Run, read_parity
from attnc.dsl import codes, tree
from attnc.dsl.diagnostics import SpecError
from attnc.dsl.dims import symbols
from attnc.dsl.graph import TensorType
from attnc.dsl.suggest import did_you_mean
from attnc.dsl.weight_ops import MisfitError, result_shapes
from attnc.dsl.weight_rules import Rule
from attnc.dsl.weightmap import Link

Types = Mapping[str, TensorType]
"""The inputs of a model: name -> type."""

BATCH, LENGTH = 2, 24
"""What symbolic sizes stand for in random inputs: first axes, and the first of all others; the next
are multiples of it, so that they divide by 2, 3, 4, 6, 8 and 12."""

MOSTLY = 0.7
"""The share of true elements in a random mask."""


@dataclass(frozen=True, slots=True)
class Example:
    """A small configuration of a spec with its inputs, from a golden file.

    Attributes:
        run: how the file drives the spec.
    """

    golden: Golden
    run: Run
    spec: tree.Spec

    @classmethod
    def read(cls, spec: tree.Spec, golden: Path) -> Example:
        """Read the first run of `parity`.

        Raises:
            SpecError: the spec's `parity` data is wrong, or the file is damaged.
            EnvironmentLacks: the file cannot be read.
        """
        opened = Golden.open(golden)
        return cls(opened, read_parity(spec, opened.facts).runs[0], spec)

    @property
    def params(self) -> Mapping[str, object]:
        """The values of the spec's params."""
        return self.run.params

    def inputs(self, types: Types, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
        """Return the inputs of the run, in the order of `types`.

        A rule for an input that the model of this configuration does not take is left aside.

        Raises:
            SpecError: none is named for one of them, or one does not fit.
        """
        declared = [port.name for port in self.spec.inputs]
        links = links_of(self.run.inputs, [*types, *declared], "input")
        given = {link.ours[0]: link for link in links}
        if absent := [name for name in types if name not in given]:
            detail = f"no golden tensor is named for input {absent[0]!r}"
            raise SpecError([codes.PARITY.at(self.spec.span, detail=detail)])
        return [
            self._input(given[name], kind).to(device, element(kind, dtype))
            for name, kind in types.items()
        ]

    def _input(self, link: Link, kind: TensorType) -> Tensor:
        tensor = expected(self.golden, link)
        sizes = zip(kind.shape, tensor.shape, strict=False)
        if len(kind.shape) != tensor.ndim or any(isinstance(a, int) and a != b for a, b in sizes):
            detail = f"input {link.ours[0]!r} takes {kind}, not {list(tensor.shape)}"
            raise SpecError([codes.PARITY.at(link.span, detail=detail)])
        return tensor


def element(kind: TensorType, dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of a tensor in a model of `dtype`."""
    kinds = {
        "float": dtype, "int": torch.int64, "bool": torch.bool, "complex": dtype.to_complex(),
    }  # fmt: skip
    return kinds[kind.dtype]


def expected(golden: Golden, link: Link) -> Tensor:
    """Return golden tensors in our layout.

    Raises:
        SpecError: the file lacks one, or the operations do not fit.
    """
    tensors = [golden.tensor(name) for name in link.official]
    try:
        result_shapes(link.ops, tuple(tuple(tensor.shape) for tensor in tensors))
    except MisfitError as misfit:
        detail = f"the operations on {', '.join(link.official)} do not fit: {misfit}"
        raise SpecError([codes.PARITY.at(link.span, detail=detail)]) from None
    for op in link.ops:
        tensors = apply(op, tensors)
    return tensors[0]


def links_of(rules: Mapping[str, Rule], known: Iterable[str], what: str) -> list[Link]:
    """Return what `inputs` or `outputs` bring together.

    Raises:
        SpecError: a name is none of the model's.
    """
    names = list(known)
    for name, rule in rules.items():
        if name not in names:
            hint = did_you_mean(name, names) or f"{what}s: {', '.join(names)}"
            detail = f"the model has no {what} {name!r}"
            raise SpecError([codes.PARITY.at(rule.span, detail=detail, hint=hint)])
    return [
        Link(tuple(source.text for source in rule.sources), (name,), rule.ops, rule.span)
        for name, rule in rules.items()
    ]


# Random ones ------------------------------------------------------------------------------


def random_inputs(
    types: Types, sizes: Mapping[str, int] | None = None, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """Return the same inputs at every call: normal numbers, whole ones 0 and 1, masks mostly true.

    0 and 1 are rows of every table and indices of every axis longer than one. No row of a mask is
    wholly false.

    Args:
        sizes: values of symbolic sizes; the others are taken from `BATCH` and `LENGTH`.
    """
    generator = torch.Generator().manual_seed(0)
    known = {**small_sizes(types), **(sizes or {})}
    return [_random(kind, known, dtype, generator) for kind in types.values()]


def small_sizes(types: Types) -> dict[str, int]:
    """Return a small number for every symbolic size of some inputs."""
    found: dict[str, int] = {}
    for name, is_first in _symbols(types):
        others = sum(size != BATCH for size in found.values())
        found.setdefault(name, BATCH if is_first else LENGTH * (others + 1))
    return found


def _symbols(types: Types) -> Iterator[tuple[str, bool]]:
    """Yield the symbols, each with whether it is the first axis of an input."""
    for kind in types.values():
        for axis, size in enumerate(kind.shape):
            for name in sorted(symbols(size)):
                yield name, axis == 0


def _random(
    kind: TensorType, sizes: Mapping[str, int], dtype: torch.dtype, generator: torch.Generator
) -> Tensor:
    shape = [number(size, sizes) for size in kind.shape]
    if kind.dtype == "int":
        return torch.randint(0, 2, shape, generator=generator)
    if kind.dtype == "bool":
        mask = torch.rand(shape, generator=generator) < MOSTLY
        mask[..., 0] = True
        return mask
    return torch.randn(shape, generator=generator, dtype=element(kind, dtype))
