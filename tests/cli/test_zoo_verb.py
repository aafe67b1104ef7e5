"""`attnc zoo check`: specs, variants and claims of a zoo of two systems."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run

GOOD = """\
attnc 1
model good(d = 8) {
  variant small {
    claims = {params: {value: 72}, top1: {value: 50, source: "table 1"}}
  }
  input x: [b, d]
  output y = linear(x, d)
}
"""
BAD = GOOD.replace("good", "bad").replace("72", "73")


@pytest.fixture(autouse=True)
def systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two systems: `good`, and `bad`, which claims one parameter too many."""
    (tmp_path / "good.attn").write_text(GOOD)
    (tmp_path / "bad.attn").write_text(BAD)
    found = {path.stem: path for path in sorted(tmp_path.glob("*.attn"))}
    for module in ("attnc.zoo", "attnc.cli.zoo"):
        monkeypatch.setattr(f"{module}.entries", lambda: found)
    return tmp_path


def test_claims_that_hold(attnc: Run) -> None:
    ran = attnc("zoo", "check", "good")
    assert ran.code == 0
    first, second = ran.out.splitlines()[1:]
    assert first.split() == ["ok", "good", "small", "params", "72", "72", "0%"]
    assert second.startswith("not verifiable here  good") and second.endswith("table 1")
    assert "1 system, 1 claim holds, 0 fail, 1 not verifiable here" in ran.err


def test_a_claim_that_fails(attnc: Run) -> None:
    ran = attnc("zoo", "check")
    assert ran.code == 1
    failing = next(line for line in ran.out.splitlines() if line.startswith("FAIL"))
    assert failing.split()[1:5] == ["bad", "small", "params", "73"]
    assert failing.endswith("checked graph: 72, not 73")


def test_json_has_every_count(attnc: Run) -> None:
    answer = attnc("zoo", "check", "b*", "--json").json
    params, top1 = answer["result"]
    assert not answer["ok"] and params["ok"] is False and top1["ok"] is None
    assert [(each["how"], each["found"]) for each in params["counts"]] == [
        ("checked graph", 72), ("torch module", 72),
    ]  # fmt: skip


def test_a_wrong_spec_does_not_hide_the_others(attnc: Run, systems: Path) -> None:
    (systems / "bad.attn").write_text(BAD.replace("linear", "linaer"))
    ran = attnc("zoo", "check")
    assert ran.code == 1
    assert "E202" in ran.err and "good" in ran.out


def test_a_misspelt_name_is_mended(attnc: Run) -> None:
    ran = attnc("zoo", "check", "goood")
    assert ran.code == 2 and "did you mean `good`?" in ran.err


def test_a_system_goes_by_its_name_with_zoo_before_it(attnc: Run, systems: Path) -> None:
    for verb in (["check"], ["show"], ["copy", "-o", str(systems / "copy")]):
        assert attnc("zoo", verb[0], "zoo:good", *verb[1:]).code == 0
    assert (systems / "copy").read_text() == GOOD
