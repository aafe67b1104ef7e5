"""Initial values of weights that stand by themselves, as torch expressions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from attnc.compiler.emit.code import (
    Attribute,
    Binary,
    Call,
    Expr,
    Literal,
    Name,
    TupleOf,
    Unary,
    dotted,
    rewrite,
)
from attnc.compiler.emit.members import Member
from attnc.dsl.graph import Weight
from attnc.dsl.initial import parse_initial
from attnc.dsl.spans import Span

_DTYPES: Mapping[str, str] = {
    "int": "torch.int64", "bool": "torch.bool", "complex": "torch.complex64",
}  # fmt: skip

Sizes = tuple[Expr, ...]
Numbers = tuple[Expr, ...]
Shape = tuple[int, ...]


def weight(given: Weight, origin: Span | None) -> Member:
    """Return a parameter or buffer with its initial value.

    Args:
        origin: the text of the spec that declares it.
    """
    rule = parse_initial(given.init)
    sizes = tuple(Literal(size, origin) for size in given.shape) or (TupleOf(()),)
    numbers = tuple(Literal(number, origin) for number in rule.numbers)
    made = _RULES[rule.name](sizes, numbers, given.shape)
    dtype = _DTYPES.get(given.dtype)
    if dtype is not None:
        made = rewrite(made, lambda expr: _of_dtype(expr, dotted(dtype)))
    return Member(made, "parameter" if given.trainable else "buffer")


def _of_dtype(expr: Expr, dtype: Expr) -> Expr | None:
    match expr:
        case Call(Attribute(Name("torch")), arguments, keywords):
            return Call(expr.function, arguments, (*keywords, ("dtype", dtype)))
    return None


def _filled(function: str) -> Callable[[Sizes, Numbers, Shape], Expr]:
    return lambda sizes, numbers, shape: Call(dotted(f"torch.{function}"), sizes)


def _constant(sizes: Sizes, numbers: Numbers, shape: Shape) -> Expr:
    of_shape = TupleOf(sizes) if shape else TupleOf(())
    return Call(dotted("torch.full"), (of_shape, *numbers))


def _drawn(function: str, sizes: Sizes, *bounds: Expr, std: Expr | None = None) -> Expr:
    keywords = (("std", std),) if std is not None else ()
    empty = Call(dotted("torch.empty"), sizes)
    return Call(dotted(f"nn.init.{function}"), (empty, *bounds), keywords)


def _normal(sizes: Sizes, numbers: Numbers, shape: Shape) -> Expr:
    return _drawn("normal_", sizes, std=numbers[0])


def _trunc_normal(sizes: Sizes, numbers: Numbers, shape: Shape) -> Expr:
    return _drawn("trunc_normal_", sizes, std=numbers[0])


def _uniform(sizes: Sizes, numbers: Numbers, shape: Shape) -> Expr:
    return _drawn("uniform_", sizes, *numbers)


def _xavier_uniform(sizes: Sizes, numbers: Numbers, shape: Shape) -> Expr:
    if len(shape) > 1:
        return _drawn("xavier_uniform_", sizes)
    ratio = Binary("/", Literal(3), Literal(max(prod(shape), 1)))
    return _between(sizes, Binary("**", ratio, Literal(0.5)))


def _linear(sizes: Sizes, numbers: Numbers, shape: Shape) -> Expr:
    fan_in = prod(shape[1:]) if len(shape) > 1 else prod(shape)
    return _between(sizes, Binary("**", Literal(max(fan_in, 1)), Literal(-0.5)))


def _between(sizes: Sizes, bound: Expr) -> Expr:
    return _drawn("uniform_", sizes, Unary("-", bound), bound)


_RULES: Mapping[str, Callable[[Sizes, Numbers, Shape], Expr]] = {
    "zeros": _filled("zeros"),
    "ones": _filled("ones"),
    "embedding": _filled("randn"),
    "constant": _constant,
    "normal": _normal,
    "trunc_normal": _trunc_normal,
    "uniform": _uniform,
    "xavier_uniform": _xavier_uniform,
    "linear": _linear,
}
