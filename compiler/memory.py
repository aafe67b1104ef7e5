"""Import packages from texts, without files."""

from __future__ import annotations

import hashlib
import importlib
import linecache
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType


class _TextLoader(InspectLoader):
    """Loads one module from its text."""

    def __init__(self, filename: str, text: str) -> None:
        self.filename, self.text = filename, text

    def get_source(self, fullname: str) -> str:
        """Return the text."""
        return self.text

    def get_code(self, fullname: str) -> CodeType:
        """Return the compiled text, whose lines tracebacks and `inspect` find from now on."""
        lines = self.text.splitlines(keepends=True)
        linecache.cache[self.filename] = (len(self.text), None, lines, self.filename)
        return compile(self.text, self.filename, "exec")


class _TextFinder(MetaPathFinder):
    """Finds the modules of packages that are kept as texts.

    Attributes:
        packages: package -> file name -> text.
    """

    def __init__(self) -> None:
        self.packages: dict[str, Mapping[str, str]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module comes from, if it belongs to one of the packages."""
        package, _, stem = fullname.partition(".")
        name = f"{stem or '__init__'}.py"
        text = self.packages.get(package, {}).get(name)
        if text is None:
            return None
        filename = f"<{package}>/{name}"
        loader = _TextLoader(filename, text)
        spec = ModuleSpec(fullname, loader, origin=filename, is_package=not stem)
        spec.has_location = True
        return spec


_FINDER = _TextFinder()


def import_package(title: str, files: Mapping[str, str]) -> ModuleType:
    """Import a package under a name of its own, from the texts of its files.

    The name tells the content, so that equal texts give the same package.

    Args:
        title: what the name begins with.
    """
    content = "\0".join(f"{name}\0{text}" for name, text in sorted(files.items()))
    tag = hashlib.sha256(content.encode()).hexdigest()[:16]
    package = f"attnc_{title.lower()}_{tag}"
    _FINDER.packages[package] = files
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)
    return importlib.import_module(package)
