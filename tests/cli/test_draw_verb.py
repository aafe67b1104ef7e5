"""`attnc draw`: flowcharts of models and blocks."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Run

TWO = """\
attnc 1
model two(depth = 3) {
  input x: [b, n, 8]
  input z: [b, m, 8]
  block layer(x: [b, n, d]) -> [b, n, d] {
    return x + linear(relu(x), d) @fc
  }
  repeat depth {
    x = layer(x) @layers
  }
  exit early = x
  z = concat(x, linear(z, 8) @head, axis=1)
  z = reshape(z, [b, 1, z.shape[1], 8])
  output y = attend(z, z, z)
}
"""
CHART = """\
flowchart TB
  n0(["x"])
  n1(["z"])
  n2["layer &times; 3<br/>layers.0 to layers.2"]
  n3["linear<br/>head"]
  n4{{"attend<br/>softmax"}}
  n5(["y"])
  n6(["early"])
  n0 -- "[b, n, 8]" --> n2
  n1 -- "[b, m, 8]" --> n3
  n2 -- "[b, 1, m + n, 8]" --> n4
  n3 -- "[b, 1, m + n, 8]" --> n4
  n4 -- "[b, 1, m + n, 8]" --> n5
  n2 -- "[b, n, 8]" --> n6
"""


def test_blocks_weights_and_attention(attnc: Run, spec: Path) -> None:
    spec.write_text(TWO)
    assert attnc("draw", spec).out == CHART
    assert attnc("draw", spec, "-o", "chart.mmd").code == 0
    assert Path("chart.mmd").read_text() == CHART


def test_one_block_with_every_operation(attnc: Run, spec: Path) -> None:
    spec.write_text(TWO)
    chart = attnc("draw", spec, "--block", "layers.1", "--level", "op").out
    assert 'n1["relu"]' in chart and 'n2["linear<br/>fc"]' in chart and 'n3["add"]' in chart
    assert 'n0 -- "[b, n, 8]" --> n3' in chart


def test_blocks_within_blocks_and_misspelt_ones(attnc: Run, spec: Path) -> None:
    assert '"linear<br/>qkv"' in attnc("draw", spec, "--block", "attn.0").out
    ran = attnc("draw", spec, "--block", "atn.0")
    assert ran.code == 2 and "did you mean `attn.0`?" in ran.err
