"""The boundary to torch: custom operators with a Triton and a plain implementation.

One graph serves both devices: on the GPU the launchers run, on the CPU a plain torch function of
another backend, through which autograd goes as through any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from textwrap import indent, wrap

from attnc.backends.epilogue import after, without_epilogue
from attnc.backends.formula import formula
from attnc.backends.prologue import before, operands_ahead, without_prologues
from attnc.backends.torch_function import TorchFunction
from attnc.backends.triton.layout import SKIP, WIDTH, call, define, listing, settled
from attnc.backends.triton.operation import (
    Operation,
    backward_arguments,
    beside,
    forward_arguments,
    gradients,
    optional,
)
from attnc.compiler.kernel import Backend, Kernel, Site, Target


def plain_kernel(fallback: Backend, problem: Operation, site: Site) -> Kernel:
    """Build the same attention for the CPU, as a function with the outputs of the operator."""
    outputs = _plain_results(problem)
    attention = replace(site.attention, outputs=outputs)
    plain = replace(site, name=problem.private("plain"), attention=attention)
    return _around(fallback, problem, plain)


def _around(fallback: Backend, problem: Operation, site: Site) -> Kernel:
    """Build a site: what the fallback builds, with what stands before and behind around it."""
    if site.attention.prologues:
        inner = without_prologues(replace(site, name=problem.private("bare")))
        text = before(site, inner, problem.private("ahead"))
    elif site.attention.epilogue is not None:
        inner = without_epilogue(replace(site, name=problem.private("before")))
        text = after(site, inner)
    else:
        return fallback.build(site, Target("cpu"))
    made = _around(fallback, problem, inner)
    return replace(made, source=f"{made.source.rstrip()}\n\n\n{text}")


def operators(
    problem: Operation, site: Site, parts: Sequence[str], with_plain: bool
) -> Iterator[str]:
    """Yield the sources of everything from the operators to the entry.

    Args:
        problem: the site.
        site: as the planner sees it.
        parts: all sources before; the namespace of the operators depends on them.
        with_plain: whether there is a plain implementation.
    """
    bare = re.sub(rf"\b{problem.name}", "", "".join(parts))
    namespace = f"attnc_{sha256(bare.encode()).hexdigest()[:8]}"
    yield from _fakes(problem)
    if with_plain:
        yield _cpu(problem)
    yield from _autograd(problem, site, namespace, with_plain)
    yield _registration(problem, namespace, with_plain)
    yield _entry(problem, site, namespace)


def _fakes(problem: Operation) -> Iterator[str]:
    results = [problem.fakes[name] for name in problem.results]
    doc = "Shapes of the results."
    yield _host(problem, "fake", forward_arguments(problem), doc, [listing("return ", results)])
    widths, lines = problem.widths, []
    flags = _flags(problem)
    for name in problem.inputs:
        made = f"token_rows({name}, {widths[name]})"
        spared = f" if {flags[name]} else {name}.new_empty(0)" if name in flags else ""
        lines.append(f"grad_{name} = {made}{spared}")
    for name in problem.learned:
        lines.append(f"grad_{name} = if_wanted(torch.empty_like({name}), {flags[name]})")
    ranks = {each.name: len(each.shape) for each in problem.names.tensors.values()}
    for name in beside(problem):
        made = "token_rows({0}, {0}.shape[-1])" if ranks[name] == 4 else "{0}.new_empty({0}.shape)"
        lines.append(f"grad_{name} = {made.format(name)}")
    lines.append(listing("return ", gradients(problem)))
    doc = "Shapes of the gradients."
    yield _host(problem, "backward_fake", backward_arguments(problem), doc, lines)


def _cpu(problem: Operation) -> str:
    plain = f"{problem.private('plain')}({', '.join(problem.names.arguments)})"
    given = _plain_results(problem)
    # the others are for the backward pass of the kernels alone
    values = {name: f"{problem.fakes[name]}.zero_()" for name in problem.results}
    values |= {name: _PLAIN[name] for name in given}
    returned = listing("return ", [values[name] for name in problem.results])
    lines = [f"{', '.join(given)} = {plain}", returned]
    return _host(problem, "cpu", forward_arguments(problem), "The result on the CPU.", lines)


def _autograd(problem: Operation, site: Site, namespace: str, with_plain: bool) -> Iterator[str]:
    inputs = "*inputs[:-1]" if problem.if_kept else "*inputs"
    keep = [call("ctx.save_for_backward", [inputs, *_saved(problem)])]
    doc = "Keep what the backward pass needs."
    yield _host(problem, "save", ["ctx", "inputs", "output"], doc, keep)
    names = [*problem.names.arguments]
    grads = [f"grad_{name}" for name in problem.results]
    passed = [*map(_dense, problem.differentiable), "*ctx.saved_tensors"]
    lines = [_on_the_cpu(problem)] if with_plain else []
    ahead = _Ahead(problem, site) if site.attention.prologues else None
    if ahead is not None:
        lines += ahead.once_more()
        passed[-1:] = [*names, *problem.saved]
    if optional(problem):
        needed = (_needed(names.index(group[0]), len(group)) for group in optional(problem))
        lines.append(f"wanted = [{', '.join(needed)}]")
        passed.append("wanted")
    lines.append(call(f"grads = {_found(namespace, problem.private('backward_op'))}", passed))
    lines.append(listing("", gradients(problem), " = grads"))
    returned = [_returned(problem, name) for name in forward_arguments(problem)]
    if ahead is not None:
        lines.append(ahead.through())
        returned = [
            f"grad_{name}" if name in ahead.given else each
            for name, each in zip(forward_arguments(problem), returned, strict=True)
        ]
    lines.append(listing("return ", returned))
    yield _host(problem, "backward", ["ctx", *grads], "Gradients of all arguments.", lines)


@dataclass(frozen=True, slots=True)
class _Ahead:
    """What autograd's function for the operator does about q and k before they are multiplied."""

    problem: Operation
    site: Site

    @property
    def operands(self) -> list[str]:
        """Names of the operands that become something else."""
        return self.given[: len(self.site.attention.prologues)]

    @property
    def given(self) -> list[str]:
        """Names of what the function ahead of the kernels takes."""
        own = dict(
            zip(TorchFunction(self.site).parameters, self.problem.names.arguments, strict=True)
        )
        return [own[name] for name in operands_ahead(self.site)]

    def once_more(self) -> list[str]:
        """Return statements that put in the place of operands what the kernels multiply."""
        names, given = self.problem.names.arguments, self.given
        places = ", ".join(str(names.index(name)) for name in given)
        passed = [self.problem.private("ahead"), f"[{', '.join(given)}]", "needed"]
        return [
            listing("", [*names, *self.problem.saved], " = ctx.saved_tensors"),
            f"needed = [ctx.needs_input_grad[place] for place in [{places}]]",
            call("given, made = once_more", passed),
            f"{_several(self.operands)} = [x.detach() for x in made]",
        ]

    def through(self) -> str:
        """Return the statement that takes gradients of operands through what made them."""
        grads = [f"grad_{name}" for name in self.operands]
        passed = ["given", "needed", "made", f"[{', '.join(grads)}]"]
        made = _several([f"grad_{name}" for name in self.given])
        return call(f"{made} = gradients_of", passed)


