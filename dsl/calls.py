"""Calls: binding arguments, rows of the operator table, blocks, instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from attnc.dsl import arithmetic, codes, tree
from attnc.dsl.builder import Builder
from attnc.dsl.expressions import Poisoned, fail
from attnc.dsl.graph import Arg, TensorType, Value
from attnc.dsl.ops import TABLE
from attnc.dsl.ops.row import REQUIRED, Mismatch, Op
from attnc.dsl.spans import Span
from attnc.dsl.suggest import did_you_mean
from attnc.dsl.values import (
    BlockRef,
    Captured,
    DomainValue,
    Fields,
    Instance,
    OpRef,
    noun,
)


@dataclass(frozen=True, slots=True)
class Slot:
    """One parameter of whatever is called.

    Attributes:
        stars: 1 takes all remaining positional arguments, 2 all remaining keyword arguments.
        is_score: the argument is a score expression in the caller's scope.
    """

    name: str
    required: bool
    default: object = None
    stars: int = 0
    is_score: bool = False


@dataclass(frozen=True, slots=True)
class Given:
    """One evaluated argument, or a default; then the span is that of the call."""

    name: str | None
    value: object
    span: Span


Places = Mapping[str, Span]
"""Where the argument of each parameter stands."""


def call_function(
    builder: Builder, target: OpRef | BlockRef | Instance, expr: tree.Call, label: str | None
) -> object:
    """Call an operator, a block or an instance."""
    if isinstance(target, Instance):
        return _call_instance(builder, target, expr)
    if isinstance(target, BlockRef):
        given = evaluated(builder, target, expr)
        bound, places = bind(target.name, block_slots(target), given, expr.span)
        path = builder.claim(expr, label, target.name)
        return call_block(builder, target, bound, places, expr.span, path)
    return _call_row(builder, target, expr, label)


def _call_row(builder: Builder, target: OpRef, expr: tree.Call, label: str | None) -> object:
    row = TABLE[target.name]
    given = evaluated(builder, target, expr)
    if target.name in _COMPILE_TIME and not any(_has_tensor(each.value) for each in given):
        return builder.compute(expr, target.name, builder.positional(expr))
    bound, places = bind(target.name, op_slots(row), given, expr.span)
    path = _row_path(builder, row, expr, label)
    return apply_row(builder, row, bound, expr.span, path, places)


def evaluated(builder: Builder, target: OpRef | BlockRef, expr: tree.Call) -> list[Given]:
    """Evaluate the arguments of a call; those for score parameters become score trees."""
    from attnc.dsl.forms import capture

    scores = {slot.name for slot in _slots(target) if slot.is_score}
    given = []
    for argument in expr.arguments:
        if argument.name in scores:
            value: object = capture(builder, argument.value)
        else:
            value = builder.evaluate(argument.value)
        given.append(Given(argument.name, value, argument.span))
    return given


def bind(
    name: str, slots: Sequence[Slot], given: Sequence[Given], span: Span
) -> tuple[dict[str, object], Places]:
    """Pair arguments with parameters; every parameter gets a value and the place of it.

    Raises:
        Fault: unknown, missing or doubled arguments.
    """
    places = {slot.name: span for slot in slots}
    free = [slot for slot in slots if slot.stars == 0]
    rest, extra = (next((s.name for s in slots if s.stars == n), None) for n in (1, 2))
    bound: dict[str, object] = {}
    if extra is not None:
        known = {slot.name for slot in free}
        bound[extra] = {g.name: g.value for g in given if g.name and g.name not in known}
        given = [each for each in given if not each.name or each.name in known]
    if rest is not None:
        before = next(at for at, slot in enumerate(slots) if slot.stars == 1)
        positional = [each for each in given if each.name is None]
        bound[rest] = tuple(_flat([each.value for each in positional[before:]]))
        given = [each for each in given if each.name is not None or each in positional[:before]]
    position = 0
    for each in given:
        if each.name is None and position >= len(free):
            fail(codes.ARGUMENT.at(
                each.span, op=name, detail=f"takes {_at_most(len(free))}",
                hint=f"its parameters are {', '.join(slot.name for slot in free)}",
            ))  # fmt: skip
        key = _known(name, each, free) if each.name is not None else free[position].name
        position += each.name is None
        if key in bound:
            fail(codes.ARGUMENT.at(each.span, op=name, detail=f"argument {key!r} is given twice"))
        bound[key] = each.value
        places[key] = each.span
    for slot in free:
        if slot.name not in bound:
            if slot.required:
                fail(codes.ARGUMENT.at(span, op=name, detail=f"argument {slot.name!r} is missing"))
            bound[slot.name] = slot.default
    return bound, places


def _at_most(count: int) -> str:
    return {0: "no argument", 1: "only one argument"}.get(count, f"at most {count} arguments")


def _known(name: str, each: Given, free: Sequence[Slot]) -> str:
    names = [slot.name for slot in free]
    if each.name in names:
        return each.name or ""
    fail(codes.ARGUMENT.at(
        each.span, op=name, detail=f"has no parameter {each.name!r}",
        hint=did_you_mean(each.name or "", names) or f"its parameters are {', '.join(names)}",
    ))  # fmt: skip


def _flat(items: list[object]) -> list[object]:
    """`concat(xs, axis=1)` of one list means its items."""
    if len(items) == 1 and isinstance(items[0], (list, tuple)):
        return list(items[0])
    return items


# Operators --------------------------------------------------------------------------------


def op_slots(row: Op) -> list[Slot]:
    """Return the parameters of a row."""
    return [
        Slot(
            parameter.name.lstrip("*"),
            parameter.default is REQUIRED,
            None if parameter.default is REQUIRED else parameter.default,
            len(parameter.name) - len(parameter.name.lstrip("*")),
        )
        for parameter in row.parameters
    ]


def apply_row(
    builder: Builder,
    row: Op,
    bound: Mapping[str, object],
    span: Span,
    path: str | None,
    places: Places | None = None,
) -> object:
    """Infer the results of a row and add its node."""
    defaults = {slot.name: slot.default for slot in op_slots(row) if slot.name not in bound}
    args = {key: _argument(value) for key, value in {**bound, **defaults}.items()}
    try:
        types = row.infer(args)
    except Mismatch as wrong:
        _fail_mismatch(row, wrong, (places or {}).get(wrong.parameter or "", span))
    results = builder.add(row.name, args, types, span, module=path)
    return Fields(results, row.result_fields) if row.is_tuple else results[0]


def _fail_mismatch(row: Op, wrong: Mismatch, span: Span) -> None:
    what = f"{wrong.parameter} of {row.name}" if wrong.parameter else row.name
    if wrong.kind == "argument":
        fail(codes.ARGUMENT.at(span, op=row.name, detail=wrong.message))
    problem = {"rank": codes.RANK, "dtype": codes.DTYPE}.get(wrong.kind, codes.SHAPE)
    fail(
        problem.at(span, what=what, expected=wrong.expected, found=wrong.found, label=wrong.message)
    )


def _argument(value: object) -> Arg:
    """Bring a value to what a node holds."""
    if isinstance(value, (list, tuple)):
        return tuple(_argument(item) for item in value)
    if isinstance(value, Mapping):
        return {key: _argument(item) for key, item in value.items()}
    return cast(Arg, value)


def _row_path(builder: Builder, row: Op, site: tree.Expr, label: str | None) -> str | None:
    if row.has_weights:
        return builder.claim(site, label, row.name)
    if label is not None:
        fail(codes.ARGUMENT.at(
            site.span, op=f"@{label}", detail=f"{row.name} has no weights to name"
        ))  # fmt: skip
    return None


def _has_tensor(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_has_tensor(item) for item in value)
    return isinstance(value, Value)


_COMPILE_TIME = frozenset(arithmetic.FUNCTIONS)


# Blocks -----------------------------------------------------------------------------------


def block_slots(ref: BlockRef) -> list[Slot]:
    """Return the ports and params of a block, in order."""
    block = ref.block
    ports = [Slot(port.name, not port.optional) for port in block.ports]
    params = [
        Slot(param.name, param.default is None, _UNSET, is_score=param.type == "score")
        for param in block.params
    ]
    return ports + params


class _Unset:
    """A param left to its default, which its block evaluates."""


_UNSET = _Unset()


def _slots(target: OpRef | BlockRef) -> list[Slot]:
    return block_slots(target) if isinstance(target, BlockRef) else op_slots(TABLE[target.name])


def call_block(
    builder: Builder,
    ref: BlockRef,
    bound: Mapping[str, object],
    places: Places,
    span: Span,
    path: str,
) -> object:
    """Elaborate a block for its arguments, or find it done, and add the call."""
    from attnc.dsl.elaborate import build_body

    block = ref.block
    ports = {port.name: bound[port.name] for port in block.ports}
    params = {p.name: bound[p.name] for p in block.params if bound[p.name] is not _UNSET}
    _check_ports(ref, ports, places)
    captured = [value for param in params.values() for value in _captured(param)]
    key = (
        ref,
        tuple(_key(value) for value in ports.values()),
        tuple((name, _key(value)) for name, value in params.items()),
    )
    context = builder.context
    if key not in context.bodies:
        _check_recursion(builder, ref, span)
        context.bodies[key] = build_body(
            context, ref, ports, params, places, (*builder.chain, span)
        )
    body = context.bodies[key]
    if body is None:
        raise Poisoned
    arguments = tuple(_argument(value) for value in [*ports.values(), *captured])
    flat = tuple(_leaves(body.outputs))
    results = builder.add(
        "block", {"ports": arguments}, tuple(value.type for value in flat), span,
        module=path, body=body, name=ref.name,
    )  # fmt: skip
    for result, inner in zip(results, flat, strict=True):
        object.__setattr__(result, "name", inner.name)
    return _rebuilt(body.outputs, iter(results))


def _check_recursion(builder: Builder, ref: BlockRef, span: Span) -> None:
    active = builder.context.active
    if ref in active:
        names = [each.name for each in active[active.index(ref) :]] + [ref.name]
        fail(codes.CYCLE.at(span, name=ref.name, path=" -> ".join(names)))


def _check_ports(ref: BlockRef, ports: Mapping[str, object], places: Places) -> None:
    for port in ref.block.ports:
        value, span, what = ports[port.name], places[port.name], f"{port.name} of {ref.name}"
        if value is None and port.optional:
            continue
        is_list = port.shape is None and isinstance(value, (list, tuple))
        if not isinstance(value, Value) and not (is_list and _all_tensors(value)):
            fail(codes.NOT_A_TENSOR.at(span, detail=f"{what} must be a tensor, not {noun(value)}"))
        if isinstance(value, Value) and port.shape is not None and value.type.dtype != port.dtype:
            fail(codes.DTYPE.at(span, what=what, expected=port.dtype, found=value.type.dtype))


def _all_tensors(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_all_tensors(item) for item in value)
    return isinstance(value, Value)


def _captured(value: object) -> list[Value]:
    """Return the tensors of the caller that a param carries."""
    if isinstance(value, (Captured, DomainValue)):
        return [tensor for _, tensor in value.tensors]
    return []


def _key(value: object) -> object:
    """Return what makes two arguments equal for elaboration."""
    if isinstance(value, Value):
        return value.type
    if isinstance(value, (list, tuple)):
        return ("list", *(_key(item) for item in value))
    if isinstance(value, Mapping):
        return ("map", *((name, _key(item)) for name, item in value.items()))
    if isinstance(value, Captured):
        return ("score", value.tree, tuple((name, t.type) for name, t in value.tensors))
    if isinstance(value, DomainValue):
        return ("domain", value.domain, tuple((name, t.type) for name, t in value.tensors))
    return (type(value).__name__, value)


def _leaves(outputs: Arg) -> list[Value]:
    if isinstance(outputs, Value):
        return [outputs]
    if isinstance(outputs, tuple):
        return [leaf for item in outputs for leaf in _leaves(item)]
    return []


def _rebuilt(outputs: Arg, results: object) -> object:
    if isinstance(outputs, tuple):
        return [_rebuilt(item, results) for item in outputs]
    return next(results)  # type: ignore[call-overload]


# Instances --------------------------------------------------------------------------------


def make_instance(builder: Builder, expr: tree.Use, label: str | None) -> Instance:
    """Make what `use f(...)` stands for."""
    call = expr.call
    target = builder.evaluate(call.function)
    if not isinstance(target, (OpRef, BlockRef)):
        fail(codes.NOT_A_TENSOR.at(
            call.span, detail=f"`use` takes a block or an operator, not {noun(target)}"
        ))  # fmt: skip
    path = builder.claim(expr, label, target.name)
    given = evaluated(builder, target, call)
    positional = tuple(each.value for each in given if each.name is None)
    keywords = {each.name: each.value for each in given if each.name is not None}
    return Instance(target, positional, keywords, path, builder)


def _call_instance(builder: Builder, instance: Instance, expr: tree.Call) -> object:
    _check_owner(builder, instance, expr.span)
    target = instance.function
    given = evaluated(builder, target, expr)
    taken = {each.name for each in given}
    given += [
        Given(name, value, expr.span)
        for name, value in instance.keywords.items()
        if name not in taken
    ]
    tensors = [each for each in given if each.name is None]
    fixed = [Given(None, value, expr.span) for value in instance.positional]
    named = [each for each in given if each.name is not None]
    bound, places = bind(target.name, _slots(target), [*tensors, *fixed, *named], expr.span)
    if isinstance(target, BlockRef):
        return call_block(builder, target, bound, places, expr.span, instance.path)
    return apply_row(builder, TABLE[target.name], bound, expr.span, instance.path, places)


def _check_owner(builder: Builder, instance: Instance, span: Span) -> None:
    if instance.owner is not builder:
        fail(codes.NOT_A_TENSOR.at(
            span, detail="an instance can be called only in the block that made it"
        ))  # fmt: skip


def read_weight(builder: Builder, instance: Instance, expr: tree.Attribute) -> Value:
    """Return the weight `f.weight` of an instance of an operator."""
    _check_owner(builder, instance, expr.span)
    node = next((n for n in builder.nodes if n.module == instance.path and n.op != "weight"), None)
    row = TABLE.get(instance.function.name)
    if node is None or row is None or isinstance(instance.function, BlockRef):
        fail(codes.NOT_A_TENSOR.at(
            expr.span,
            detail="a weight can be read from the instance of an operator, after its first call",
        ))  # fmt: skip
    weights = row.weights(node.args)
    if expr.name not in weights:
        fail(codes.NO_MEMBER.at(
            expr.span, what=row.name, part="weight", name=f"'{expr.name}'",
            hint=did_you_mean(expr.name, weights) or f"it has {', '.join(weights)}",
        ))  # fmt: skip
    weight = weights[expr.name]
    path = f"{instance.path}.{expr.name}"
    type_ = TensorType(weight.shape, weight.dtype)
    return builder.add("weight", {}, (type_,), expr.span, module=path, name=expr.name)[0]
