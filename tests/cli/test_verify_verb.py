"""`attnc verify` on a golden file that agrees and one that does not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.cli.conftest import Run

SPEC = """\
attnc: 1
model: small
params: {dim: 4}
inputs: {x: [b, dim]}
outputs: {y: "linear(x, 3) @head"}
weights: {official: {map: [{"proj.*": "head.*"}]}}
parity:
  source: official
  params: {dim: config.width}
  inputs: {x: in.x}
  outputs: {y: out.y}
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SPEC)
    random = np.random.default_rng(0)
    weight, bias, x = (random.standard_normal(shape) for shape in ((3, 4), 3, (2, 4)))
    y = x @ weight.T + bias
    for name, result in {"good": y, "bad": y + 1e-3}.items():
        tensors = {"w.proj.weight": weight, "w.proj.bias": bias, "in.x": x, "out.y": result}
        save_file(tensors, f"{name}.safetensors", {"config": json.dumps({"width": 4})})


@pytest.mark.usefixtures("files")
def test_agreement(attnc: Run) -> None:
    ran = attnc("verify", "small.yaml", "--golden", "good.safetensors")
    assert (ran.code, ran.err) == (0, "0 of 1 comparisons out of tolerance\n")
    state, golden, ours, *_ = ran.out.splitlines()[1].split()
    assert (state, golden, ours) == ("ok", "out.y", "y")


@pytest.mark.usefixtures("files")
def test_disagreement_exits_with_1_and_names_the_first(attnc: Run) -> None:
    ran = attnc("verify", "small.yaml", "--golden", "bad.safetensors")
    assert ran.code == 1
    assert "FAIL" in ran.out and "first divergence: out.y" in ran.err


@pytest.mark.usefixtures("files")
def test_json_carries_the_report_also_when_it_fails(attnc: Run) -> None:
    ran = attnc("verify", "small.yaml", "--golden", "bad.safetensors", "--json")
    answer = ran.json
    assert (ran.code, ran.err, answer["ok"], answer["diagnostics"]) == (1, "", False, [])
    assert answer["result"]["rows"][0]["golden"] == "out.y"


@pytest.mark.usefixtures("files")
def test_faulty_calls(attnc: Run) -> None:
    assert attnc("verify", "small.yaml", "--golden", "nowhere.safetensors").code == 3
    assert attnc("verify", "small.yaml", "--golden", "good.safetensors", "--dtype", "int").code == 2
    assert attnc("verify", "small.yaml").code == 2
