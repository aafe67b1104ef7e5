"""Diagnostics as people and programs read them: exact texts."""

from __future__ import annotations

import json
from textwrap import dedent

import pytest

from attnc.dsl import codes
from attnc.dsl.diagnostics import Diagnostic, Note
from attnc.dsl.excerpt import COLUMNS, columns, excerpt, printable
from attnc.dsl.render import render_github, render_json, render_text
from attnc.dsl.sarif import render_sarif
from attnc.dsl.spans import Source, Span

SPEC = Source(
    "mynet.yaml",
    "attnc: 1\ninputs: {x: [b, n, 512]}\ngraph:\n  - attn: routed(q: x, kv: pyramid, topk: 16)\n",
)


def span(text: str, source: Source = SPEC) -> Span:
    start = source.text.index(text)
    return Span(source, start, start + len(text))


def undefined(source: Source, text: str) -> Diagnostic:
    return codes.UNDEFINED.at(span(text, source), name=text)


CONFLICT = codes.SHAPE.at(
    span("kv: pyramid"),
    label="width 384",
    notes=[Note("q: [b, n, 512] bound d=512 here", span("x: [b, n, 512]")), Note("no place")],
    hint="give `pyramid` a projection\nor choose another stream",
    what="kv of routed", expected="[b, m, 512]", found="[b, 49, 384]",
)  # fmt: skip


def test_text_shows_caret_label_notes_help_and_count() -> None:
    assert render_text([CONFLICT]) == dedent("""\
        mynet.yaml:4:24: error[E203]: kv of routed: expected [b, m, 512], got [b, 49, 384]
            4 |   - attn: routed(q: x, kv: pyramid, topk: 16)
              |                        ^^^^^^^^^^^ width 384
              = note: q: [b, n, 512] bound d=512 here (mynet.yaml:2:10)
            2 | inputs: {x: [b, n, 512]}
              |          --------------
              = note: no place
              = help: give `pyramid` a projection
                      or choose another stream
        1 error
        """)


def test_text_is_sorted_by_file_and_place_and_counts_what_was_dropped() -> None:
    other = Source("a.yaml", "model: y\n")
    setting = codes.BAD_SET.at(None, text="d=", detail="no value")
    found = [undefined(SPEC, "topk"), CONFLICT, undefined(other, "y"), setting]
    lines = render_text(found, dropped=7).splitlines()
    heads = [line.split(" error")[0] for line in lines if "error[" in line]
    assert heads[0] == "error[E208]: --set 'd=': no value"
    assert heads[1:] == ["a.yaml:1:8:", "mynet.yaml:4:24:", "mynet.yaml:4:37:"]
    assert lines[-1] == "4 errors, 7 more not shown"


def test_nothing_found_renders_as_nothing() -> None:
    assert render_text([]) == ""
    assert render_github([]) == ""


def test_color_adds_escape_sequences_and_nothing_else() -> None:
    import re

    painted = render_text([CONFLICT], color=True)
    assert "\x1b[1;31m^^^^^^^^^^^ width 384\x1b[0m" in painted
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == render_text([CONFLICT])
    assert "\x1b" not in render_text([CONFLICT])


def test_wide_and_combining_characters_keep_the_caret_in_place() -> None:
    source = Source("w.attn", "注意 = e\u0301 + 力\n")
    assert render_text([undefined(source, "力")]) == dedent("""\
        w.attn:1:11: error[E201]: '力' is not defined here
            1 | 注意 = e\u0301 + 力
              |            ^^
        1 error
        """)


def test_tabs_are_four_columns_in_the_excerpt_and_one_in_the_position() -> None:
    source = Source("t.attn", "\tx =\ty\n")
    assert render_text([undefined(source, "y")]) == dedent("""\
        t.attn:1:6: error[E201]: 'y' is not defined here
            1 |     x =    y
              |            ^
        1 error
        """)


def test_control_and_bidirectional_characters_are_escaped_everywhere() -> None:
    source = Source("\x1b]evil.attn", "a\x07 \u202e b\u200d bad\n")
    shown = render_text([codes.UNDEFINED.at(span("bad", source), name="x", label="\x1b[2J\n!")])
    assert shown == dedent("""\
        \\x1b]evil.attn:1:9: error[E201]: 'x' is not defined here
            1 | a\\x07 \\u202e b\\u200d bad
              |                      ^^^ \\x1b[2J !
        1 error
        """)


