"""Running a spec on the inputs of a golden file, and comparing all that it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from attnc.compiler.comparison import (
    FACTORS,
    Difference,
    Report,
    Row,
    difference,
    held_to,
    limit,
    without,
)
from attnc.compiler.convert import moved
from attnc.compiler.example import Example, expected, links_of
from attnc.compiler.golden import WEIGHTS, Golden
from attnc.compiler.parity import Parity, Run, Tap, read_parity
from attnc.compiler.recorder import Recorder
from attnc.compiler.weights import CheckReport, check
from attnc.dsl import tree
from attnc.dsl.graph import TensorType, Weight
from attnc.dsl.weightmap import Link, weight_map

DTYPES: Mapping[str, torch.dtype] = {
    "float64": torch.float64, "float32": torch.float32, "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}  # fmt: skip

REFERENCE = "reference"
"""The target that defines the meaning; in dtypes below float64 others are held to its error."""


@dataclass(frozen=True, slots=True)
class Built:
    """A model to verify.

    Attributes:
        module: takes the inputs in their order; gives a tensor, several in the order of `outputs`,
            or a dict of them; its state dict has the names of `weights`.
        params: the value of every param.
        inputs: name -> type.
        outputs: names.
        weights: name -> weight.
    """

    module: nn.Module
    params: Mapping[str, object]
    inputs: Mapping[str, TensorType]
    outputs: tuple[str, ...]
    weights: Mapping[str, Weight]


Build = Callable[[Mapping[str, object], str], Built]
"""Values of params, target -> the model."""


def verify(
    spec: tree.Spec,
    golden_file: Path,
    build: Build,
    *,
    target: str = REFERENCE,
    dtype: str = "float64",
    device: str = "cpu",
) -> Report:
    """Compare a spec with a golden file: every output, and every tap that the spec maps.

    Raises:
        SpecError: the `parity` data is wrong or names what the golden file lacks, or the file is
            damaged.
        EnvironmentLacks: the file cannot be read.
    """
    golden = Golden.open(golden_file)
    parity = read_parity(spec, golden.facts)
    bench = _Bench(spec, golden, build, DTYPES[dtype], torch.device(device))
    rows: list[Row] = []
    reports: list[CheckReport] = []
    for run in parity.runs:
        outcome = bench.outcome(run, target)
        baseline = outcome if target == REFERENCE else bench.baseline(run)
        rows += _rows(run, outcome, baseline.measured if baseline else {}, parity, bench)
        reports.append(outcome.weights)
    compared = {name for row in rows for name in row.golden}
    left = [name for name in golden.outputs if name not in compared]
    ignored = {name: why for name in left if (why := parity.why_ignored(name))}
    rows += [_not_compared(name, golden) for name in left if name not in ignored]
    return Report(spec.model, str(golden_file), target, dtype, tuple(rows), tuple(reports), ignored)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What one run of a model gave: golden tensors and places -> error, in order of execution."""

    weights: CheckReport
    measured: Mapping[Link, Difference]


@dataclass(frozen=True, slots=True)
class _Bench:
    """Builds, loads and runs models on one golden file."""

    spec: tree.Spec
    golden: Golden
    build: Build
    dtype: torch.dtype
    device: torch.device

    def baseline(self, run: Run) -> _Outcome | None:
        """Run the reference, where targets are held to its error."""
        return self.outcome(run, REFERENCE) if self.dtype in FACTORS else None

    def outcome(self, run: Run, target: str) -> _Outcome:
        """Run a target once and compare what it gives."""
        with _computing_in(self.dtype):
            built = self.build(run.params, target)
        names = weight_map(self.spec, built.params, run.source).ignoring(run.unused)
        entries = self.golden.header.below(WEIGHTS + run.prefix)
        report = check(names, built.weights, entries)
        if not report.ok:
            return _Outcome(report, {})
        outputs = links_of(run.outputs, built.outputs, "output")
        example = Example(self.golden, run, self.spec)
        inputs = example.inputs(built.inputs, self.dtype, self.device)
        module = built.module.to(self.device, self.dtype).train(run.training)
        module.load_state_dict(dict(moved(self.golden.header, entries, report.links)))
        taps = [(Tap.read(link.ours[0]), link) for link in self._taps(run)]
        recorder = Recorder(module, [tap for tap, _ in taps])
        with torch.no_grad(), recorder:
            result = module(*inputs)
        order = list(recorder.seen)
        measured = {
            link: self._difference(link, recorder.seen[tap].tensor, recorder.seen[tap].problem)
            for tap, link in sorted(taps, key=lambda pair: order.index(pair[0]))
        }
        given = _by_name(result, built.outputs)
        measured |= {link: self._difference(link, given[link.ours[0]]) for link in outputs}
        return _Outcome(report, measured)

    def _difference(self, link: Link, ours: Tensor | None, problem: str = "") -> Difference:
        return without(problem) if ours is None else difference(ours, expected(self.golden, link))

    def _taps(self, run: Run) -> Iterator[Link]:
        """Yield golden tensors with the places that the first rule for them gives."""
        for name in self.golden.names:
            for rule in run.taps:
                for sources, places in rule.links(name, rule.sources):
                    if name == sources[0] and set(sources) <= set(self.golden.names):
                        yield Link(sources, places, rule.ops, rule.span)


@contextmanager
def _computing_in(dtype: torch.dtype) -> Iterator[None]:
    """Let tables that a model makes when it is built have the precision that it will run in."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.promote_types(dtype, torch.float32))
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _by_name(result: object, names: tuple[str, ...]) -> Mapping[str, Tensor]:
    """Return what a module gave by output: it gives a tensor, several in order, or a dict."""
    if isinstance(result, dict):
        return result
    found = result if isinstance(result, (tuple, list)) else (result,)
    tensors = [item for item in found if isinstance(item, Tensor)]
    return dict(zip(names, tensors, strict=True))


def _rows(
    run: Run,
    outcome: _Outcome,
    baseline: Mapping[Link, Difference],
    parity: Parity,
    bench: _Bench,
) -> Iterator[Row]:
    for link, found in outcome.measured.items():
        tensor = expected(bench.golden, link)
        stated = parity.tolerance(link.official[0])
        yield Row(
            run=run.name,
            golden=link.official,
            ours=link.ours[0],
            shape=tuple(tensor.shape),
            difference=found,
            limit=limit(
                tensor,
                bench.dtype,
                stated.relative if stated else None,
                held_to(tensor, baseline.get(link), baseline.values()),
            ),
            why=stated.why if stated else "",
        )


def _not_compared(name: str, golden: Golden) -> Row:
    shape = golden.header.entries[name].shape
    return Row("", (name,), "", shape, without("not compared"), 0.0)
