"""What each verb prints and returns, on a small spec."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from tests.cli.conftest import SPEC, Run

BAD = SPEC.replace("linear(x, 10)", "linaer(x, 10)")


# check ------------------------------------------------------------------------------------


def test_check_is_silent_on_stdout(attnc: Run, spec: Path) -> None:
    ran = attnc("check", spec)
    assert (ran.code, ran.out, ran.err) == (0, "", "1 spec checked, no errors\n")
    assert attnc("check", spec, "-q").err == ""


def test_check_shows_all_errors_of_all_files(attnc: Run, spec: Path) -> None:
    Path("bad.attn").write_text(BAD)
    Path("worse.attn").write_text("attnc 9\n")
    ran = attnc("check", "bad.attn", spec, "worse.attn")
    assert ran.code == 1
    assert "bad.attn:13:14: error[E202]" in ran.err
    assert "worse.attn:1:7: error[E111]" in ran.err
    assert ran.out == ""


def test_check_of_a_missing_file_says_that_this_machine_cannot(attnc: Run, spec: Path) -> None:
    Path("bad.attn").write_text(BAD)
    ran = attnc("check", "bad.attn", "nowhere.attn", spec)
    assert ran.code == 3
    assert "E100" in ran.err and "bad.attn:13:14: error[E202]" in ran.err
    assert attnc("fmt", "--check", "nowhere.attn").code == 3
    assert attnc("show", "nowhere.attn").code == 3


def test_a_misspelt_zoo_name_is_mended(attnc: Run) -> None:
    ran = attnc("check", "zoo:crossvti")
    assert ran.code == 2 and "did you mean `crossvit`?" in ran.err


def test_check_reads_stdin(attnc: Run, spec: Path) -> None:
    assert attnc("check", "-", stdin=SPEC).code == 0
    assert "<stdin>:13:14: error[E202]" in attnc("check", "-", stdin=BAD).err


def test_check_takes_overrides_and_variants(attnc: Run, spec: Path) -> None:
    assert attnc("check", spec, "--set", "dim=8", "--set", "heads=4").code == 0
    assert attnc("check", spec, "--set", "dim=2").code == 1
    assert "E208" in attnc("check", spec, "--set", "dmi=8").err
    assert attnc("check", spec, "--variant", "wide").code == 0
    assert "E210" in attnc("check", spec, "--variant", "wid").err


def test_check_of_all_variants_finds_what_the_default_hides(attnc: Run, spec: Path) -> None:
    spec.write_text(SPEC.replace("dim = 32", "dim = 3"))
    assert attnc("check", spec).code == 0
    assert attnc("check", spec, "--all-variants").code == 1


def test_check_verbose_names_each_spec(attnc: Run, spec: Path) -> None:
    assert "small.attn: ok\n" in attnc("check", spec, "--verbose").err


def test_check_json(attnc: Run, spec: Path) -> None:
    Path("bad.attn").write_text(BAD)
    ran = attnc("check", spec, "bad.attn", "--json")
    answer = ran.json
    assert (ran.code, ran.err, answer["command"], answer["ok"]) == (1, "", "check", False)
    assert [each["code"] for each in answer["diagnostics"]] == ["E202"]
    good, bad = answer["result"]
    assert good["outputs"] == {"y": "[b, n, 10]"} and not bad["ok"]


def test_check_formats_for_machines(attnc: Run, spec: Path) -> None:
    Path("bad.attn").write_text(BAD)
    assert attnc("check", "bad.attn", "--format", "github").out.startswith("::error file=bad.attn")
    log = json.loads(attnc("check", "bad.attn", "--format", "sarif").out)
    assert log["runs"][0]["results"][0]["ruleId"] == "E202"
    assert json.loads(attnc("check", spec, "--format", "sarif").out)["runs"][0]["results"] == []


def test_usage_errors_exit_with_2(attnc: Run, spec: Path) -> None:
    assert attnc("chekc").code == 2
    assert attnc("check").code == 2
    assert attnc("check", spec, "--colour").code == 2
    assert attnc("check", "zoo:nothing").code == 2


# show, resolve ----------------------------------------------------------------------------


def test_show_merges_equal_repeats(attnc: Run, spec: Path) -> None:
    ran = attnc("show", spec, "--depth", 1)
    assert ran.code == 0
    assert ran.out == dedent("""\
        module    block           times  output      params  line
        norm.0-1  layer_norm          2  [b, n, 16]      32  small.attn:10
        attn.0-1  self_attention      2  [b, n, 16]   1.09k  small.attn:10
        head      linear                 [b, n, 10]     170  small.attn:13
        total     small                  [b, n, 10]   2.41k
        """)


def test_show_opens_blocks_and_counts_flops(attnc: Run, spec: Path) -> None:
    lines = attnc("show", spec, "--flops").out.splitlines()
    assert "  qkv" in {line[:5] for line in lines}
    assert "1.54k*b*n" in next(line for line in lines if line.startswith("  qkv"))
    sized = attnc("show", spec, "--size", "b=2", "--size", "n=5").out.splitlines()
    assert "15.4k" in next(line for line in sized if line.startswith("  qkv"))


def test_show_wants_every_size(attnc: Run, spec: Path) -> None:
    assert "E403" in attnc("show", spec, "--size", "b=2").err
    assert "E611" in attnc("show", spec, "--size", "b=two").err


def test_show_json_has_exact_numbers(attnc: Run, spec: Path) -> None:
    result = attnc("show", spec, "--json", "--size", "b=1", "--size", "n=4").json["result"]
    attention = next(part for part in result["parts"] if part["block"] == "self_attention")
    assert (attention["module"], attention["times"], attention["params"]) == ("attn.0-1", 2, 1088)
    assert result["params"] == 2 * (1088 + 32) + 170
    assert result["flops"] == 2 * attention["flops"] + 2 * 4 * 16 * 10


def test_resolve_prints_a_spec_that_checks(attnc: Run, spec: Path) -> None:
    ran = attnc("resolve", spec, "--variant", "wide", "--set", "heads=8", "--origins")
    assert ran.code == 0
    assert "dim: int = 32" in ran.out and "from variant wide" in ran.out
    assert "heads = 8" in ran.out and "from --set" in ran.out
    assert "variant wide {" not in ran.out
    assert attnc("check", "-", stdin=ran.out).code == 0


def test_resolve_to_the_other_notation_and_into_a_file(attnc: Run, spec: Path) -> None:
    assert attnc("resolve", spec, "--to", "yaml", "-o", "out.yaml").code == 0
    assert Path("out.yaml").read_text().startswith("attnc: 1\n")
    assert attnc("check", "out.yaml").code == 0


# fmt, new ---------------------------------------------------------------------------------

UGLY = SPEC.replace("depth = 2", "depth=2").replace("  output", "      output")


def test_fmt_rewrites_in_place_and_then_leaves_alone(attnc: Run, spec: Path) -> None:
    spec.write_text(UGLY)
    first = attnc("fmt", spec)
    assert (first.code, first.out, first.err) == (
        0,
        "",
        "1 file reformatted, 0 files left unchanged\n",
    )
    formatted = spec.read_text()
    assert formatted != UGLY
    assert "0 files reformatted" in attnc("fmt", spec).err
    assert spec.read_text() == formatted


def test_fmt_check_and_diff_write_nothing(attnc: Run, spec: Path) -> None:
    spec.write_text(UGLY)
    checked = attnc("fmt", spec, "--check")
    assert (checked.code, checked.err) == (1, "would reformat small.attn\n")
    differing = attnc("fmt", spec, "--diff")
    assert differing.code == 1
    assert "--- small.attn" in differing.out and "-      output y" in differing.out
    assert spec.read_text() == UGLY


def test_fmt_of_stdin_goes_to_stdout(attnc: Run, spec: Path) -> None:
    ran = attnc("fmt", "-", stdin=UGLY)
    assert ran.code == 0
    assert "  output y = linear(x, 10) @head\n" in ran.out
    assert attnc("fmt", "-", "--json", stdin=UGLY).json["result"][0]["text"] == ran.out


def test_fmt_converts_and_comes_back(attnc: Run, spec: Path) -> None:
    attnc("fmt", spec)
    text = spec.read_text()
    yaml = attnc("fmt", spec, "--to", "yaml")
    assert yaml.code == 0 and yaml.out.startswith("attnc: 1\n")
    assert spec.read_text() == text
    Path("small.yaml").write_text(yaml.out)
    assert attnc("fmt", "small.yaml", "--to", "attn").out == text


def test_fmt_goes_on_after_a_bad_file(attnc: Run, spec: Path) -> None:
    spec.write_text(UGLY)
    Path("bad.attn").write_text("attnc 1\nmodel m( {\n")
    ran = attnc("fmt", "bad.attn", spec)
    assert ran.code == 1 and "bad.attn:2" in ran.err
    assert spec.read_text() != UGLY
    assert Path("bad.attn").read_text() == "attnc 1\nmodel m( {\n"


def test_fmt_refuses_the_zoo_and_one_output_for_two_files(attnc: Run, spec: Path) -> None:
    assert attnc("fmt", "zoo:vit").code == 2
    assert attnc("fmt", spec, spec, "-o", "x.attn").code == 2


@pytest.mark.parametrize("name", ["fresh.yaml", "fresh-net.attn"])
def test_new_writes_a_spec_that_checks(name: str, attnc: Run, spec: Path) -> None:
    assert attnc("new", name).code == 0
    assert attnc("check", name).code == 0
    assert attnc("fmt", name, "--check").code == 0
    assert attnc("show", name, "--json").json["result"]["model"] in {"fresh", "fresh_net"}


def test_new_never_overwrites_unless_told(attnc: Run, spec: Path) -> None:
    refused = attnc("new", spec)
    assert refused.code == 2 and "E612" in refused.err
    assert spec.read_text() == SPEC
    assert attnc("new", spec, "--force").code == 0


def test_new_from_another_spec(attnc: Run, spec: Path) -> None:
    assert attnc("new", "mine.attn", "--from", spec).code == 0
    assert "model mine(" in Path("mine.attn").read_text()


# explain, zoo, the rest -------------------------------------------------------------------


def test_explain_a_code_a_block_and_an_operator(attnc: Run) -> None:
    assert attnc("explain", "e203").out.startswith("E203: shape conflict\n")
    assert "block mlp(" in attnc("explain", "mlp").out
    assert attnc("explain", "linear").out.startswith("linear: ")


def test_explain_lists_and_suggests(attnc: Run) -> None:
    assert {"E203", "mlp", "linear"} <= set(attnc("explain").out.split())
    ran = attnc("explain", "self_atention")
    assert ran.code == 2 and "did you mean `self_attention`?" in ran.err


def test_zoo(attnc: Run, spec: Path) -> None:
    listed = attnc("zoo", "list", "--json").json["result"]
    name = listed[0]["name"]
    assert name in attnc("zoo", "list", f"{name[:2]}*").out
    text = attnc("zoo", "show", name).out
    assert attnc("zoo", "copy", name, "-o", "mine.spec").code == 0
    assert Path("mine.spec").read_text() == text
    assert attnc("zoo", "copy", name, "-o", "mine.spec").code == 2
    assert attnc("zoo", "list", "nothing*").code == 1
    assert attnc("zoo", "show", "nothing").code == 2


def test_schema_is_a_json_schema(attnc: Run) -> None:
    ran = attnc("schema")
    assert ran.code == 0
    assert {"attnc", "model", "inputs", "graph"} <= set(json.loads(ran.out)["properties"])


def test_version_and_doctor(attnc: Run) -> None:
    from attnc import __version__

    assert attnc("version").out == attnc("--version").out == f"attnc {__version__}\n"
    facts = attnc("doctor", "--json").json["result"]
    assert {"python", "torch", "triton", "lark"} <= set(facts)


# compile, plan ----------------------------------------------------------------------------


def test_compile_writes_a_package_once(attnc: Run, spec: Path) -> None:
    ran = attnc("compile", spec, "-o", "out", "--json")
    assert ran.code == 0
    assert "model.py" in ran.json["result"]["files"]
    assert attnc("compile", spec, "-o", "out", "--check").code == 0
    changed = attnc("compile", spec, "-o", "out", "--check", "--set", "dim=32")
    assert changed.code == 1 and "out/model.py would change" in changed.err


def test_compile_keeps_edits_unless_told(attnc: Run, spec: Path) -> None:
    attnc("compile", spec, "-o", "out")
    model = Path("out/model.py")
    model.write_text(model.read_text() + "# edited\n")
    assert attnc("compile", spec, "-o", "out").code == 1
    assert model.read_text().endswith("# edited\n")
    assert attnc("compile", spec, "-o", "out", "--force").code == 0
    assert not model.read_text().endswith("# edited\n")


def test_compile_prints_the_model_and_the_graph_after_a_pass(attnc: Run, spec: Path) -> None:
    plain = attnc("compile", spec, "-o", "-")
    assert "class Small(nn.Module)" in plain.out and not Path("-").exists()
    printed = attnc("compile", spec, "-o", "-", "--print-after", "dead")
    assert printed.out.endswith(plain.out) and len(printed.out) > len(plain.out)
    assert attnc("compile", spec, "-o", "-", "--print-after", "daed").code == 2


def test_plan_says_which_and_why(attnc: Run, spec: Path) -> None:
    ran = attnc("plan", spec, "--size", "b=2", "--size", "n=64")
    assert ran.code == 0
    assert "target cpu, b = 2, n = 64" in ran.out and "chosen" in ran.out
    result = attnc("plan", spec, "--target", "cuda:90", "--json").json["result"]
    assert result["target"] == "cuda:90" and result["sites"][0]["verdicts"]
    assert attnc("plan", spec, "--target", "cuda:1").code == 2