@pytest.mark.parametrize("before", [0, 10, 500, 100_000])
@pytest.mark.parametrize("after", [0, 10, 500, 100_000])
def test_long_lines_are_clipped_around_the_caret(before: int, after: int) -> None:
    source = Source("l.attn", "x" * before + "HERE" + "力" * after)
    shown = excerpt(span("HERE", source))
    assert columns(shown.text) <= COLUMNS
    assert shown.text[shown.indent : shown.indent + shown.width] == "HERE"
    assert shown.text.startswith("…") == (before == 500 or before == 100_000)
    assert shown.text.endswith("…") == (after >= 500)


def test_a_span_longer_than_the_line_shown_is_marked_as_far_as_it_shows() -> None:
    source = Source("l.attn", "ab" * 400)
    shown = excerpt(Span(source, 0, 800))
    assert (shown.indent, shown.width) == (0, COLUMNS - 2)


def test_a_span_over_several_lines_marks_the_first() -> None:
    source = Source("m.attn", "f(a,\n  b)\r\nc")
    assert excerpt(Span(source, 0, 9)).width == len("f(a,")
    assert excerpt(Span(source, 7, 9)).text == "  b)"


def test_a_span_at_the_end_of_the_text_has_a_caret() -> None:
    source = Source("e.attn", "x = ")
    shown = excerpt(Span(source, 4, 4))
    assert (shown.text, shown.indent, shown.width) == ("x = ", 4, 1)
    assert excerpt(Span(Source("none", ""), 0, 0)).width == 1


def test_line_numbers_beyond_the_gutter_widen_it() -> None:
    source = Source("n.attn", "\n" * 1_234_566 + "bad")
    assert "\n1234567 | bad\n        | ^^^\n" in render_text([undefined(source, "bad")])


def test_printable_leaves_spaces_and_letters_of_all_scripts() -> None:
    assert printable("dé 注 \u00a0ж") == "dé 注 \u00a0ж"
    assert printable("\ufeff\ud800\u2028") == "\\ufeff\\ud800\\u2028"


def test_json_has_one_object_with_ranges_in_code_points() -> None:
    answer = json.loads(render_json([CONFLICT], "check", ok=False))
    assert set(answer) == {"version", "command", "ok", "diagnostics", "result"}
    (found,) = answer["diagnostics"]
    assert found["range"] == {
        "start": {"line": 4, "column": 24},
        "end": {"line": 4, "column": 35},
    }
    assert (found["code"], found["severity"], found["file"]) == ("E203", "error", "mynet.yaml")
    assert found["notes"][1] == {"message": "no place", "file": None, "range": None}


def test_github_annotations_escape_what_the_runner_would_read() -> None:
    source = Source("a,b:c.yaml", "x\n")
    found = codes.UNDEFINED.at(span("x", source), name="100%", hint="one\ntwo")
    assert render_github([found]) == (
        "::error file=a%2Cb%3Ac.yaml,line=1,col=1,endLine=1,endColumn=2,title=E201"
        "::'100%25' is not defined here%0Ahelp: one%0Atwo\n"
    )


def test_sarif_names_rule_and_region_of_each_result() -> None:
    log = json.loads(render_sarif([CONFLICT, codes.BAD_SET.at(None, text="d", detail="odd")]))
    (run,) = log["runs"]
    assert (log["version"], run["columnKind"]) == ("2.1.0", "unicodeCodePoints")
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["E203", "E208"]
    setting, conflict = run["results"]
    assert setting["locations"] == []
    place = conflict["locations"][0]["physicalLocation"]
    assert place["region"] == {"startLine": 4, "startColumn": 24, "endLine": 4, "endColumn": 35}
    assert len(conflict["relatedLocations"]) == 1


def test_a_monstrous_message_is_cut() -> None:
    shown = render_text([codes.UNDEFINED.at(None, name="x" * 100_000)])
    assert len(shown) < 1000 and "x…" in shown
