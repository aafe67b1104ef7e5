"""Elaboration: a spec with given params, unrolled into a checked graph."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from attnc.dsl import codes, library, tree
from attnc.dsl.builder import Builder, Context
from attnc.dsl.diagnostics import Collector, Note
from attnc.dsl.expressions import Fault, Poisoned, fail
from attnc.dsl.facts import check_facts
from attnc.dsl.graph import Arg, Body, Graph, TensorType, Value
from attnc.dsl.liveness import check_used
from attnc.dsl.ops import TABLE
from attnc.dsl.ports import bind_shape, input_shape
from attnc.dsl.resolve import Overrides, check_param, resolve
from attnc.dsl.spans import Span, SpanChain
from attnc.dsl.statements import Exhausted, run
from attnc.dsl.values import POISON, BlockRef, Captured, DomainValue, Home, OpRef, noun

_RECURSION = 20_000


def elaborate(spec: tree.Spec, variant: str | None = None, overrides: Overrides = ()) -> Graph:
    """Resolve the params of a spec and unroll it.

    Args:
        overrides: `["heads=8"]` as on the command line, or values by name.

    Raises:
        SpecError: with all that is wrong.
    """
    collector = Collector()
    home = Home(spec.model, {block.name: block for block in spec.blocks})
    has_clash = _check_names(spec, collector)
    resolved = resolve(spec, variant, overrides, _Functions(home), collector)
    builder = Builder(Context(collector), home, (), is_top=True)
    builder.scope.update(resolved.values)
    builder.faulty = has_clash
    with _deep_recursion():
        inputs = _inputs(builder, spec)
        try:
            run(builder, spec.graph)
            _outputs(builder, spec)
        except Exhausted:
            builder.faulty = True
    _check_outputs(builder, spec)
    check_facts(spec, collector)
    body = Body(
        spec.model, spec.doc, resolved.values, inputs, tuple(builder.nodes),
        tuple(builder.outputs.values()), builder.exits, builder.dims, (spec.span,),
    )  # fmt: skip
    if not builder.faulty:
        check_used(body, collector)
    collector.raise_if_any()
    return Graph(
        spec, resolved.values, resolved.origins, variant, body,
        {name: value.type for name, value in inputs.items()}, builder.outputs,
    )  # fmt: skip


class _Functions(Mapping[str, object]):
    """Operators and blocks that a param may name, looked up when asked for."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def __getitem__(self, name: str) -> object:
        if name in self._home.blocks:
            return BlockRef(self._home, name)
        if name in library.names():
            return library.block(name)
        if name in TABLE:
            return OpRef(name)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return name in self._home.blocks or name in library.names() or name in TABLE

    def __iter__(self) -> Iterator[str]:
        yield from self._home.blocks
        yield from library.names()
        yield from TABLE

    def __len__(self) -> int:
        return sum(1 for _ in self)


