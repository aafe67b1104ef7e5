"""Files are read as UTF-8, within a limit, and never with a traceback."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest

from attnc.dsl.diagnostics import Collector
from attnc.dsl.files import LARGEST, read_source
from attnc.dsl.spans import Source


def read(path: Path | str) -> tuple[Source | None, list[str]]:
    collector = Collector()
    source = read_source(path, collector)
    return source, [f"{each.code} {each.message}" for each in collector.found]


def test_a_file_is_read_under_the_name_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "x.attn"
    path.write_text("attnc 1 # é\n", encoding="utf-8")
    source, found = read(path)
    assert source is not None
    assert (source.name, source.text, found) == (str(path), "attnc 1 # é\n", [])


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfattnc: 1\n")
    source, _ = read(path)
    assert source is not None
    assert source.text == "attnc: 1\n"


def test_stdin_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b"attnc: 1\n"))
    monkeypatch.setattr("sys.stdin", stdin)
    source, _ = read("-")
    assert source is not None
    assert (source.name, source.text) == ("<stdin>", "attnc: 1\n")


def test_an_absent_file_is_reported() -> None:
    assert read("nowhere/x.yaml") == (
        None, ["E100 cannot read nowhere/x.yaml: no such file or directory"],
    )  # fmt: skip


def test_a_folder_and_an_impossible_name_are_reported(tmp_path: Path) -> None:
    assert read(tmp_path) == (None, [f"E100 cannot read {tmp_path}: is a directory"])
    source, found = read("x\0y")
    assert source is None
    assert found[0].startswith("E100 cannot read")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs an endless file")
def test_an_endless_file_is_refused_at_once() -> None:
    began = time.process_time()
    source, found = read("/dev/zero")
    assert source is None
    assert found[0].startswith("E102")
    assert time.process_time() - began < 0.5


def test_bytes_that_are_no_utf8_are_pointed_at(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"attnc: 1\nmodel: \xff\n")
    assert read(path)[1] == [f"E101 {path} is not UTF-8 text: byte 0xff at offset 16"]
    path.write_bytes(b"\xef\xbb\xbfmodel: \xe9\n")
    assert read(path)[1] == [f"E101 {path} is not UTF-8 text: byte 0xe9 at offset 10"]


def test_a_large_file_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    with path.open("wb") as file:
        os.truncate(file.fileno(), 10**10)
    began = time.process_time()
    source, found = read(path)
    assert source is None
    assert found == [f"E102 {path} has {10**10} bytes; a spec may have {LARGEST}"]
    assert time.process_time() - began < 0.5


def test_the_largest_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"#" * LARGEST)
    source, found = read(path)
    assert source is not None
    assert found == []
