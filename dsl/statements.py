"""Statements: what each does to the body under construction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from attnc.dsl import codes, tree
from attnc.dsl.builder import Builder, name_results
from attnc.dsl.calls import make_instance
from attnc.dsl.dims import Dim
from attnc.dsl.expressions import Fault, Poisoned, fail
from attnc.dsl.graph import Value
from attnc.dsl.ports import bind_shape
from attnc.dsl.values import POISON, TrainOnly, noun


class Exhausted(Exception):
    """The spec unrolls without end, which is reported; nothing more is worth checking."""


def run(builder: Builder, statements: tuple[tree.Statement, ...]) -> None:
    """Execute statements in order; a faulty one is reported and its names are poisoned."""
    for statement in statements:
        try:
            builder.context.step(statement.span)
            if builder.returned is not None:
                fail(codes.RETURN.at(statement.span, detail="nothing follows a return"))
            _RULES[type(statement)](builder, statement)
        except Fault as fault:
            builder.report(fault.diagnostic)
            _poison(builder, statement)
            if fault.diagnostic.code == codes.TOO_MANY_STEPS.code:
                raise Exhausted from None
        except Poisoned:
            _poison(builder, statement)


def _poison(builder: Builder, statement: tree.Statement) -> None:
    builder.faulty = True
    for name in _assigned(statement):
        builder.scope[name] = POISON


def _assigned(statement: tree.Statement) -> Iterator[str]:
    if isinstance(statement, tree.Assign):
        for target in statement.targets:
            base = target.base if isinstance(target, tree.Index) else target
            if isinstance(base, tree.Name):
                yield base.id
    elif isinstance(statement, tree.If):
        for inner in (*statement.then, *statement.otherwise):
            yield from _assigned(inner)
    elif isinstance(statement, (tree.Repeat, tree.For, tree.When)):
        for inner in statement.body:
            yield from _assigned(inner)


# Assignments ------------------------------------------------------------------------------


def _assign(builder: Builder, statement: tree.Assign) -> None:
    targets = statement.targets
    if len(targets) > 1:
        _unpack(builder, statement)
        return
    target = targets[0]
    if isinstance(target, tree.Index):
        _assign_item(builder, statement, target)
        return
    name = _plain(target)
    before = len(builder.nodes)
    value = _value(builder, statement, name)
    if statement.operator != "=":
        value = _combined(builder, statement, builder.evaluate(target), value)
    _bind(builder, statement, name, value, len(builder.nodes) > before)


def _plain(target: tree.Expr) -> str:
    if isinstance(target, tree.Name):
        return target.id
    fail(codes.WRONG_KIND.at(
        target.span, where="the left of =", expected="a name or a slice", found="an expression"
    ))  # fmt: skip


def _value(builder: Builder, statement: tree.Assign, name: str) -> object:
    """Evaluate the right side; a call of its own takes the new name as label."""
    expr = statement.value
    if statement.operator == "=" and name not in builder.scope:
        builder.bound = (expr, name)
    try:
        if isinstance(expr, tree.Use):
            return make_instance(builder, expr, None)
        if isinstance(expr, tree.Labelled) and isinstance(expr.value, tree.Use):
            return make_instance(builder, expr.value, expr.label)
        return builder.evaluate(expr)
    finally:
        builder.bound = None


def _combined(builder: Builder, statement: tree.Assign, old: object, value: object) -> object:
    symbol = statement.operator.removesuffix("=")
    return builder.binary(
        tree.Binary(symbol, statement.targets[0], statement.value, statement.span), old, value
    )


def _bind(builder: Builder, statement: tree.Assign, name: str, value: object, is_new: bool) -> None:
    """Bind a name; a value that the statement computed is called so, one known before is not."""
    if isinstance(value, Value) and is_new and value in builder.nodes[-1].results:
        name_results(value, [name])
    if statement.annotation is not None:
        if not isinstance(value, Value):
            fail(codes.NOT_A_TENSOR.at(
                statement.value.span,
                detail=f"{name} must be a tensor, as a shape is given, not {noun(value)}",
            ))  # fmt: skip
        bind_shape(builder, statement.annotation, value.type, name, statement.value.span)
    builder.scope[name] = value


def _unpack(builder: Builder, statement: tree.Assign) -> None:
    names = [_plain(target) for target in statement.targets]
    if statement.operator != "=" or statement.annotation is not None:
        fail(codes.ARGUMENT.at(statement.span, op="unpacking", detail="goes with plain `=` only"))
    before = len(builder.nodes)
    value = builder.evaluate(statement.value)
    if isinstance(value, Value):
        fail(codes.UNPACK.at(
            statement.span, targets=len(names), values=1, label=noun(value),
            hint="use split(x, parts, axis) to take a tensor apart",
        ))  # fmt: skip
    if not isinstance(value, (list, tuple)) or len(value) != len(names):
        count = len(value) if isinstance(value, (list, tuple)) else 1
        fail(codes.UNPACK.at(statement.span, targets=len(names), values=count))
    is_new = len(builder.nodes) > before
    if is_new and any(item in builder.nodes[-1].results for item in value):
        name_results(value, names)
    builder.scope.update(zip(names, value, strict=True))


def _assign_item(builder: Builder, statement: tree.Assign, target: tree.Index) -> None:
    name = _plain(target.base)
    old = builder.evaluate(target.base)
    value = builder.evaluate(statement.value)
    if statement.operator != "=":
        value = _combined(builder, statement, builder.evaluate(target), value)
    if isinstance(old, Value):
        args = {"x": old, "spec": builder.slices(target.items), "value": value}
        updated = builder.apply("slice_update", args, statement.span)
        name_results(updated, [name])
        builder.scope[name] = updated
        return
    if not isinstance(old, (list, tuple)) or len(target.items) != 1:
        fail(codes.NOT_A_TENSOR.at(target.span, detail=f"{name} is {noun(old)}: no item to set"))
    position = builder.whole(target.items[0], "an index")
    if not -len(old) <= position < len(old):
        fail(codes.NOT_A_TENSOR.at(
            target.items[0].span, detail=f"index {position} is outside a list of {len(old)} items"
        ))  # fmt: skip
    items = list(old)
    items[position] = value
    builder.scope[name] = items


# Control ----------------------------------------------------------------------------------


def _repeat(builder: Builder, statement: tree.Repeat) -> None:
    count = builder.evaluate(statement.count)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        problem = "a size of the input" if isinstance(count, Dim) else noun(count)
        fail(codes.WRONG_KIND.at(
            statement.count.span, where="repeat", expected="a count of at least 0", found=problem
        ))  # fmt: skip
    builder.context.room_for(count, statement.count.span)
    for index in range(count):
        if statement.index is not None:
            builder.scope[statement.index] = index
        with builder.turn(None if statement.share else index):
            run(builder, statement.body)


def _for(builder: Builder, statement: tree.For) -> None:
    items = builder.evaluate(statement.iterable)
    if not isinstance(items, (list, tuple)):
        fail(codes.WRONG_KIND.at(
            statement.iterable.span, where="for", expected="a list", found=noun(items)
        ))  # fmt: skip
    for index, item in enumerate(items):
        _bind_turn(builder, statement, item)
        with builder.turn(index):
            run(builder, statement.body)


def _bind_turn(builder: Builder, statement: tree.For, item: object) -> None:
    names = statement.targets
    if len(names) == 1:
        builder.scope[names[0]] = item
        return
    if not isinstance(item, (list, tuple)) or len(item) != len(names):
        count = len(item) if isinstance(item, (list, tuple)) else 1
        fail(codes.UNPACK.at(statement.iterable.span, targets=len(names), values=count))
    builder.scope.update(zip(names, item, strict=True))


def _if(builder: Builder, statement: tree.If) -> None:
    value = builder.evaluate(statement.condition)
    if isinstance(value, Value):
        fail(codes.NOT_A_TENSOR.at(
            statement.condition.span,
            detail=f"`if` is decided at compile time, when {noun(value)} is not known",
            hint="use where(condition, a, b) to choose between tensors",
        ))  # fmt: skip
    chosen = builder.truth(statement.condition, value)
    run(builder, statement.then if chosen else statement.otherwise)


def _when(builder: Builder, statement: tree.When) -> None:
    before = dict(builder.scope)
    outer, builder.train = builder.train, True
    try:
        run(builder, statement.body)
    finally:
        builder.train = outer
    for name, value in list(builder.scope.items()):
        if name not in before:
            builder.scope[name] = TrainOnly(name)
        elif before[name] is not value:
            builder.scope[name] = before[name]


def _exit(builder: Builder, statement: tree.Exit) -> None:
    if not builder.is_top:
        fail(codes.RETURN.at(
            statement.span, detail="an exit stands in the graph of the model, not in a block",
            hint="return the value and make it an exit in the graph",
        ))  # fmt: skip
    value = builder.evaluate(statement.value)
    if not isinstance(value, Value):
        fail(codes.NOT_A_TENSOR.at(
            statement.value.span,
            detail=f"exit {statement.name} must be a tensor, not {noun(value)}",
        ))  # fmt: skip
    if statement.name in builder.exits or statement.name in builder.outputs:
        fail(codes.REDEFINED.at(statement.span, name=statement.name))
    builder.exits[statement.name] = value


def _return(builder: Builder, statement: tree.Return) -> None:
    if builder.is_top or builder.train:
        fail(codes.RETURN.at(
            statement.span, detail="return stands in a block, outside `when train`",
            hint="name the results under outputs",
        ))  # fmt: skip
    values = [builder.evaluate(expr) for expr in statement.values]
    for expr, value in zip(statement.values, values, strict=True):
        if not _returnable(value):
            fail(codes.RETURN.at(
                expr.span, detail=f"a block returns tensors or lists of them, not {noun(value)}"
            ))  # fmt: skip
    builder.returned = (values, statement)


def _returnable(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_returnable(item) for item in value)
    return isinstance(value, Value)


_RULES: Mapping[type, Callable[..., None]] = {
    tree.Assign: _assign,
    tree.Repeat: _repeat,
    tree.For: _for,
    tree.If: _if,
    tree.When: _when,
    tree.Exit: _exit,
    tree.Return: _return,
}
