"""The parser's tables are kept between processes, and never trusted beyond their grammar."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from attnc.dsl import grammar


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    grammar.parser.cache_clear()
    yield tmp_path / "attnc"
    grammar.parser.cache_clear()


def test_tables_are_kept(folder: Path) -> None:
    first = grammar.parser()
    kept = (folder / "grammar.tables").read_bytes()
    grammar.parser.cache_clear()
    again = grammar.parser()
    assert [term.name for term in again.terminals] == [term.name for term in first.terminals]
    assert (folder / "grammar.tables").read_bytes() == kept


def test_tables_of_something_else_are_built_anew(folder: Path) -> None:
    folder.mkdir()
    (folder / "grammar.tables").write_bytes(b"not these\n")
    assert grammar.parser().terminals
    assert (folder / "grammar.tables").stat().st_size > 1000


def test_a_cache_is_not_needed(folder: Path) -> None:
    folder.write_text("a file where the folder would be")
    assert grammar.parser().terminals
