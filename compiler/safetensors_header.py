"""The header of a safetensors file, read and checked without reading a tensor.

A file is: 8 bytes, the length of the header, little-endian; the header, JSON; the data. The
header gives for each tensor `dtype`, `shape` and `data_offsets` [begin, end) in the data, which
the tensors fill without gap or overlap.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from attnc.dsl import codes
from attnc.dsl.diagnostics import Diagnostic, EnvironmentLacks, SpecError

LIMIT = 100_000_000
"""Bytes that a header may have, as in the reference implementation."""

BYTES: Mapping[str, int] = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I16": 2, "U16": 2,
    "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
"""dtype -> bytes of one element."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor: its name in the file, and the bytes `begin` up to `end` of the data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """What a file holds.

    Attributes:
        entries: in the order of the data.
        metadata: free texts.
        data: where the data begins in the file.
    """

    path: Path
    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    data: int

    def below(self, prefix: str) -> dict[str, Entry]:
        """Return the entries whose names begin with `prefix`, by the rest of their names."""
        return {
            name.removeprefix(prefix): entry
            for name, entry in self.entries.items()
            if name.startswith(prefix)
        }


def read_header(path: Path) -> Header:
    """Read and check the header of a file.

    Raises:
        EnvironmentLacks: the file cannot be read.
        SpecError: it is no safetensors file, or a damaged one.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, LIMIT):
                raise SpecError([_bad_length(path, size, length)])
            text = file.read(length)
    except OSError as error:
        reason = error.strerror or str(error)
        raise EnvironmentLacks([codes.UNREADABLE.at(None, name=path, reason=reason)]) from None
    records = _parsed(path, text)
    metadata = _metadata(path, records.pop("__metadata__", {}))
    entries = [_entry(path, name, record) for name, record in records.items()]
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    _check_layout(path, entries, size - 8 - length)
    return Header(path, {entry.name: entry for entry in entries}, metadata, 8 + length)


def _bad_length(path: Path, size: int, length: int) -> Diagnostic:
    if size < 8:
        return codes.NOT_SAFETENSORS.at(None, name=path, detail=f"it has {size} bytes")
    if length > LIMIT:
        detail = f"its header would have {length} bytes, more than {LIMIT}"
        return codes.NOT_SAFETENSORS.at(None, name=path, detail=detail)
    detail = f"its header has {length} bytes, the file {size}"
    return codes.TRUNCATED.at(None, name=path, detail=detail)


def _parsed(path: Path, text: bytes) -> dict[str, object]:
    try:
        records = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        detail = f"its header is not JSON: {error}"
        raise SpecError([codes.NOT_SAFETENSORS.at(None, name=path, detail=detail)]) from None
    if not isinstance(records, dict):
        detail = "its header is no map"
        raise SpecError([codes.NOT_SAFETENSORS.at(None, name=path, detail=detail)])
    return records


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands in it twice")
    return found


def _metadata(path: Path, record: object) -> dict[str, str]:
    if isinstance(record, dict) and all(isinstance(value, str) for value in record.values()):
        return {str(key): str(value) for key, value in record.items()}
    detail = "its metadata is no map of texts"
    raise SpecError([codes.NOT_SAFETENSORS.at(None, name=path, detail=detail)])


def _entry(path: Path, name: str, record: object) -> Entry:
    fields = record if isinstance(record, dict) else {}
    dtype = fields.get("dtype")
    shape, offsets = _numbers(fields.get("shape")), _numbers(fields.get("data_offsets"))
    if shape is None or offsets is None or len(offsets) != 2 or not isinstance(dtype, str):
        raise SpecError([_wrong(path, name, "lacks a proper dtype, shape or data_offsets")])
    if dtype not in BYTES:
        raise SpecError([_wrong(path, name, f"has dtype {dtype!r}, which is not known")])
    needed, held = prod(shape) * BYTES[dtype], offsets[1] - offsets[0]
    if needed != held:
        detail = f"needs {needed} bytes for {dtype} {list(shape)}, but holds {held}"
        raise SpecError([_wrong(path, name, detail)])
    return Entry(name, dtype, shape, *offsets)


def _numbers(record: object) -> tuple[int, ...] | None:
    if isinstance(record, list) and all(type(item) is int and item >= 0 for item in record):
        return tuple(record)
    return None


def _check_layout(path: Path, entries: list[Entry], held: int) -> None:
    at = 0
    for entry in entries:
        if entry.begin != at:
            how = "overlaps the one before it" if entry.begin < at else "leaves a gap before it"
            detail = f"begins at byte {entry.begin} and {how}, which ends at {at}"
            raise SpecError([_wrong(path, entry.name, detail)])
        at = entry.end
    if at > held:
        detail = f"its tensors need {at} bytes, it has {held}"
        raise SpecError([codes.TRUNCATED.at(None, name=path, detail=detail)])
    if at < held:
        detail = f"{held - at} bytes follow its last tensor"
        raise SpecError([codes.NOT_SAFETENSORS.at(None, name=path, detail=detail)])


def _wrong(path: Path, name: str, detail: str) -> Diagnostic:
    return codes.TENSOR_RECORD.at(None, name=path, tensor=name, detail=detail)
