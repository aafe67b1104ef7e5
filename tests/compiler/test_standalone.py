"""The artefact in an environment that has torch and not attnc: it runs, trains and exports."""

from __future__ import annotations

import subprocess
import sysconfig
import venv
from pathlib import Path

import attnc

PROGRAM = """
import importlib.util, sys
assert importlib.util.find_spec("attnc") is None, "attnc is here"
import torch
from model import Vit
from model.model import Encoder

torch.manual_seed(0)
model = Vit()
images = torch.randn(2, 1, 8, 8)
loss = model(images).square().mean()
loss.backward()
assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
model.eval()
program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("b", min=2)},))
torch.export.save(program, "model.pt2")
loaded = torch.export.load("model.pt2").module()
more = torch.randn(5, 1, 8, 8)
assert torch.allclose(loaded(more), model(more), atol=1e-6)
assert not any(name.split(".")[0] == "attnc" for name in sys.modules)
print(sorted(model.state_dict())[0])
"""
SMALL = {"size": 8, "patch": 2, "dim": 16, "depth": 2, "heads": 2, "channels": 1, "classes": 3}


def test_the_artefact_needs_torch_alone(tmp_path: Path) -> None:
    attnc.emit("zoo:vit", tmp_path / "model", overrides=SMALL)
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    # A path file lends torch; that of the editable install of attnc is not read.
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    done = subprocess.run(
        [str(tmp_path / "venv" / "bin" / "python"), "-c", PROGRAM],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "blocks.0.attn.proj.bias"
