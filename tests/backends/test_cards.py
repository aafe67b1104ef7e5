"""Tiles as data: files that say what they said when they are written again."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnc.backends.triton import cards
from attnc.backends.triton.configs import CAPABILITIES
from attnc.dsl.diagnostics import EnvironmentLacks

CARDS = (*CAPABILITIES, cards.SAFE)


@pytest.mark.parametrize("card", CARDS)
def test_a_file_is_written_as_it_is_shipped(card: str, tmp_path: Path) -> None:
    shipped = cards.file_of(card).read_bytes()
    assert cards.write(card, cards.read(card), tmp_path).read_bytes() == shipped


def test_there_is_a_file_for_every_card() -> None:
    shipped = {path.stem for path in cards.FOLDER.glob("*.toml")}
    assert shipped == {card.replace(":", "_") for card in CARDS}


def test_rows_of_a_template_have_the_rest_of_their_names() -> None:
    found = cards.rows("cuda:90", "resident")
    assert found["64", "32", "forward"] == cards.read("cuda:90")["resident", "64", "32", "forward"]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacks, match="E507"):
        cards.write("cuda:90", {}, tmp_path / "not there")
