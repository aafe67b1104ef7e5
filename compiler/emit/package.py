"""The files of the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import fx

from attnc.compiler.artefact import Artefact
from attnc.compiler.emit.classes import Classes
from attnc.compiler.emit.kernels_file import KernelFile
from attnc.compiler.emit.model_file import docstring, model_text
from attnc.compiler.kernel import Kernel, Site
from attnc.dsl.graph import Graph


def emit(module: fx.GraphModule, graph: Graph, kernels: Mapping[Site, Kernel]) -> Artefact:
    """x."""
    file = KernelFile(kernels)
    reserved = frozenset(file.functions)
    classes = Classes(module, file, reserved).done
    text = model_text(classes, '"""head."""', file.functions)
    files = {"model.py": text}
    if file.text:
        files["kernels.py"] = file.text
    return Artefact(classes[-1].name, files)
