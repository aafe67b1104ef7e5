"""The text of kernels.py, and which function of it computes which site."""

from __future__ import annotations

import re
from collections.abc import Mapping

from attnc.compiler.emit.imports import import_lines
from attnc.compiler.kernel import Kernel, Site


class KernelFile:
    """The kernels of a model; two with the same text but for the name are one.

    Attributes:
        functions: name -> kernel, of those with a text, in order of first use.
    """

    def __init__(self, kernels: Mapping[Site, Kernel]) -> None:
        self.functions: dict[str, Kernel] = {}
        self._kernels: dict[Site, Kernel] = {}
        known: dict[str, str] = {}
        for site, kernel in kernels.items():
            if kernel.source:
                bare = re.sub(rf"\b{re.escape(kernel.name)}", "_", kernel.source)
                name = known.setdefault(bare, kernel.name)
                kernel = self.functions.setdefault(name, kernel)
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
        head = ['"""The attention kernels of the model."""', ""]
        head += ["from __future__ import annotations", "", *self._imports(parts)]
        return "\n\n\n".join(["\n".join(head), *dict.fromkeys(parts)]) + "\n"

    def _imports(self, parts: list[str]) -> list[str]:
        """Return the import lines that the functions need."""
        lines = {line for kernel in self.functions.values() for line in kernel.imports}
        if any(re.search(r"\btorch\.", part) for part in parts):
            lines.add("import torch")
        return import_lines(lines)
