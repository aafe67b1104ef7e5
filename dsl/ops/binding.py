"""Arguments matched against a signature, and the types of its results."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from attnc.dsl.dims import Shape
from attnc.dsl.graph import Arg, TensorType, Value
from attnc.dsl.ops.bound import Bound, Rule, shape_of, tensors_in
from attnc.dsl.ops.mismatch import Mismatch
from attnc.dsl.ops.promotion import result_dtype
from attnc.dsl.ops.signature import DTYPES, Many, Pattern, Signature
from attnc.dsl.values import noun


def bind(signature: Signature, args: Mapping[str, Arg], rules: Mapping[str, Rule]) -> Bound:
    """Check the arguments and name the sizes of the tensors.

    Raises:
        Mismatch: an argument of the wrong kind, or a tensor of the wrong dtype or shape.
    """
    bound = Bound(args, rules)
    for parameter in signature.parameters:
        name = parameter.name.lstrip("*")
        if not parameter.accepts(args[name]):
            raise Mismatch(
                "argument", f"{name} must be {parameter.expected}, not {noun(args[name])}",
                parameter=name, expected=parameter.expected, found=noun(args[name]),
            )  # fmt: skip
    for name, pattern in signature.patterns.items():
        for value in tensors_in(args[name]):
            _match(name, pattern, value, bound)
    return bound


def result_types(signature: Signature, bound: Bound) -> tuple[TensorType, ...]:
    """Return the types of all results.

    Raises:
        Mismatch: a rule rejects the arguments.
    """
    types: list[TensorType] = []
    for result in signature.results:
        shapes = _result_shapes(result, bound)
        dtype = result_dtype(result.dtype, signature, bound)
        types.extend(TensorType(shape, dtype) for shape in shapes)
    return tuple(types)


def _result_shapes(result: Pattern | Many, bound: Bound) -> tuple[Shape, ...]:
    if isinstance(result, Pattern):
        return (bound.evaluate_shape(result.axes),)
    shapes = bound.evaluate(result.shapes)
    assert isinstance(shapes, tuple)
    return tuple(map(shape_of, shapes))


def _match(name: str, pattern: Pattern, value: Value, bound: Bound) -> None:
    allowed = DTYPES[pattern.dtype]
    if value.type.dtype not in allowed:
        raise Mismatch(
            "dtype", f"this is {value.type.dtype}",
            parameter=name, expected=" or ".join(allowed), found=value.type.dtype,
        )  # fmt: skip
    if pattern.is_open:
        return
    known = set(_names(pattern, bound))
    for axis, size in _paired(name, pattern, value):
        if not _unify(axis, size, bound):
            wanted = bound.evaluate(axis.value if isinstance(axis, ast.Starred) else axis)
            raise Mismatch(
                "shape", f"{_written(axis)} is {_shown(size)} here, {_shown(wanted)} before",
                parameter=name, found=str(value.type),
                expected=_explained(pattern, bound, known | set(_names_in(axis))),
            )  # fmt: skip


def _paired(name: str, pattern: Pattern, value: Value) -> list[tuple[ast.expr, Arg]]:
    """Pair the axes of a pattern with sizes, a star with the tuple of those it stands for."""
    shape, axes = value.shape, pattern.axes
    star = next((k for k, axis in enumerate(axes) if isinstance(axis, ast.Starred)), None)
    spare = len(shape) - len(axes) + (star is not None)
    if spare < 0 or (star is None and spare):
        count = f"{len(axes) - (star is not None)}{' or more' if star is not None else ''}"
        raise Mismatch(
            "rank", f"{len(shape)} axes, where {count} are needed",
            parameter=name, expected=pattern.shape, found=str(value.type),
        )  # fmt: skip
    if star is None:
        return list(zip(axes, shape, strict=True))
    return [
        *zip(axes[:star], shape[:star], strict=True),
        (axes[star], shape[star : star + spare]),
        *zip(axes[star + 1 :], shape[star + spare :], strict=True),
    ]


def _unify(axis: ast.expr, size: Arg, bound: Bound) -> bool:
    name = axis.value if isinstance(axis, ast.Starred) else axis
    if isinstance(name, ast.Name) and name.id not in bound:
        bound.add(name.id, size)
        return True
    return bound.evaluate(name) == size


def _written(axis: ast.expr) -> str:
    return ast.unparse(axis).replace("*_", "*")


def _names(pattern: Pattern, bound: Bound) -> list[str]:
    """Return the names in a pattern that stand for something already."""
    names = [name for axis in pattern.axes for name in _names_in(axis)]
    return [name for name in dict.fromkeys(names) if name in bound]


def _names_in(axis: ast.expr) -> list[str]:
    return [node.id for node in ast.walk(axis) if isinstance(node, ast.Name)]


def _explained(pattern: Pattern, bound: Bound, known: set[str]) -> str:
    """Return `[*, i] with i = 384` for the names known before."""
    names = [name for name in _names(pattern, bound) if name in known]
    facts = [f"{name.replace('_', '*')} = {_shown(bound[name])}" for name in names]
    return f"{pattern.shape} with {', '.join(facts)}" if facts else pattern.shape


def _shown(value: Arg) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return str(value)
