"""Writing a safetensors file tensor by tensor; it appears when it is complete."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from attnc.compiler.safetensors_header import BYTES
from attnc.dsl import codes
from attnc.dsl.diagnostics import EnvironmentLacks


@dataclass(frozen=True, slots=True)
class Planned:
    """A tensor to come: its dtype as the format calls it, and its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


def write(
    path: Path,
    records: Iterable[Planned],
    tensors: Iterable[tuple[str, Tensor]],
    metadata: Mapping[str, str],
) -> None:
    """Write tensors that come in the order of `records`.

    An older file at `path` stays whole until the new one is complete, and wherever writing fails.

    Raises:
        EnvironmentLacks: the file cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            part = Path(folder, path.name)
            with part.open("wb") as file:
                _write_all(file, records, tensors, metadata)
            part.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise EnvironmentLacks([codes.UNWRITABLE.at(None, name=path, reason=reason)]) from None


def tensor_bytes(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor on the CPU, in row-major order."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def _write_all(
    file: BinaryIO,
    records: Iterable[Planned],
    tensors: Iterable[tuple[str, Tensor]],
    metadata: Mapping[str, str],
) -> None:
    file.write(_header(records, metadata))
    for _, tensor in tensors:
        file.write(tensor_bytes(tensor))
    file.flush()
    os.fsync(file.fileno())


def _header(records: Iterable[Planned], metadata: Mapping[str, str]) -> bytes:
    fields: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for record in records:
        end = at + prod(record.shape) * BYTES[record.dtype]
        fields[record.name] = {
            "dtype": record.dtype, "shape": list(record.shape), "data_offsets": [at, end],
        }  # fmt: skip
        at = end
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # so that the data are aligned
    return len(text).to_bytes(8, "little") + text