@contextmanager
def _deep_recursion() -> Iterator[None]:
    """Blocks call blocks: leave room for deep chains of them, which are no fault."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _RECURSION))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _check_names(spec: tree.Spec, collector: Collector) -> bool:
    """Report what is declared twice; return whether anything is."""
    before = len(collector.found)
    groups = (
        [(param.name, param.span) for param in spec.params]
        + [(port.name, port.span) for port in spec.inputs],
        [(block.name, block.span) for block in spec.blocks],
        [(output.name, output.span) for output in spec.outputs],
        [(variant.name, variant.span) for variant in spec.variants],
    )
    for group in groups:
        first: dict[str, Span] = {}
        for name, span in group:
            if name in first:
                note = Note("the first stands here", first[name])
                collector.add(codes.REDEFINED.at(span, name=name, notes=[note]))
            first.setdefault(name, span)
    return len(collector.found) > before


def _inputs(builder: Builder, spec: tree.Spec) -> dict[str, Value]:
    inputs: dict[str, Value] = {}
    for port in spec.inputs:
        try:
            if not _is_taken(builder, port):
                builder.scope[port.name] = None
                continue
            if port.shape is None:
                fail(codes.MISSING_KEY.at(
                    port.span, where=f"input {port.name}", key="shape",
                    hint=f"write {port.name}: [b, n, d]",
                ))  # fmt: skip
            type_ = TensorType(input_shape(builder, port.shape), port.dtype)
            inputs[port.name] = Value(port.name, type_, (port.span,))
        except (Fault, Poisoned) as wrong:
            if isinstance(wrong, Fault):
                builder.report(wrong.diagnostic)
            builder.faulty = True
        builder.scope[port.name] = inputs.get(port.name, POISON)
    return inputs


def _is_taken(builder: Builder, port: tree.Port) -> bool:
    """Whether the model takes an input for its params."""
    if port.condition is None:
        return True
    return builder.truth(port.condition, builder.evaluate(port.condition))


def _outputs(builder: Builder, spec: tree.Spec) -> None:
    for output in spec.outputs:
        try:
            value = builder.evaluate(output.value)
            if value is None:
                continue
            if not isinstance(value, Value):
                fail(codes.NOT_A_TENSOR.at(
                    output.value.span,
                    detail=f"output {output.name} must be a tensor, not {noun(value)}",
                ))  # fmt: skip
            builder.outputs[output.name] = value
        except Fault as fault:
            builder.report(fault.diagnostic)
            builder.faulty = True
        except Poisoned:
            builder.faulty = True


def _check_outputs(builder: Builder, spec: tree.Spec) -> None:
    """Report a model that gives nothing; then all that it computes is unused."""
    if not builder.outputs and not builder.exits and not builder.faulty:
        builder.report(codes.MISSING_KEY.at(
            spec.span, where=f"model {spec.model}", key="outputs",
            label="all of them are none for these params" if spec.outputs else "",
            hint="say what it gives: `outputs: {y: x}`, or `output y = x` in the text notation",
        ))  # fmt: skip
        builder.faulty = True


# Blocks -----------------------------------------------------------------------------------


def build_body(
    context: Context,
    ref: BlockRef,
    ports: Mapping[str, object],
    params: Mapping[str, object],
    places: Mapping[str, Span],
    chain: SpanChain,
) -> Body | None:
    """Elaborate a block for the types of its ports and its params; none where it has faults.

    Args:
        ports: the caller's tensors; only their types matter here.
        params: those given; the others take their defaults.
        places: where the argument of each port and param stands.
    """
    block = ref.block
    builder = Builder(context, ref.home, chain, is_top=False)
    context.active.append(ref)
    try:
        inner = _bind_ports(builder, block, ports, places)
        captured = _bind_params(builder, block, params, places)
        run(builder, block.body)
        outputs = _results(builder, block)
    except Fault as fault:
        builder.report(fault.diagnostic)
        return None
    except Poisoned:
        return None
    finally:
        context.active.pop()
    if builder.faulty:
        return None
    arguments = {param.name: builder.arguments.get(param.name) for param in block.params}
    body = Body(
        block.name, block.doc, arguments, {**inner, **captured}, tuple(builder.nodes), outputs,
        {}, builder.dims, (block.span,),
    )  # fmt: skip
    check_used(body, context.collector)
    return body


def _bind_ports(
    builder: Builder,
    block: tree.Block,
    ports: Mapping[str, object],
    places: Mapping[str, Span],
) -> dict[str, Arg]:
    inner: dict[str, Arg] = {}
    for port in block.ports:
        inner[port.name] = _fresh(ports[port.name], port.name, port.span)
        builder.scope[port.name] = inner[port.name]
    for port in block.ports:
        value = inner[port.name]
        if port.shape is not None and isinstance(value, Value):
            what = f"{port.name} of {block.name}"
            bind_shape(builder, port.shape, value.type, what, places[port.name])
    return inner


def _fresh(value: object, name: str, span: Span) -> Arg:
    """Return the port that stands for a caller's tensor, or list of tensors."""
    if isinstance(value, Value):
        return Value(name, value.type, (span,))
    if isinstance(value, (list, tuple)):
        return tuple(_fresh(item, f"{name}_{at}", span) for at, item in enumerate(value))
    return None


def _bind_params(
    builder: Builder,
    block: tree.Block,
    params: Mapping[str, object],
    places: Mapping[str, Span],
) -> dict[str, Value]:
    """Bind params in order, so that defaults may use ports' sizes and earlier params."""
    captured: dict[str, Value] = {}
    for param in block.params:
        if param.name in params:
            value = _adopted(params[param.name], param, captured)
        elif param.default is not None:
            value = builder.evaluate(param.default)
        else:
            fail(codes.NO_VALUE.at(param.span, name=param.name))
        site = places[param.name] if param.name in params else param.span
        builder.scope[param.name] = builder.arguments[param.name] = (
            value if param.type == "score" else check_param(param, value, site)
        )
    return captured


def _adopted(value: object, param: tree.Param, captured: dict[str, Value]) -> object:
    """Replace the caller's tensors inside a score or a domain by ports of the block."""
    if not isinstance(value, (Captured, DomainValue)):
        return value
    inner = []
    for name, tensor in value.tensors:
        port = f"{param.name}_{name}"
        captured[port] = Value(port, tensor.type, (param.span,))
        inner.append((name, captured[port]))
    if isinstance(value, Captured):
        return Captured(value.tree, tuple(inner))
    return DomainValue(value.domain, tuple(inner))


def _results(builder: Builder, block: tree.Block) -> Arg:
    if builder.returned is None:
        if builder.faulty:
            raise Poisoned
        fail(codes.RETURN.at(
            block.span, detail=f"block {block.name!r} returns nothing",
            hint="end it with `return x`",
        ))  # fmt: skip
    values, statement = builder.returned
    if block.results and len(block.results) != len(values):
        fail(codes.RETURN.at(
            statement.span,
            detail=f"{len(block.results)} results are declared, {len(values)} are returned",
        ))  # fmt: skip
    for pattern, value, expr in zip(block.results, values, statement.values, strict=False):
        if isinstance(value, Value):
            bind_shape(builder, pattern, value.type, f"result of {block.name}", expr.span)
    return _structure(values[0] if len(values) == 1 else values)


def _structure(value: object) -> Arg:
    if isinstance(value, (list, tuple)):
        return tuple(_structure(item) for item in value)
    return value if isinstance(value, Value) else None
