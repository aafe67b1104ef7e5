"""Several attentions of one site: what speaks for them, and the function that calls them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from attnc.backends.formula import formula
from attnc.backends.torch_function import TorchFunction
from attnc.backends.triton.passes.lower import Pass
from attnc.compiler.kernel import Kernel, Site

NO_VALUES = '''\
def no_values(k):
    """Values [b, h, m, 1] for a walk whose lse alone counts."""
    return k.new_zeros(()).expand(*k.shape[:3], 1)
'''

SPACE = "\n" * 3


def reasons_for(found: Sequence[Pass]) -> Iterator[str]:
    """Yield what speaks for the passes."""
    yield f"two passes: {'; '.join(each.purpose for each in found)}"
    yield "no scores are stored; forward and backward of each pass are fused, deterministic"


def build(site: Site, found: Sequence[Pass], kernels: Sequence[Kernel], name: str) -> Kernel:
    """Return the kernels of all passes and the function that models call.

    Args:
        site: what they are of.
        found: the passes.
        kernels: one for each.
        name: of the backend.
    """
    parts = [part for kernel in kernels for part in kernel.source.strip("\n").split(SPACE)]
    if any("no_values" in operand for each in found for operand in each.operands):
        parts.append(NO_VALUES.strip("\n"))
    parts.append(_entry(site, found).strip("\n"))
    imports = {line for kernel in kernels for line in kernel.imports}
    source = SPACE.join(dict.fromkeys(parts)) + "\n"
    return Kernel(name, site.name, source, tuple(sorted(imports)))


def _entry(site: Site, found: Sequence[Pass]) -> str:
    made, own = TorchFunction(site), site.attention.tensors
    read = Counter(name for each in found for name in each.site.attention.tensors)
    for each in found:
        tensors = [
            _tensor(made, name, read[name] > 1) if name in own else "known"
            for name in each.site.attention.tensors
        ]
        results = ", ".join(each.results)
        called = made.call(each.site.name, [*each.operands, *tensors], f"{results} = ")
        made.line(f"{results} = {called}")
        if each.then:
            made.line(each.then)
    return made.source(formula(site.attention), ", ".join(site.attention.outputs))


def _tensor(made: TorchFunction, name: str, shared: bool) -> str:
    """Return a captured tensor; where gradients of several passes are added, in float32."""
    is_float = made.tensor_type(name).dtype == "float"
    return made.widened(name) if shared and is_float else made.tensor(name)
