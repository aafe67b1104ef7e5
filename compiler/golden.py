"""Golden files: a model's weights, inputs and outputs, as its official code gave them.

Tensors: `w.<official name>`, `in.*`, `mid.*`, `out.*` and further groups `out_<case>.*`.
Metadata: `config` (JSON), `slug`, `repository`, `commit`, `dtype`, `notes`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from attnc.compiler.safetensors_header import Header, read_header
from attnc.dsl import codes
from attnc.dsl.diagnostics import SpecError
from attnc.dsl.suggest import did_you_mean

WEIGHTS = "w."
"""Stands before the official names of the weights."""

INPUTS = "in."
"""Stands before the names of the inputs."""


@dataclass(frozen=True, slots=True)
class Golden:
    """An opened golden file.

    Attributes:
        config: the official configuration that it was made with.
    """

    header: Header
    config: Mapping[str, object]

    @classmethod
    def open(cls, path: Path) -> Golden:
        """Read the header of a golden file.

        Raises:
            EnvironmentLacks: the file cannot be read.
            SpecError: it is damaged, or holds no configuration.
        """
        header = read_header(path)
        try:
            config = json.loads(header.metadata.get("config", ""))
        except ValueError:
            config = None
        if not isinstance(config, dict):
            detail = "its metadata holds no `config` that is a JSON map"
            raise SpecError([codes.GOLDEN.at(None, name=path, detail=detail)])
        return cls(header, config)

    @property
    def names(self) -> tuple[str, ...]:
        """All names but those of weights, in order of the alphabet."""
        entries = self.header.entries
        return tuple(sorted(name for name in entries if not name.startswith(WEIGHTS)))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of all outputs, in order of the alphabet."""
        return tuple(name for name in self.names if _is_output(name))

    @property
    def facts(self) -> Mapping[str, object]:
        """What the expressions of `parity` may use: `config`, and the `shapes` of the inputs."""
        shapes = {
            name.removeprefix(INPUTS): list(entry.shape)
            for name, entry in self.header.entries.items()
            if name.startswith(INPUTS)
        }
        return {"config": self.config, "shapes": shapes}

    def tensor(self, name: str) -> Tensor:
        """Read one tensor.

        Raises:
            SpecError: there is no such one.
        """
        if name not in self.header.entries:
            hint = did_you_mean(name, self.names)
            problem = codes.GOLDEN.at(
                None, name=self.header.path, detail=f"it has no {name!r}", hint=hint
            )
            raise SpecError([problem])
        with safe_open(self.header.path, "pt") as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor


def _is_output(name: str) -> bool:
    group = name.partition(".")[0]
    return group == "out" or group.startswith("out_")