def _several(names: Sequence[str]) -> str:
    """Return what a list is unpacked to."""
    return ", ".join(names) if len(names) > 1 else f"({names[0]},)"


def _dense(result: str) -> str:
    """Return the gradient of a result; those of statistics, read without strides, may have any."""
    return f"grad_{result}.contiguous()" if result in _DENSE else f"grad_{result}"


_DENSE = ("lse", "scores", "slot_weights")


def _saved(problem: Operation) -> Iterator[str]:
    """Yield what of the output is saved."""
    places = [problem.results.index(name) for name in problem.saved]
    first = places[0] if places else 0
    if len(places) > 1 and places == [*range(first, len(problem.results))]:
        yield f"*output[{first}:]" if first else "*output"
    else:
        yield from (f"output[{place}]" for place in places)


_PLAIN = {
    "out": "relaid(out)", "back": "relaid(back)", "lse": "lse", "scores": "scores.contiguous()",
    "index": "index.contiguous()", "slot_weights": "slot_weights.contiguous()",
}  # fmt: skip
"""Results that plain functions give, too, laid out as by launchers; `index` comes last."""


def _plain_results(problem: Operation) -> tuple[str, ...]:
    """Return what of the results the plain function gives, too."""
    return tuple(name for name in problem.results if name in _PLAIN and name not in problem.if_kept)


