"""The boundary to torch: custom operators, which compile and export without a look inside."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from textwrap import wrap
from typing import Union

from attnc.backends.formula import formula
from attnc.backends.tiled.functions import assigned, broken, define
from attnc.backends.tiled.passes import Passes
from attnc.backends.tiled.results import NARROW
from attnc.backends.tiled.routes import RoutedPasses
from attnc.backends.tiled.windows import WindowPasses
from attnc.backends.torch_function import WIDTH, TorchFunction

AnyPasses = Union[Passes, WindowPasses, RoutedPasses]


def operators(passes: AnyPasses, parts: Sequence[str]) -> Iterator[str]:
    """Yield the sources of everything from the operators to the entry.

    Args:
        parts: all sources before; the namespace of the operators depends on them.
    """
    name = passes.site.name
    bare = re.sub(rf"\b{name}", "", "".join(parts))
    namespace = f"attnc_{sha256(bare.encode()).hexdigest()[:8]}"
    yield from _fakes(passes)
    yield from _autograd(passes, namespace)
    yield _registration(passes, namespace)
    yield _entry(passes, namespace)


def _fakes(passes: AnyPasses) -> Iterator[str]:
    name = passes.site.name
    given = _given(passes)
    wide = [each for each in given if each not in NARROW]
    lines = [passes.empty(each) for each in given if each in NARROW]
    lines += ["(q,) = widened(q)", *map(passes.empty, wide)] if wide else []
    lines.append(f"return {', '.join(given)}")
    yield define(f"{name}_fake", passes.inputs, "Shapes of the results.", lines)
    graded = [*passes.streams, *passes.learned]
    returned = [f"{each}.new_empty({each}.shape)" for each in graded]
    lines = [broken("return (", returned, ")", 1)]
    doc = "Shapes of the gradients."
    yield define(f"{name}_backward_fake", _backward_parameters(passes), doc, lines)


def _given(passes: AnyPasses) -> list[str]:
    """Return what the forward operator gives: results, and what is kept for its gradients."""
    return [*passes.results, *passes.kept]


def _backward_parameters(passes: AnyPasses) -> list[str]:
    return [*(f"grad_{each}" for each in passes.graded), *passes.inputs, *passes.read_back]


def _autograd(passes: AnyPasses, namespace: str) -> Iterator[str]:
    name, given = passes.site.name, _given(passes)
    saved = ["*inputs", *(f"output[{given.index(each)}]" for each in passes.read_back)]
    keep = [f"ctx.save_for_backward({', '.join(saved)})"]
    fixed = [each for each in given if each == "index" or each in passes.kept]
    if fixed:
        listed = ", ".join(f"output[{given.index(each)}]" for each in fixed)
        keep.append(f"ctx.mark_non_differentiable({listed})")
    doc = "Keep the operands; scores are computed once more."
    yield define(f"{name}_save", ["ctx", "inputs", "output"], doc, keep)
    grads = [f"grad_{each}" for each in given]
    passed = [*(f"grad_{each}" for each in passes.graded), "*ctx.saved_tensors"]
    graded = [*passes.streams, *passes.learned]
    returned = [f"grad_{each}" if each in graded else "None" for each in passes.inputs]
    operator = f"torch.ops.{namespace}.{name}_backward"
    lines = [
        assigned([f"grad_{each}" for each in graded], operator, passed),
        broken("return (", returned, ")", 1),
    ]
    yield define(f"{name}_gradients", ["ctx", *grads], "Gradients of all arguments.", lines)
    lines = [f'no_second("{name}")']
    doc = "There are no gradients of gradients."
    yield define(f"{name}_second", ["ctx", "*grads"], doc, lines)


def _registration(passes: AnyPasses, namespace: str) -> str:
    """Return the statements that make the two operators known to torch."""
    name = passes.site.name
    graded = [*passes.streams, *passes.learned]
    forward = _operator(namespace, name, "forward", passes.inputs, len(_given(passes)))
    backward = _operator(namespace, name, "backward", _backward_parameters(passes), len(graded))
    lines = [
        forward,
        f"{name}_op.register_fake({name}_fake)",
        backward,
        f"{name}_backward_op.register_fake({name}_backward_fake)",
        f"{name}_op.register_autograd({name}_gradients, setup_context={name}_save)",
        f"{name}_backward_op.register_autograd({name}_second)",
    ]
    return "\n".join(lines) + "\n"


def _operator(namespace: str, name: str, which: str, names: Sequence[str], results: int) -> str:
    operator = f"{name}_op" if which == "forward" else f"{name}_backward_op"
    given = ", ".join(f"Tensor {each}" for each in names)
    returned = "Tensor" if results == 1 else f"({', '.join(['Tensor'] * results)})"
    schema = f"({given}) -> {returned}"
    pieces = wrap(schema, WIDTH - 16, drop_whitespace=False, break_on_hyphens=False)
    quoted = "\n    ".join(f'"{piece}"' for piece in pieces)
    return (
        f"{operator} = torch.library.custom_op(\n"
        f'    "{namespace}::{operator.removesuffix("_op")}",\n'
        f"    {name}_{which},\n"
        f"    mutates_args=(),\n"
        f"    schema={quoted},\n"
        ")  # fmt: skip"
    )


def _entry(passes: AnyPasses, namespace: str) -> str:
    """Return the function that models call.

    It finds the operator by name: a second package of equal kernels defines it anew.
    """
    function = TorchFunction(passes.site)
    operator = f"torch.ops.{namespace}.{passes.site.name}"
    if not passes.kept:
        call = function.call(operator, function.parameters, "return ")
        return function.source(formula(passes.site.attention), call)
    names = [*passes.results, *("_" for _ in passes.kept)]
    ahead = f"{', '.join(names)} = "
    function.line(f"{ahead}{function.call(operator, function.parameters, ahead)}")
    return function.source(formula(passes.site.attention), ", ".join(passes.results))
