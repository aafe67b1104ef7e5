"""Choosing tiles: what is tried, what is taken, what is written. Nothing is measured here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from attnc.backends.triton import cards, tuning
from attnc.backends.triton.cards import Row
from attnc.backends.triton.configs import CAPABILITIES
from attnc.backends.triton.crosscompile import Resources
from attnc.backends.triton.tuning import Choice, Subject, changed, choices, module_with, subjects
from attnc.cli.app import app
from attnc.compiler.targets import parse_target
from attnc.dsl.diagnostics import EnvironmentLacks

CARD = "cuda:90"


def subject(name: str) -> Subject:
    (found,) = subjects(CARD, name)
    return found


@pytest.mark.parametrize("card", CAPABILITIES)
def test_every_row_of_every_card_can_be_tuned(card: str) -> None:
    found = subjects(card)
    assert [each.place for each in found] == [*cards.read(card)]
    assert all(next(each.tried()) == each.row for each in found)


def test_neighbours_change_two_numbers_at_most_and_stay_in_bounds() -> None:
    first, *others = subject("pairs.64.forward.any").tried()
    assert first == (128, 64, 8, 3)
    assert len({*others}) == len(others) > 10
    for row in others:
        assert 1 <= sum(a != b for a, b in zip(row, first, strict=True)) <= 2
        assert all(16 <= rows <= 128 for rows in row[:2])
        assert row[2] in (4, 8) and 1 <= row[3] <= 4


@pytest.mark.parametrize(
    ("name", "row", "tile"),
    [
        ("pairs.64.keys.any", (32, 64, 4, 1), (32, 64, 4, 1)),
        ("resident.64.32.gradients", (16, 8, 1), (16, 32, 8, 1)),
        ("linear.64.chunks", (16, 32, 4, 1), (16, 32, 4, 1)),
        ("linear.64.rows", (16, 32, 4, 1), (16, 32, 4, 1)),
        ("gathered.64.keys", (16, 2, 4, 1), (16, 2, 4, 1)),
    ],
)
def test_kernels_are_made_with_the_tile_that_is_tried(
    name: str, row: Row, tile: tuple[int, ...]
) -> None:
    found, target = subject(name), parse_target(CARD)
    tables = vars(module_with(found, row, target))["attend_tiles"]
    assert tables[found.kind][CAPABILITIES[CARD]] == {None: tile}
    again = vars(module_with(found, found.row, target))["attend_tiles"]
    assert again[found.kind][CAPABILITIES[CARD]] == {None: found.tile(found.row)}


# Choosing ---------------------------------------------------------------------------------


def chosen(times: Mapping[Row, float]) -> Row:
    found = subject("pairs.64.forward.any")
    (choice,) = choices(
        [found],
        lambda each, row: row in times or row == found.row,
        lambda each, row: times.get(row, 10.0),
    )
    return choice.row


def test_the_quickest_that_fits_is_taken() -> None:
    assert chosen({(64, 64, 8, 3): 8.0, (128, 32, 8, 3): 7.0}) == (128, 32, 8, 3)


def test_what_is_hardly_quicker_changes_nothing() -> None:
    assert chosen({(64, 64, 8, 3): 9.8}) == (128, 64, 8, 3)
    assert chosen({(64, 64, 8, 3): 9.6}) == (64, 64, 8, 3)


def test_a_shipped_row_without_room_gives_way() -> None:
    found = subject("pairs.64.forward.any")
    (choice,) = choices([found], lambda each, row: row == (64, 64, 8, 3), lambda each, row: 20.0)
    assert choice.row == (64, 64, 8, 3)
    assert [*choices([found], lambda each, row: False, lambda each, row: 1.0)] == []


def test_only_chosen_rows_change_in_the_file(tmp_path: Path) -> None:
    found = subject("pairs.64.forward.any")
    made = [Choice(found, {found.row: 10.0, (64, 64, 8, 3): 5.0})]
    before = cards.file_of(CARD).read_text().splitlines()
    path = cards.write(CARD, changed(CARD, made), tmp_path)
    first = path.read_bytes()
    after = first.decode().splitlines()
    differing = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert differing == [("any = [128, 64, 8, 3]", "any = [64, 64, 8, 3]")]
    assert cards.write(CARD, changed(CARD, made), tmp_path).read_bytes() == first


# The command ------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to measure on")
def test_without_a_gpu_it_says_what_to_do() -> None:
    done = CliRunner().invoke(app, ["tune"])
    assert done.exit_code == 3
    assert "error[E630]" in done.output and "--dry-run" in done.output


def test_a_card_without_tiles_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    card = SimpleNamespace(major=7, minor=5)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    with pytest.raises(EnvironmentLacks, match="E631: no tiles are shipped for cuda:75"):
        tuning.card_here()


def on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be a card that has room for tiles of 64 rows at most; one of them is quickest."""
    monkeypatch.setattr(tuning, "card_here", lambda: CARD)
    monkeypatch.setattr(tuning, "resources", taken)
    monkeypatch.setattr(tuning, "measured", lambda target: clock)


def clock(each: Subject, row: Row) -> float:
    return 5.0 if row == (64, 64, 8, 3) else 10.0


def taken(each: Subject, row: Row, target: object) -> dict[str, Resources]:
    return {"attend_forward": Resources(200, 8 if row[0] > 64 else 0, 1024 * row[0], 16, 2)}


def test_it_writes_what_it_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_this_machine(monkeypatch)
    arguments = ["tune", "--only", "pairs.64.forward.any", "-o", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "pairs.64.forward.any  [128, 64, 8, 3]  [64, 64, 8, 3]" in done.output
    assert "any = [64, 64, 8, 3]" in (tmp_path / "cuda_90.toml").read_text()


def test_a_dry_run_lists_what_would_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    on_this_machine(monkeypatch)
    arguments = ["tune", "--target", CARD, "--only", "pairs.64.forward.any", "--dry-run", "--json"]
    rows = json.loads(CliRunner().invoke(app, arguments).output)["result"]
    assert [row["tile"] for row in rows] == [
        str([*row]) for row in subject("pairs.64.forward.any").tried()
    ]
    assert {row["wrong"] for row in rows} == {"", "attend_forward: 8 spill instructions"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "cuda:80"], "--target: tiles of cuda:80 are measured on it; this is cuda:90"),
        (["--only", "pears"], "--only: no row of cuda:90 matches 'pears'"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_this_machine(monkeypatch)
    done = CliRunner().invoke(app, ["tune", *arguments])
    assert done.exit_code == 2
    assert message in done.output
