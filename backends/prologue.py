"""What q and k are before they are multiplied, in plain torch and their own dtype."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from attnc.backends.formula import formula
from attnc.backends.torch_function import TorchFunction
from attnc.compiler.kernel import Site
from attnc.dsl.attention_text import operand_name
from attnc.dsl.prologues import Normed, Rotated, Step, prologue_tensors


def without_prologues(site: Site) -> Site:
    """Return the site that multiplies q and k as they are given."""
    beside = {*prologue_tensors(site.attention.prologues)}
    kept = {
        name: type_
        for name, type_ in zip(site.attention.tensors, site.tensors, strict=True)
        if name not in beside
    }
    attention = replace(site.attention, tensors=tuple(kept), prologues=())
    return replace(site, attention=attention, tensors=tuple(kept.values()))


def applied(function: TorchFunction) -> list[str]:
    """Add statements that bring q and k to what is multiplied; return their names."""
    names = []
    attention = function.site.attention
    for prologue in attention.prologues:
        names.append(name := operand_name(attention, prologue))
        for step in prologue.steps:
            function.line(f"{name} = {_written(step, name, function)}")
    return names


def operands_ahead(site: Site) -> list[str]:
    """Return names of the parameters of `ahead`: the operands changed, then tensors they read."""
    function = TorchFunction(site)
    names = applied(function)
    return [*names, *map(function.tensor, prologue_tensors(site.attention.prologues))]


def before(site: Site, bare: Site, ahead: str) -> str:
    """Return a function for a site that calls `ahead` and the function of the bare site."""
    function = TorchFunction(site)
    given = operands_ahead(site)
    made = ", ".join(given[: len(site.attention.prologues)])
    function.line(f"{made} = " + function.call(ahead, given, f"{made} = "))
    beside = {function.tensor(name) for name in prologue_tensors(site.attention.prologues)}
    passed = [name for name in function.parameters if name not in beside]
    return function.source(formula(site.attention), function.call(bare.name, passed, "return "))


def _written(step: Step, x: str, function: TorchFunction) -> str:
    return _WRITERS[type(step)](step, x, function)


def _normed(step: Normed, x: str, function: TorchFunction) -> str:
    """Return an expression for rows of one size."""
    if step.kind == "l2":
        size = f"torch.linalg.vector_norm({x}, dim=-1, keepdim=True)"
        return f"{x} / {size}.clamp_min({step.eps!r})"
    beside = [None if name is None else function.tensor(name) for name in (step.weight, step.bias)]
    given = beside[: 1 + (step.kind == "layer")]
    return (
        f"torch.{step.kind}_norm({x}, {x}.shape[-1:], {', '.join(map(str, given))}, {step.eps!r})"
    )


def _rotated(step: Rotated, x: str, function: TorchFunction) -> str:
    """Return an expression for pairs of columns turned, after statements that part them."""
    cos, sin = map(function.tensor, step.tensors)
    if step.neighbours:
        names, parted = ("even", "odd"), f"{x}.unflatten(-1, (-1, 2)).unbind(-1)"
        joined, end = "torch.stack(({}, {}), -1)", ".flatten(-2)"
    else:
        names, parted = ("low", "high"), f"{x}.chunk(2, -1)"
        joined, end = "torch.cat(({}, {}), -1)", ""
    first, second = function.bind_all(names, parted)
    if step.by_column:
        return f"{x} * {cos} + {joined.format(f'-{second}', first)}{end} * {sin}"
    turned = f"{first} * {cos} - {second} * {sin}", f"{second} * {cos} + {first} * {sin}"
    return joined.format(*turned) + end


_WRITERS: dict[type, Callable[..., str]] = {Normed: _normed, Rotated: _rotated}
