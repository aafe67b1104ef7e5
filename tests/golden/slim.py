"""Make the golden file of a zoo system from a full one: what lies inside the model is left out.

    python -m tests.golden.slim [--samples COUNT] FULL.safetensors [MORE...]

writes tests/golden/parity/FULL.safetensors, with the weights, inputs, outputs and configuration; of
inputs and outputs, where their first axis is the batch, with the first samples only.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from attnc.compiler.golden import WEIGHTS

PARITY = Path(__file__).parent / "parity"

INSIDE = "mid."
"""What the names of tensors inside a model begin with."""


def slim(full: Path, folder: Path = PARITY, samples: int | None = None) -> Path:
    """Write the file without its inner tensors into `folder`; return where.

    Args:
        samples: how many of each input and output are kept, for tests that would be slow; all
            where it is none.
    """
    with safe_open(full, "pt") as file:
        names = [name for name in file.keys() if not name.startswith(INSIDE)]  # noqa: SIM118
        kept = {name: _first(name, file.get_tensor(name), samples) for name in names}
        metadata = file.metadata()
    target = folder / full.name
    save_file(kept, target, metadata)
    return target


def _first(name: str, tensor: Tensor, samples: int | None) -> Tensor:
    return tensor if name.startswith(WEIGHTS) else tensor[:samples].contiguous()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int)
    parser.add_argument("full", type=Path, nargs="+")
    given = parser.parse_args()
    for each in given.full:
        written = slim(each, samples=given.samples)
        print(f"wrote {written}: {written.stat().st_size:,} bytes")
