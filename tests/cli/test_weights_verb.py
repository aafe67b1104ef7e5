"""`attnc weights` on a checkpoint that fits and one that does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.cli.conftest import Run

SPEC = """\
attnc 1

model small(dim = 4) {
  weights = {official: {map: [{"proj.*": "head.*"}], unused: ["aux.*"]}}

  input x: [b, dim]
  output y = linear(x, 3) @head
}
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("small.attn").write_text(SPEC)
    weight, bias = np.ones((3, 4), np.float32), np.zeros(3, np.float32)
    save_file({"proj.weight": weight, "proj.bias": bias, "aux.x": bias}, "good.safetensors")
    save_file({"proj.weight": weight.T.copy()}, "bad.safetensors")
    return "small.attn"


def test_check(attnc: Run, spec: str) -> None:
    good = attnc("weights", "check", spec, "good.safetensors")
    assert (good.code, good.out) == (0, "")
    assert good.err == "2 weights linked, 1 unused, findings: 0\n"
    bad = attnc("weights", "check", spec, "bad.safetensors")
    assert bad.code == 1
    assert {"missing", "shape"} <= set(bad.out.split())


def test_convert_there_and_back(attnc: Run, spec: str) -> None:
    assert attnc("weights", "convert", spec, "good.safetensors", "-o", "ours.safetensors").code == 0
    assert "head.weight" in attnc("weights", "inspect", "ours.safetensors").out
    back = ("weights", "convert", spec, "ours.safetensors", "-o", "official.safetensors", "--back")
    assert attnc(*back).code == 0
    assert "proj.weight" in attnc("weights", "inspect", "official.safetensors").out


def test_convert_writes_nothing_that_does_not_fit(attnc: Run, spec: str) -> None:
    ran = attnc("weights", "convert", spec, "bad.safetensors", "-o", "ours.safetensors")
    assert ran.code == 1 and "was not written" in ran.err
    assert not Path("ours.safetensors").exists()


def test_faulty_files(attnc: Run, spec: str) -> None:
    Path("odd.safetensors").write_bytes(b"\xff" * 100)
    assert attnc("weights", "inspect", "odd.safetensors").code == 1
    assert attnc("weights", "inspect", "nowhere.safetensors").code == 3
    assert attnc("weights", "check", spec, "good.safetensors", "--source", "ofical").code == 2
