"""The text of kernels.py, and which function of it computes which site."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import zip_longest

from attnc.compiler.emit.imports import import_lines
from attnc.compiler.emit.long_lines import fitted
from attnc.compiler.kernel import Kernel, MachineCode, Site


def _check_names(parts: Iterable[str]) -> None:
    """Hold parts, which may come from several backends, to names of their own."""
    names = [name for part in parts for name in re.findall(r"^def (\w+)", part, re.MULTILINE)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    assert not twice, f"kernels.py would define {', '.join(twice)} twice"


_DOC = re.compile(r'"""(.*?)"""', re.DOTALL)
_NUMBER = re.compile(r"(\b(?:\d+|_)\b)")


class KernelFile:
    """The kernels of a model; two with the same text but for the name are one.

    So are two that differ in numbers of their docstrings alone, in which these become `_`.

    Attributes:
        functions: name -> kernel, of those with a text, in order of first use.
    """

    def __init__(
        self, kernels: Mapping[Site, Kernel], machine_code: MachineCode | None = None
    ) -> None:
        """Sort the kernels of a model; the loader of machine code ends the file."""
        self._machine_code = machine_code
        self.functions: dict[str, Kernel] = {}
        self._kernels: dict[Site, Kernel] = {}
        known: dict[tuple[str, ...], str] = {}
        for site, kernel in kernels.items():
            if kernel.source:
                name = known.setdefault(_alike(kernel), kernel.name)
                known_one = self.functions.get(name, kernel)
                kernel = replace(known_one, source=_common(known_one.source, kernel.source))
                self.functions[name] = kernel
            self._kernels[site] = kernel

    def __call__(self, site: Site) -> Kernel:
        """Return the kernel of a site.

        Raises:
            KeyError: the plan has none.
        """
        return self._kernels[site]

    @property
    def text(self) -> str:
        """The text of kernels.py; empty where no kernel has one."""
        if not self.functions:
            return ""
        parts = [
            part
            for kernel in self.functions.values()
            for part in kernel.source.strip("\n").split("\n\n\n")
        ]
        if self._machine_code is not None:
            parts += self._machine_code.loader.strip("\n").split("\n\n\n")
        head = ['"""The attention kernels of the model."""', ""]
        head += ["from __future__ import annotations", "", *self._imports(parts)]
        parts = list(dict.fromkeys(parts))
        _check_names(parts)
        gap = "\n\n\n" if parts[0].startswith(("def ", "class ", "@")) else "\n\n"
        return "\n".join(head) + gap + "\n\n\n".join(map(fitted, parts)) + "\n"

    def _imports(self, parts: list[str]) -> list[str]:
        """Return the import lines that the functions need."""
        lines = {line for kernel in self.functions.values() for line in kernel.imports}
        if any(re.search(r"\btorch\.", part) for part in parts):
            lines.add("import torch")
        lines.update(self._machine_code.imports if self._machine_code else ())
        return import_lines(lines)


def _alike(kernel: Kernel) -> tuple[str, ...]:
    """Return what kernels that are one share: the text without its name, and docstrings' words."""
    bare = re.sub(rf"\b{re.escape(kernel.name)}", "_", kernel.source)
    docs = [_NUMBER.sub("_", " ".join(doc.split())) for doc in _DOC.findall(bare)]
    return _DOC.sub("", bare), *docs


def _common(first: str, other: str) -> str:
    """Return `first`, with `_` for each number of its docstrings that `other` has not."""
    others = iter(_DOC.findall(other))

    def shared(found: re.Match[str]) -> str:
        pairs = zip_longest(_NUMBER.split(found[1]), _NUMBER.split(next(others, "")))
        parts = [a if at % 2 == 0 or a == b else "_" for at, (a, b) in enumerate(pairs)]
        return f'"""{"".join(part or "" for part in parts)}"""'

    return _DOC.sub(shared, first)
