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


def test_the_first_samples_may_be_kept_alone(tmp_path: Path) -> None:
    full, folder = tmp_path / "tiny.safetensors", tmp_path / "parity"
    folder.mkdir()
    save_file({name: torch.arange(4.0) for name in ("w.a", "in.x", "out.y")}, full)
    with safe_open(slim(full, folder, samples=1), "pt") as file:
        sizes = {name: file.get_tensor(name).tolist() for name in ("w.a", "in.x", "out.y")}
    assert sizes == {"w.a": [0.0, 1.0, 2.0, 3.0], "in.x": [0.0], "out.y": [0.0]}
