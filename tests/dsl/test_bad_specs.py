"""Every bad spec gives its exact messages: no traceback, no hang, no memory eaten.

A spec is a file of `bad_specs/`; a comment `# args: --set a=1` in its first line says how it is
used; the `.txt` beside it is what `attnc check` prints.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from attnc.cli.check import check
from attnc.dsl.diagnostics import AttncError
from attnc.dsl.render import render_text

HERE = Path(__file__).parent / "bad_specs"
SPECS = sorted(path.name for path in HERE.iterdir() if path.suffix in {".attn", ".yaml"})
SECONDS = 2
MEMORY = 1 << 30
"""Address space of a process that reads a bomb, in bytes."""


@pytest.mark.parametrize("name", SPECS)
def test_messages(
    name: str, monkeypatch: pytest.MonkeyPatch, golden: Callable[[Path | str, str], None]
) -> None:
    monkeypatch.chdir(HERE)
    variant, overrides = _arguments(name)
    with _time_limit(name):
        text = _messages(name, variant, overrides)
    assert "error[E" in text and "E690" not in text
    golden(HERE / f"{name}.txt", text)


def test_every_expectation_has_its_spec() -> None:
    expected = {path.name.removesuffix(".txt") for path in HERE.glob("*.txt")}
    assert expected == set(SPECS)


def _messages(name: str, variant: str | None, overrides: list[str]) -> str:
    try:
        outcome = check([name], variant, overrides)
    except AttncError as error:
        return render_text(error.diagnostics, dropped=error.dropped)
    return render_text(outcome.diagnostics, dropped=outcome.dropped)


def _arguments(name: str) -> tuple[str | None, list[str]]:
    first = (HERE / name).read_bytes().partition(b"\n")[0].decode("utf-8", "replace")
    _, found, text = first.partition("# args: ")
    words = shlex.split(text) if found else []
    given = dict(zip(words[::2], words[1::2], strict=True))
    return given.get("--variant"), [given["--set"]] if "--set" in given else []


@contextmanager
def _time_limit(name: str) -> Iterator[None]:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"{name} took more than {SECONDS} s of processor time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


# Bombs ------------------------------------------------------------------------------------


def _aliases() -> bytes:
    """Nine levels of nine references each: 9**9 nodes in 600 bytes."""
    lines = ["attnc: 1", "model: m", 'a0: &a0 ["x"]']
    for level in range(9):
        items = ", ".join([f"*a{level}"] * 9)
        lines.append(f"a{level + 1}: &a{level + 1} [{items}]")
    return "\n".join(lines).encode()


def _text(expression: str) -> bytes:
    return (
        f"attnc 1\nmodel m() {{\n  input x: [b, n, 8]\n  output y = {expression}\n}}\n"
    ).encode()


BOMBS: dict[str, tuple[str, bytes, str]] = {
    "ten megabytes": ("big.yaml", b"attnc: 1\n" + b"# padding\n" * 1_000_000, "E102"),
    "one long line": ("line.attn", b"x" * 10_000_000, "E102"),
    "deep lists": ("deep.yaml", b"attnc: 1\nmodel: " + b"[" * 10_000 + b"]" * 10_000, "E103"),
    "deep maps": ("maps.yaml", b"attnc: 1\nmodel: " + b"{a: " * 10_000 + b"}" * 10_000, "E103"),
    "deep parentheses": ("deep.attn", _text("(" * 10_000 + "x" + ")" * 10_000), "E103"),
    "deep unary": ("unary.attn", _text("-" * 10_000 + "x"), "E103"),
    "deep expression in YAML": (
        "expression.yaml",
        b"attnc: 1\nmodel: m\ninputs: {x: [b]}\noutputs: {y: '" + b"(" * 9_999 + b"x'}\n",
        "E103",
    ),
    "alias bomb": ("aliases.yaml", _aliases(), "E106"),
    "alias to itself": ("self.yaml", b"attnc: 1\nmodel: &m [*m]\n", "E104"),
    "not UTF-8": ("latin.yaml", b"attnc: 1\nmodel: caf\xe9\n", "E101"),
    "UTF-16": ("wide.attn", "attnc 1\nmodel m() {}\n".encode("utf-16"), "E101"),
    "null bytes": ("null.yaml", b"attnc: 1\nmodel: \x00\n", "error[E1"),
    "binary": ("binary.attn", bytes(range(256)) * 100, "E101"),
    "huge power": ("power.attn", _text("linear(x, 9 ** 9 ** 9 ** 9)"), "error[E2"),
    "huge power of sizes": ("dims.attn", _text("linear(x, (n + b + 1) ** 100000)"), "error[E2"),
    "tower of sizes": (
        "tower.attn",
        _text("linear(x, (((n + b + 1) ** 8) ** 8) ** 8)"),
        "error[E2",
    ),
    "high power of a size": ("high.attn", _text("linear(x, n ** 10000000)"), "error[E2"),
    "huge list": ("list.attn", _text("linear(x, ([0] * 1000000000000)[0])"), "error[E2"),
    "huge text": ("text.attn", _text('rearrange(x, "b " * 1000000000000)'), "error[E2"),
    "huge range": ("range.attn", _text("linear(x, sum(range(1000000000000)))"), "error[E2"),
    "huge number": ("number.attn", _text("linear(x, " + "9" * 100_000 + ")"), "error[E"),
    "long chain": ("chain.attn", _text(" + ".join(["x"] * 20_000)), "error[E"),
}


RUNNER = """\
import json, os, resource, sys
from attnc.cli.check import check
from attnc.cli.present import Style, present
from attnc.dsl import elaborate, text_reader, yaml_reader

memory, seconds = int(sys.argv[1]), int(sys.argv[2])
statuses = {}
for name in sys.argv[3:]:
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        os.dup2(os.open(name + ".err", os.O_WRONLY | os.O_CREAT), 2)
        os._exit(present("check", lambda: check([name]), Style()))
    statuses[name] = os.waitpid(child, 0)[1]
print(json.dumps(statuses))
"""
"""Checks each file in a child process of its own, with limits on memory and processor time."""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """For each bomb the exit code, below 0 for a signal, and what stderr got."""
    folder = tmp_path_factory.mktemp("bombs")
    for name, content, _ in BOMBS.values():
        (folder / name).write_bytes(content)
    names = [name for name, _, _ in BOMBS.values()]
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(MEMORY), str(SECONDS), *names],
        cwd=folder, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return {
        name: (os.waitstatus_to_exitcode(status), (folder / f"{name}.err").read_text())
        for name, status in json.loads(done.stdout).items()
    }


@pytest.mark.parametrize("what", BOMBS)
def test_bombs_are_refused_within_time_and_memory(
    what: str, refusals: dict[str, tuple[int, str]]
) -> None:
    name, _, code = BOMBS[what]
    exit_code, errors = refusals[name]
    assert exit_code in {1, 3}, errors[-2000:]
    assert code in errors
    assert "Traceback" not in errors and "E690" not in errors
    assert len(errors) < 20_000
