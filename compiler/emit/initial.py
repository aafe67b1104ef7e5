"""Initial values of weights that stand by themselves, as torch expressions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from attnc.compiler.emit.code import (
    Attribute,
    Binary,
    Call,
    Expr,
    ListOf,
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

_DTYPES: Mapping[str, str] = {
    "int": "torch.int64", "bool": "torch.bool", "complex": "torch.complex64",
}  # fmt: skip

Sizes = tuple[Expr, ...]
Numbers = tuple[Expr, ...]
Shape = tuple[int, ...]


def weight(given: Weight, said: Expr | None) -> Member:
    """Return a parameter or buffer with its initial value.

    Args:
        said: the expression of the spec that declares it, `param([1, n, d])`.
    """
    rule = parse_initial(given.init)
    saids = _said_sizes(said, len(given.shape))
    sizes = tuple(map(Literal, given.shape, saids)) or (TupleOf(()),)
    numbers = tuple(Literal(number, said) for number in rule.numbers)
    made = _RULES[rule.name](sizes, numbers, given.shape)
    dtype = _DTYPES.get(given.dtype)
    if dtype is not None:
        made = rewrite(made, lambda expr: _of_dtype(expr, dotted(dtype)))
    return Member(made, "parameter" if given.trainable else "buffer")


def _said_sizes(said: Expr | None, rank: int) -> tuple[Expr | None, ...]:
    """Return what a declaration says of each size."""
    match said:
        case Call(_, (ListOf(items), *_)) if len(items) == rank:
            return items
    return (said,) * rank


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


def _geometric(sizes: Sizes, numbers: Numbers, shape: Shape) -> Expr:
    """The element i of all N is a * (b / a) ** (i / N)."""
    count = Literal(prod(shape))
    steps = Binary("/", Call(dotted("torch.arange"), (count,)), count)
    first, last = numbers
    if isinstance(first, Literal) and first.value == 1:
        return Call(Attribute(Binary("**", last, steps), "reshape"), sizes)
    powers = Binary("**", Binary("/", last, first), steps)
    return Call(Attribute(Binary("*", first, powers), "reshape"), sizes)


def _multiples(sizes: Sizes, numbers: Numbers, shape: Shape) -> Expr:
    row = Binary("*", Call(dotted("torch.arange"), sizes[-1:]), numbers[0])
    return Binary("*", Call(dotted("torch.ones"), sizes), row) if len(shape) > 1 else row


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
    "multiples": _multiples,
    "uniform": _uniform,
    "geometric": _geometric,
    "xavier_uniform": _xavier_uniform,
    "linear": _linear,
}
