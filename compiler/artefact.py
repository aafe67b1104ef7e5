"""The artefact: the files of a compiled model, written all or none, and imported from memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Artefact:
    """The files of a package by name: `model.py`, `kernels.py`, `manifest.json` ...

    Attributes:
        model: the name of the model's class.
    """

    model: str
    files: Mapping[str, str]
