"""The artefact: the files of a compiled model, written all or none, or imported from memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from attnc.compiler.memory import import_package
from attnc.dsl import codes
from attnc.dsl.diagnostics import Diagnostic, EnvironmentLacks, SpecError

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Artefact:
    """The files of a package by name: `model.py`, `kernels.py`, `manifest.json` ...

    Attributes:
        model: the name of the model's class.
        binaries: files that are no text, likewise.
    """

    model: str
    files: Mapping[str, str]
    binaries: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def contents(self) -> Mapping[str, bytes]:
        """All files as bytes."""
        return {**{name: text.encode() for name, text in self.files.items()}, **self.binaries}


def load_module(artefact: Artefact) -> ModuleType:
    """Import the package from memory; the same artefact gives the same module.

    Tracebacks and `inspect.getsource` show its code.
    """
    return import_package(artefact.model, artefact.files)


def digest(data: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def differing(artefact: Artefact, directory: Path) -> tuple[str, ...]:
    """Return the names of files that `write` would change."""
    new = {name: digest(data) for name, data in artefact.contents.items()}
    return tuple(name for name in new if _on_disk(directory / name) != new[name])


def write(artefact: Artefact, directory: Path, force: bool = False) -> None:
    """Write the package: all of its files or none. Other files of the directory stay.

    Args:
        force: write over files that were edited, or that attnc did not write.

    Raises:
        SpecError: there are such files (E620, E621).
        EnvironmentLacks: the directory cannot be written (E507).
    """
    earlier = _hashes(directory)
    found = [] if force else list(_obstacles(artefact, directory, earlier))
    if found:
        raise SpecError(found)
    try:
        if directory.exists():
            gone = [name for name in earlier if name not in artefact.contents]
            _update(artefact, directory, gone)
        else:
            _create(artefact, directory)
    except OSError as wrong:
        reason = wrong.strerror or str(wrong)
        raise EnvironmentLacks([codes.UNWRITABLE.at(None, name=directory, reason=reason)]) from None


def _obstacles(
    artefact: Artefact, directory: Path, earlier: Mapping[str, str]
) -> Iterator[Diagnostic]:
    """Yield a finding for each file that must not be touched."""
    changes = differing(artefact, directory)
    for name in dict.fromkeys(
        [*changes, *(each for each in earlier if each not in artefact.contents)]
    ):
        path = directory / name
        if not os.path.lexists(path) or (name == MANIFEST and earlier):
            continue
        if name not in earlier:
            yield codes.FOREIGN.at(None, name=path)
        elif _on_disk(path) != earlier[name]:
            yield codes.EDITED.at(None, name=path)


def _hashes(directory: Path) -> Mapping[str, str]:
    """Return the hashes by name that the manifest of a directory has; none without a manifest."""
    try:
        data = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        files = data["files"] if "attnc" in data else {}
        return {name: str(files[name]) for name in files if Path(name).name == name}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _on_disk(path: Path) -> str | None:
    try:
        return digest(path.read_bytes())
    except OSError:
        return None


# Writing ----------------------------------------------------------------------------------


def _create(artefact: Artefact, directory: Path) -> None:
    """Fill a directory beside the new one, then rename it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _stage(directory.parent) as stage:
        package = stage / "package"
        _fill(package, artefact)
        package.rename(directory)


def _update(artefact: Artefact, directory: Path, gone: Iterable[str]) -> None:
    """Move files in one by one; when a move fails, move all back."""
    with _stage(directory) as stage:
        new, old = stage / "new", stage / "old"
        old.mkdir()
        _fill(new, artefact)
        done: list[tuple[Path, Path]] = []
        try:
            for name in (*gone, *artefact.contents):
                if os.path.lexists(directory / name):
                    _move(directory / name, old / name, done)
                if name in artefact.contents:
                    _move(new / name, directory / name, done)
        except OSError:
            for source, target in reversed(done):
                target.replace(source)
            raise


def _move(source: Path, target: Path, done: list[tuple[Path, Path]]) -> None:
    source.replace(target)
    done.append((source, target))


def _fill(directory: Path, artefact: Artefact) -> None:
    directory.mkdir()
    for name, data in artefact.contents.items():
        (directory / name).write_bytes(data)


@contextmanager
def _stage(parent: Path) -> Iterator[Path]:
    """Yield a hidden directory on the same file system; it is gone afterwards."""
    stage = Path(tempfile.mkdtemp(prefix=".attnc-", dir=parent))
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)