def _on_the_cpu(problem: Operation) -> str:
    """Return statements for gradients of the plain function, outside of any operator."""
    count = len(problem.saved)
    saved = f"ctx.saved_tensors[:-{count}]" if count else "ctx.saved_tensors"
    plain, results = problem.private("plain"), _plain_results(problem)
    grads = [f"grad_{name}" for name in results if name != "index"]
    grads += ["None"] if "index" in results else []
    given = f"({', '.join(grads)})" if len(grads) > 1 else f"({grads[0]},)"
    passed = [plain, saved, "ctx.needs_input_grad", given]
    returned = call("return plain_gradients", passed, 2)
    if problem.if_kept:  # the last argument is no tensor
        passed[2] += "[:-1]"
        returned = call("grads = plain_gradients", passed, 2) + "\nreturn *grads, None"
    return "if not grad_out.is_cuda:\n" + indent(returned, "    ")


def _returned(problem: Operation, name: str) -> str:
    flags = _flags(problem)
    if name in flags:
        return f"grad_{name} if {flags[name]} else None"
    return f"grad_{name}" if name in problem.inputs else problem.beside.get(name, "None")


def _needed(first: int, count: int) -> str:
    """Return whether the gradient of an argument, or of any of several in a row, is needed."""
    needed = "ctx.needs_input_grad"
    return f"{needed}[{first}]" if count == 1 else f"any({needed}[{first}:{first + count}])"


def _flags(problem: Operation) -> Mapping[str, str]:
    """Return what says whether the gradient of an argument is wanted, where something does."""
    groups = enumerate(optional(problem))
    return {name: f"wanted[{number}]" for number, group in groups for name in group}


def _registration(problem: Operation, namespace: str, with_plain: bool) -> str:
    """Return the statements that make the two operators known to torch."""
    of = problem.private
    results = ["Tensor"] * len(problem.results)
    grads = ["Tensor"] * len(gradients(problem))
    # Without plain torch the kernels serve every device, for Triton's interpreter.
    devices = ', device_types="cuda"' if with_plain else ""
    define_op = partial(_operator, namespace, devices)
    forward = define_op(of("op"), of("launch"), forward_arguments(problem), results)
    backward = define_op(
        of("backward_op"), of("launch_backward"), backward_arguments(problem), grads
    )
    saved = f"setup_context={of('save')}"
    lines = [
        forward,
        f"{of('op')}.register_fake({of('fake')})",
        *([f'{of("op")}.register_kernel("cpu")({of("cpu")})'] if with_plain else []),
        backward,
        f"{of('backward_op')}.register_fake({of('backward_fake')})",
        call(f"{of('op')}.register_autograd", [of("backward"), saved], depth=0),
    ]
    return "\n".join(settled(line) for line in lines) + "\n"


def _operator(
    namespace: str,
    devices: str,
    name: str,
    function: str,
    arguments: Sequence[str],
    results: Sequence[str],
) -> str:
    types = {"wanted": "bool[]", "keep": "bool"}
    given = ", ".join(f"{types.get(each, 'Tensor')} {each}" for each in arguments)
    returned = results[0] if len(results) == 1 else f"({', '.join(results)})"
    schema = f"({given}) -> {returned}"
    pieces = wrap(schema, WIDTH - 16, drop_whitespace=False, break_on_hyphens=False)
    quoted = "\n    ".join(f'"{piece}"' for piece in pieces)
    full = f'"{namespace}::{name.removesuffix("_op")}",'
    apart = " " if len(f"    {full} {function},") <= WIDTH else "\n    "
    return (
        f"{name} = torch.library.custom_op(\n"
        f"    {full}{apart}{function},\n"
        f"    mutates_args=(){devices},\n"
        f"    schema={quoted},\n"
        f"){SKIP}"
    )


def _found(namespace: str, operator: str) -> str:
    """Return an operator by its name in torch; a second package of equal kernels redefines it."""
    return f"torch.ops.{namespace}.{operator.removesuffix('_op')}"


def _entry(problem: Operation, site: Site, namespace: str) -> str:
    """Return the function that models call."""
    function = TorchFunction(site)
    outputs = site.attention.outputs
    op = _found(namespace, problem.private("op"))
    given = [*function.parameters, *(["torch.is_grad_enabled()"] if problem.if_kept else [])]
    if outputs == ("out",):
        called = function.call(op, given, "return ")
        return function.source(formula(site.attention), called + "[0]" * (len(problem.results) > 1))
    made = ", ".join(name if name in outputs else "_" for name in problem.results)
    function.line(f"{made} = " + function.call(op, given, f"{made} = "))
    return function.source(formula(site.attention), ", ".join(outputs))


def _host(
    problem: Operation, name: str, parameters: Sequence[str], doc: str, body: Sequence[str]
) -> str:
    return define(problem.private(name), parameters, doc, body, decorator="")
