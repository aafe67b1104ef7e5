"""The tool that makes the golden files of the repository from full ones."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.golden.slim import slim


def test_inner_tensors_are_left_out(tmp_path: Path) -> None:
    full, folder = tmp_path / "tiny.safetensors", tmp_path / "parity"
    folder.mkdir()
    names = ("w.mid.weight", "in.x", "mid.block0", "out.y", "out_case.y")
    save_file({name: torch.arange(4.0) for name in names}, full, {"config": "{}"})
    with safe_open(slim(full, folder), "pt") as file:
        assert sorted(file.keys()) == sorted(set(names) - {"mid.block0"})
        assert file.metadata() == {"config": "{}"}
        assert torch.equal(file.get_tensor("in.x"), torch.arange(4.0))
    assert [path.name for path in folder.iterdir()] == ["tiny.safetensors"]
