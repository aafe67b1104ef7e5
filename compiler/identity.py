"""What a compiled model is: its resolved spec, the hash of that, and the manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping

from attnc.compiler.artefact import Artefact, digest
from attnc.compiler.cost import model_flops
from attnc.compiler.kernel import Kernel, Site
from attnc.compiler.plan import Plan
from attnc.dsl.graph import Graph
from attnc.dsl.resolved import resolved_spec
from attnc.dsl.state import parameter_count
from attnc.dsl.text_printer import to_text
from attnc.dsl.values import BlockRef, OpRef
from attnc.dsl.version import VERSION

TORCH = ">=2.11,<2.14"
"""The versions of torch that emitted code runs on."""

SPEC = "spec.attn"
"""The file that holds the resolved spec."""


def spec_text(graph: Graph) -> str:
    """Return the resolved spec of a graph as text."""
    return to_text(resolved_spec(graph))


def manifest(
    graph: Graph, kernels: Mapping[Site, Kernel], plan: Plan | None, made: Artefact
) -> str:
    """Return the text of manifest.json: what was compiled, to what, and hashes of the files.

    It has no dates and no paths, so that equal specs give equal bytes.
    """
    data = {
        "attnc": VERSION,
        "language": graph.spec.version,
        "model": graph.spec.model,
        "variant": graph.variant,
        "params": {name: plain(value) for name, value in graph.params.items()},
        "spec": digest(made.files[SPEC].encode()),
        "torch": TORCH,
        "parameters": parameter_count(graph),
        "flops": _flops(graph, plan),
        "plan": plan.to_json() if plan is not None else None,
        "kernels": [_kernel(kernel) for kernel in kernels.values()],
        "files": {name: digest(data) for name, data in made.contents.items()},
    }
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def plain(value: object) -> object:
    """Return the value of a param as JSON has it."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case list() | tuple():
            return [plain(item) for item in value]
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case OpRef() | BlockRef():
            return value.name
    return str(value)


def _flops(graph: Graph, plan: Plan | None) -> Mapping[str, object]:
    """Return the FLOPs of a forward pass as a formula, and for the sizes of the plan."""
    total = model_flops(graph)
    counted = {"sizes": dict(plan.sizes), "value": total.at(plan.sizes)} if plan else {}
    return {"formula": str(total), **counted}


def _kernel(kernel: Kernel) -> Mapping[str, object]:
    return {
        "backend": kernel.backend,
        "name": kernel.name,
        "resources": dict(kernel.resources),
    }
