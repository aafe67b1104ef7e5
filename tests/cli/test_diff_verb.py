"""`attnc diff`: params, totals, weights, and the operations of blocks that differ."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import SPEC, Run


def test_a_model_does_not_differ_from_itself(attnc: Run, spec: Path) -> None:
    ran = attnc("diff", spec, spec, "--exit-code")
    assert (ran.code, ran.out, ran.err) == (0, "", "the same model\n")


def test_variants_and_overrides_of_one_spec(attnc: Run, spec: Path) -> None:
    ran = attnc("diff", spec, "--other-variant", "wide", "--other-set", "depth=3")
    assert ran.code == 0
    assert ran.out.startswith("params  small.attn  small.attn wide depth=3\n")
    assert "dim     16          32\n" in ran.out and "depth   2           3\n" in ran.out
    found = attnc("diff", spec, "--other-set", "depth=3", "--json").json["result"]
    assert found["params"] == [{"name": "depth", "first": "2", "second": "3", "count": 1}]
    assert {each["name"] for each in found["weights"]} >= {"attn.2.qkv.weight", "norm.2.bias"}
    assert all(each["first"] == "-" for each in found["weights"])
    (top,) = found["blocks"]
    added = [line for line in top["lines"] if line.startswith("+")]
    assert len(added) == 3 and not any(line.startswith("-") for line in top["lines"])
    assert added[1].startswith('+linear = self_attention(layer_norm) @"attn.2"')


def test_a_change_inside_a_block_is_told_once(attnc: Run, spec: Path) -> None:
    Path("other.attn").write_text(SPEC.replace("heads=heads", "heads=heads, qkv_bias=false"))
    ran = attnc("diff", spec, "other.attn", "--exit-code")
    assert ran.code == 1
    assert ran.out.count("self_attention at ") == 1
    assert "-qkv = linear(x, 48) @qkv" in ran.out
    assert "+qkv = linear(x, 48, bias=false) @qkv" in ran.out
    assert "attn.*.qkv.bias (2)  [48]        -" in ran.out


def test_both_specs_are_checked(attnc: Run, spec: Path) -> None:
    Path("bad.attn").write_text(SPEC.replace("linear", "linaer"))
    assert attnc("diff", spec, "bad.attn").code == 1
    assert attnc("diff", "bad.attn", spec).code == 1
    assert attnc("diff", spec, "--other-variant", "wid").code == 1


WIRED = """\
attnc 1
model wired() {
  input x: [b, 8]
  old = x
  x = linear(x, 8) @first
  y = linear(x, 8) @second
  output y = y + WHICH
  output z = x
}
"""


def test_names_do_not_count_and_wires_do(attnc: Run, spec: Path) -> None:
    Path("old.attn").write_text(WIRED.replace("WHICH", "old"))
    Path("new.attn").write_text(WIRED.replace("WHICH", "x"))
    Path("renamed.attn").write_text(WIRED.replace("WHICH", "old").replace("y =", "q =").replace(
        "output q = y", "output y = q"))  # fmt: skip
    assert attnc("diff", "old.attn", "renamed.attn").err == "the same model\n"
    assert attnc("resolve", "old.attn", "--unroll", "-o", "unrolled.attn").code == 0
    assert attnc("diff", "old.attn", "unrolled.attn").err == "the same model\n"
    ran = attnc("diff", "old.attn", "new.attn", "--exit-code")
    assert ran.code == 1
    assert "-t3 = t2 + t0  # [b, 8]" in ran.out and "+t3 = t2 + t1  # [b, 8]" in ran.out
