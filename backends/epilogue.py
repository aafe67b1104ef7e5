"""What becomes of the result of an attention, in plain torch and the result's own dtype."""

from __future__ import annotations

from dataclasses import replace

from attnc.backends.formula import formula
from attnc.backends.torch_function import TorchFunction
from attnc.backends.torch_scores import ScoreWriter
from attnc.compiler.kernel import Site
from attnc.dsl.attention import Coordinate, Load, Result
from attnc.dsl.scorelang import ELEMENT, loads


def without_epilogue(site: Site) -> Site:
    """Return the site that gives the result as it is."""
    tree, names = site.attention.epilogue, site.attention.tensors
    beside = set() if tree is None else set(loads(tree))
    kept = {
        name: type_ for name, type_ in zip(names, site.tensors, strict=True) if name not in beside
    }
    attention = replace(site.attention, tensors=tuple(kept), epilogue=None)
    return replace(site, attention=attention, tensors=tuple(kept.values()))


def written(function: TorchFunction) -> str:
    """Return the epilogue of a site as a torch expression of `out` and its tensors."""
    tree = function.site.attention.epilogue
    assert tree is not None
    function.known[0][Result()] = "out"
    for name, (element,) in loads(tree).items():
        function.known[0][element] = _stretched(function.tensor(name), element)
    return ScoreWriter(function, 0).floating(tree)


def _stretched(tensor: str, element: Load) -> str:
    """Return a tensor with an axis of 1 for each behind its first that the result has besides."""
    axes = [each.name for each in element.indices if isinstance(each, Coordinate)]
    behind = ELEMENT[ELEMENT.index(axes[0]) :] if axes else ()
    index = [":" if axis in axes else "None" for axis in behind]
    return f"{tensor}[{', '.join(index)}]" if "None" in index else tensor


def after(site: Site, before: Site) -> str:
    """Return a function for a site that calls the one for its result as it is."""
    function = TorchFunction(site)
    beside = {function.tensor(name) for name in loads(site.attention.epilogue or Result())}
    given = [name for name in function.parameters if name not in beside]
    outputs = site.attention.outputs
    ahead = f"{', '.join(outputs)} = "
    function.line(ahead + function.call(before.name, given, ahead))
    returned = ", ".join(written(function) if name == "out" else name for name in outputs)
    return function.source(formula(site.attention), returned)
