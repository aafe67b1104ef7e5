"""One set of tests over every system of the zoo: a new spec is covered without writing a test."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import attnc
from attnc import zoo
from attnc.api import Compilation, check_claims
from attnc.compiler.artefact import write
from attnc.dsl.diagnostics import Collector
from attnc.dsl.expressions import evaluate
from attnc.dsl.load import parse
from attnc.dsl.printer import to_text, to_yaml
from attnc.dsl.spans import Source
from attnc.dsl.state import weights
from attnc.dsl.unroll import unrolled_spec
from tests.zoo.small import Small, goldens, small, system_of

every_system = pytest.mark.parametrize("name", zoo.names())
every_golden = pytest.mark.parametrize("golden", goldens(), ids=lambda path: path.stem)

MOST_BYTES = 30_000_000
"""Of all golden files together."""


def variants() -> list[tuple[str, str]]:
    return [
        (name, variant.name)
        for name in zoo.names()
        for variant in attnc.load(f"zoo:{name}").variants
    ]


# The spec ---------------------------------------------------------------------------------


@every_system
def test_both_notations_hold_it(name: str) -> None:
    spec = attnc.load(f"zoo:{name}")
    for suffix, notation in (("attn", to_text), ("yaml", to_yaml)):
        text, collector = notation(spec), Collector()
        again = parse(Source(f"{name}.{suffix}", text), collector)
        assert again == spec
        assert notation(again) == text
        assert not collector.found


@every_system
def test_it_says_where_it_comes_from(name: str) -> None:
    spec = attnc.load(f"zoo:{name}")
    assert spec.model == name and spec.doc
    paper = evaluate(spec.paper, {}) if spec.paper else None
    assert isinstance(paper, dict) and {"title", "year", "follows"} <= paper.keys()


@pytest.mark.parametrize(("name", "variant"), variants())
def test_claims_that_can_be_counted_hold(name: str, variant: str) -> None:
    verdicts = check_claims(f"zoo:{name}", variant)
    assert [verdict for verdict in verdicts if verdict.ok is False] == []


# The small model --------------------------------------------------------------------------


@every_system
def test_it_compiles_to_the_same_bytes(name: str) -> None:
    again = Compilation(attnc.check(small(name).graph.spec, overrides=small(name).graph.params))
    assert again.artefact.files == small(name).compilation.artefact.files


@every_system
def test_it_runs_without_attnc(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artefact = small(name).compilation.artefact
    write(artefact, tmp_path / f"emitted_{name}")
    monkeypatch.syspath_prepend(tmp_path)
    with attnc_is_missing(monkeypatch), torch.no_grad():
        torch.manual_seed(0)
        module = __import__(f"emitted_{name}")
        outputs = small(name).run(getattr(module, artefact.model)().eval())
        again = small(name).run(small(name).model().eval())
    assert outputs
    assert all(output.isfinite().all() for output in outputs)
    assert all(torch.equal(a, b) for a, b in zip(outputs, again, strict=True))


@contextmanager
def attnc_is_missing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    plain = builtins.__import__

    def refusing(name: str, *rest: object, **more: object) -> object:
        asking = rest[0] if rest and isinstance(rest[0], dict) else {}
        if name.partition(".")[0] == "attnc" and str(asking.get("__name__", "")).startswith("emit"):
            raise AssertionError(f"the emitted code imports {name}")
        return plain(name, *rest, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(builtins, "__import__", refusing)
        yield


@every_system
def test_it_unrolls_to_the_same_model(name: str) -> None:
    graph = small(name).graph
    unrolled = unrolled_spec(graph)
    first, second = (
        attnc.loads(notation(unrolled), f"unrolled.{suffix}")
        for suffix, notation in (("attn", to_text), ("yaml", to_yaml))
    )
    assert first == second == unrolled
    again = Small(attnc.check(first), small(name).inputs)
    assert [*weights(again.graph).items()] == [*weights(graph).items()]
    model, same = small(name).model().eval(), again.model().eval()
    same.load_state_dict(model.state_dict())
    with torch.no_grad():
        expected, found = small(name).run(model), again.run(same)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


@every_system
def test_it_trains(name: str) -> None:
    first, second = (gradients(name, small(name).model().train()) for _ in range(2))
    assert first
    assert all(gradient.isfinite().all() for gradient in first.values())
    assert any(gradient.any() for gradient in first.values())
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def gradients(name: str, model: nn.Module) -> dict[str, Tensor]:
    results = [each for each in small(name).run(model) if each.requires_grad]
    torch.stack([result.abs().square().mean() for result in results]).sum().backward()
    return {key: each.grad for key, each in model.named_parameters() if each.grad is not None}


# Golden files -----------------------------------------------------------------------------


@every_golden
@pytest.mark.parametrize(("target", "dtype"), [("reference", "float64"), ("cpu", "float32")])
def test_it_equals_its_official_code(golden: Path, target: str, dtype: str) -> None:
    report = attnc.verify(f"zoo:{system_of(golden)}", golden, target=target, dtype=dtype)
    assert report.ok, report
    assert report.rows


INTERPRETED = """
import sys, attnc
for system, golden in zip(sys.argv[1::2], sys.argv[2::2]):
    report = attnc.verify(f"zoo:{system}", golden, target="triton", dtype="float32")
    print(golden, "equal" if report.ok and report.rows else report)
"""
TOGETHER = 6
"""Golden files for one process."""

LONG = {"matchattention"}
"""Systems whose queries have lists of keys: so many programs take minutes in the interpreter."""

when_all = pytest.mark.skipif(
    os.environ.get("ATTNC_MODELS") != "all", reason="minutes in Triton's interpreter: make models"
)


def interpreted() -> Iterator[Any]:
    short = [each for each in goldens() if system_of(each) not in LONG]
    for at in range(0, len(short), TOGETHER):
        together = short[at : at + TOGETHER]
        yield pytest.param(together, id=f"{together[0].stem}-{together[-1].stem}")
    for each in goldens():
        if system_of(each) in LONG:
            yield pytest.param([each], id=each.stem, marks=when_all)


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the kernels run on it")
@pytest.mark.parametrize("together", list(interpreted()))
def test_generated_kernels_equal_official_code(together: list[Path]) -> None:
    """In processes of their own: Triton is interpreted or not for all of a process."""
    arguments = [word for golden in together for word in (system_of(golden), str(golden))]
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED, *arguments],
        env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [f"{golden} equal" for golden in together]


def test_golden_files_belong_to_systems_and_are_small() -> None:
    assert {system_of(golden) for golden in goldens()} <= set(zoo.names())
    assert sum(golden.stat().st_size for golden in goldens()) < MOST_BYTES
