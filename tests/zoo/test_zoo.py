"""One set of tests over every system of the zoo: a new spec is covered without writing a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import attnc
from attnc import zoo
from attnc.api import Compilation
from attnc.dsl.diagnostics import Collector
from attnc.dsl.dims import substitute
from attnc.dsl.expressions import evaluate
from attnc.dsl.graph import Graph
from attnc.dsl.load import parse
from attnc.dsl.printer import to_text, to_yaml
from attnc.dsl.spans import Source

GOLDEN = Path(__file__).parents[1] / "golden" / "parity"
SIZES = {"b": 2, "n": 9, "m": 7}


def variants() -> list[tuple[str, str]]:
    return [
        (name, variant.name)
        for name in zoo.names()
        for variant in attnc.load(f"zoo:{name}").variants
    ]


def inputs(graph: Graph) -> list[Tensor]:
    """Random inputs; ids count up, masks keep the first row whole."""
    torch.manual_seed(0)
    made = []
    for kind in graph.inputs.values():
        shape = [int(str(substitute(size, dict(SIZES)))) for size in kind.shape]
        if kind.dtype == "int":
            made.append(torch.arange(torch.Size(shape).numel()).reshape(shape))
        elif kind.dtype == "bool":
            mask = torch.rand(shape) < 0.7
            mask[..., 0] = True
            made.append(mask)
        else:
            made.append(torch.randn(shape))
    return made


@pytest.mark.parametrize("name", zoo.names())
def test_both_notations_hold_it(name: str) -> None:
    spec = attnc.load(f"zoo:{name}")
    for suffix, text in (("attn", to_text(spec)), ("yaml", to_yaml(spec))):
        collector = Collector()
        assert parse(Source(f"{name}.{suffix}", text), collector) == spec
        assert not collector.found


@pytest.mark.parametrize(("name", "variant"), variants())
def test_claims_about_size_hold(name: str, variant: str) -> None:
    graph = attnc.check(f"zoo:{name}", variant)
    declared = next(each for each in graph.spec.variants if each.name == variant)
    assert declared.claims is not None
    claims = evaluate(declared.claims, {})
    assert isinstance(claims, dict)
    assert attnc.parameter_count(graph) == claims["params"]["value"]
    if "macs" in claims:
        from attnc.compiler.cost import macs

        counted = macs(graph, dict.fromkeys(SIZES, 1))
        assert counted == pytest.approx(claims["macs"]["value"], rel=0.02)


@pytest.mark.parametrize("name", zoo.names())
def test_it_compiles_runs_and_trains(name: str) -> None:
    graph = attnc.check(f"zoo:{name}")
    model = attnc.compile(f"zoo:{name}")
    given = inputs(graph)
    with torch.no_grad():
        first, second = model.eval()(*given), model(*given)
    outputs = list(first.values()) if isinstance(first, dict) else [first]
    again = list(second.values()) if isinstance(second, dict) else [second]
    assert all(torch.equal(a, b) for a, b in zip(outputs, again, strict=True))
    assert all(output.isfinite().all() for output in outputs)
    trained = model.train()(*given)
    results = trained.values() if isinstance(trained, dict) else [trained]
    sum(result.square().mean() for result in results).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", zoo.names())
def test_it_compiles_to_the_same_bytes(name: str) -> None:
    first, second = (Compilation(attnc.check(f"zoo:{name}")).artefact for _ in range(2))
    assert first.files == second.files


@pytest.mark.parametrize("golden", sorted(GOLDEN.glob("*.safetensors")), ids=lambda path: path.stem)
@pytest.mark.parametrize(
    ("target", "dtype"), [("reference", "float64"), ("cpu", "float64"), ("cpu", "float32")]
)
def test_it_equals_its_official_code(golden: Path, target: str, dtype: str) -> None:
    report = attnc.verify(f"zoo:{golden.stem}", golden, target=target, dtype=dtype)
    assert report.ok, report
    assert report.rows


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the kernels run on it")
@pytest.mark.parametrize("golden", sorted(GOLDEN.glob("*.safetensors")), ids=lambda path: path.stem)
def test_its_generated_kernels_equal_its_official_code(golden: Path) -> None:
    """In a process of its own: Triton is interpreted or not for all of a process."""
    command = ["verify", f"zoo:{golden.stem}", "--golden", str(golden), "--target", "triton"]
    done = subprocess.run(
        [sys.executable, "-m", "attnc", *command, "--dtype", "float32", "--json"],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["ok"]
