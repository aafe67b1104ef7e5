"""The files of the package: the model, its kernels, the spec that it came from, the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import fx

from attnc.compiler.artefact import MANIFEST, Artefact, digest
from attnc.compiler.emit.classes import Classes
from attnc.compiler.emit.kernels_file import KernelFile
from attnc.compiler.emit.model_file import docstring, model_text
from attnc.compiler.identity import SPEC, manifest, spec_text
from attnc.compiler.kernel import Kernel, MachineCode, Site
from attnc.compiler.plan import Plan
from attnc.dsl import tree
from attnc.dsl.graph import Graph
from attnc.dsl.version import VERSION

_INIT = '''"""The model {model}, as attnc compiled it; see model.py."""

from __future__ import annotations

from pathlib import Path

import torch

from .model import {name}

__all__ = ["{name}", "load"]


def load(path: str | Path) -> {name}:
    """Return the model for inference, with the weights of a file.

    The file is a `.safetensors` one, or what `torch.save` wrote.
    """
    if str(path).endswith(".safetensors"):
        from safetensors.torch import load_file

        weights = load_file(path)
    else:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    model = {name}()
    model.load_state_dict(weights)
    return model.eval()
'''


def emit(
    module: fx.GraphModule,
    graph: Graph,
    kernels: Mapping[Site, Kernel],
    plan: Plan | None = None,
    machine_code: MachineCode | None = None,
) -> Artefact:
    """Write a lowered model as a package of plain Python. Nothing but its arguments decides a byte.

    Args:
        module: lowered from `graph`, after any passes.
        kernels: for every site of the module.
        plan: for the manifest.
        machine_code: to ship beside the kernels.
    """
    functions = KernelFile(kernels, machine_code)
    classes = Classes(module, functions, graph.spec).done
    model = classes[-1].name
    spec = spec_text(graph)
    files = {
        "__init__.py": _INIT.format(model=graph.spec.model, name=model),
        "model.py": model_text(classes, _header(graph, spec), functions.functions),
        "kernels.py": functions.text,
        SPEC: spec,
    }
    files = {name: text for name, text in files.items() if text}
    binaries = {}
    if machine_code is not None and functions.text:
        binaries[machine_code.file] = machine_code.build(functions.text)
    made = Artefact(model, files, binaries)
    return replace(made, files={**files, MANIFEST: manifest(graph, kernels, plan, made)})


def _header(graph: Graph, spec: str) -> str:
    """Return the docstring of model.py."""
    doc = " ".join((graph.spec.doc or f"The model {graph.spec.model}.").split())
    variant = f", variant {graph.variant}" if graph.variant else ""
    made = (
        f"Compiled by attnc {VERSION} (`attnc compile`) from spec.attn{variant},\n"
        f"SHA-256 {digest(spec.encode())}."
    )
    return "\n".join(docstring([doc, _paper(graph.spec.paper), made], ""))


def _paper(paper: tree.MapOf | None) -> str:
    """Return the reference: title, year, arXiv number."""
    items = dict(paper.items) if paper is not None else {}
    known = {
        key: str(value.value)
        for key, value in items.items()
        if isinstance(value, (tree.Text, tree.Number))
    }
    if "title" not in known:
        return ""
    year = f" ({known['year']})" if "year" in known else ""
    arxiv = f", arXiv:{known['arxiv']}" if "arxiv" in known else ""
    return f"Paper: {known['title']}{year}{arxiv}."
