"""Make the golden file of a zoo system from a full one: what lies inside the model is left out.

    python -m tests.golden.slim FULL.safetensors [MORE...]

writes tests/golden/parity/FULL.safetensors, with the weights, inputs, outputs and configuration.
"""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

PARITY = Path(__file__).parent / "parity"

INSIDE = "mid."
"""What the names of tensors inside a model begin with."""


def slim(full: Path, folder: Path = PARITY) -> Path:
    """Write the file without its inner tensors into `folder`; return where."""
    with safe_open(full, "pt") as file:
        names = [name for name in file.keys() if not name.startswith(INSIDE)]  # noqa: SIM118
        kept = {name: file.get_tensor(name) for name in names}
        metadata = file.metadata()
    target = folder / full.name
    save_file(kept, target, metadata)
    return target


if __name__ == "__main__":
    for each in sys.argv[1:]:
        written = slim(Path(each))
        print(f"wrote {written}: {written.stat().st_size:,} bytes")
