"""A small spec, and a way to run the command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from attnc.cli.app import app

SPEC = """\
attnc 1
model small(dim: int = 16 {min: 4}, depth = 2, heads = 2) {
  variant wide {
    dim = 32
  }

  input x: [b, n, dim]

  repeat depth as i {
    x += self_attention(layer_norm(x) @norm, heads=heads) @attn
  }

  output y = linear(x, 10) @head
}
"""


class Ran:
    """What a run of the command line gave."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def attnc(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `attnc` with arguments: `attnc("check", path, stdin="...")`."""
    for name in ("NO_COLOR", "FORCE_COLOR", "ATTNC_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object, stdin: str | None = None) -> Ran:
        result = CliRunner().invoke(app, [str(each) for each in arguments], input=stdin)
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small spec in an own folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("small.attn").write_text(SPEC)
    return Path("small.attn")
