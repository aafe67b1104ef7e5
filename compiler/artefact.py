"""The artefact: the files of a compiled model, written all or none, or imported from memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from attnc.compiler.memory import import_package
from attnc.dsl import codes
from attnc.dsl.diagnostics import Diagnostic, EnvironmentLacks, SpecError
from types import ModuleType

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Artefact:
    """The files of a package by name: `model.py`, `kernels.py`, `manifest.json` ...

    Attributes:
        model: the name of the model's class.
    """

    model: str
    files: Mapping[str, str]


def load_module(artefact: Artefact) -> ModuleType:
    """Import the package from memory; the same artefact gives the same module.

    Tracebacks and `inspect.getsource` show its code.
    """
    return import_package(artefact.model.lower(), artefact.files)


def differing(artefact: Artefact, directory: Path) -> tuple[str, ...]:
    """Return the names of files that `write` would change."""
    found = {name: _hash_of(directory / name) for name in artefact.files}
    return tuple(name for name, text in artefact.files.items() if found[name] != _hash(text))


def write(artefact: Artefact, directory: Path, force: bool = False) -> None:
    """Write the package: all files or none. Other files of the directory stay.

    Args:
        force: write over files that were edited, or that attnc did not write.

    Raises:
        SpecError: there are such files (E620, E621).
        EnvironmentLacks: the directory cannot be written (E507).
    """
    earlier = _manifest(directory)
    found = [] if force else list(_obstacles(artefact, directory, earlier))
    if found:
        raise SpecError(found)
    gone = [name for name in earlier if name not in artefact.files]
    try:
        if directory.exists():
            _update(artefact, directory, gone)
        else:
            _create(artefact, directory)
    except OSError as wrong:
        name, reason = wrong.filename or str(directory), wrong.strerror or str(wrong)
        raise EnvironmentLacks([codes.UNWRITABLE.at(None, name=name, reason=reason)]) from None


def _obstacles(
    artefact: Artefact, directory: Path, earlier: Mapping[str, str]
) -> Iterator[Diagnostic]:
    """Yield a finding for each file that `write` must not touch."""
    for name in dict.fromkeys([*artefact.files, *earlier]):
        path = directory / name
        if not os.path.lexists(path) or _hash_of(path) == _hash(artefact.files.get(name, "")):
            continue
        if name == MANIFEST and earlier:
            continue
        if name not in earlier:
            yield codes.FOREIGN.at(None, name=path)
        elif _hash_of(path) != earlier[name]:
            yield codes.EDITED.at(None, name=path)


def _manifest(directory: Path) -> Mapping[str, str]:
    """Return the hashes that the manifest in a directory has; none where there is no manifest."""
    try:
        data = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        files = data["files"] if "attnc" in data else {}
        return {str(name): str(value) for name, value in files.items() if Path(name).name == name}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
