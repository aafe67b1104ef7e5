"""Codes of one block that agree but for literals become one class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from torch import nn

from attnc.compiler.emit.bodies import ClassCode, Port, Result
from attnc.compiler.emit.code import (
    Assign,
    Attribute,
    Binary,
    Call,
    Constant,
    Dots,
    Expr,
    ListOf,
    Literal,
    Name,
    Role,
    Statement,
    TupleOf,
    literals_in,
    rewrite,
    walk,
)
from attnc.compiler.emit.declared import Declared
from attnc.compiler.emit.holdings import positional
from attnc.compiler.emit.notes import agreeing, without_notes
from attnc.compiler.emit.parameters import Column, Parameters

AnyItem = TypeVar("AnyItem")


@dataclass(frozen=True, slots=True)
class Class:
    """A class, ready to be written.

    Attributes:
        code: that of the first body, with parameters in place of numbers.
        parameters: name -> its value in each body.
        sizes: parameters that are passed by position.
        declared: the shapes of ports and results in the words of the spec.
    """

    name: str
    code: ClassCode
    parameters: dict[str, Column]
    sizes: frozenset[str]
    declared: Declared

    def constructor(self, at: int, said: Expr | None) -> Call:
        """Return the call that makes an instance for body number `at`.

        Sizes of ports are passed by position; of them the spec is silent there.

        Args:
            said: the call in the spec.
        """
        given = {name: column[at] for name, column in self.parameters.items()}
        sizes = tuple(
            Literal(value, role=Role.SIZE) for name, value in given.items() if name in self.sizes
        )
        spoken = dict(said.keywords) if isinstance(said, Call) else {}
        keywords = tuple(
            (name, Literal(value, spoken.get(name, said)))
            for name, value in given.items()
            if name not in self.sizes
        )
        return Call(Name(self.name), sizes, keywords)


def skeleton(code: ClassCode) -> object:
    """Return what codes must share to be one class: all but their literals and comments."""
    bare = rewrite((*code.init, *without_notes(code.forward)), _blank)
    ports = tuple((port.name, port.annotation) for port in code.ports)
    return bare, ports, code.returns, code.tables, code.exits


def _blank(expr: Expr) -> Expr | None:
    return Name("_") if isinstance(expr, Literal) and not expr.is_fixed else None


def unify(name: str, codes: Sequence[ClassCode], said: Declared, is_top: bool = False) -> Class:
    """Make one class of codes with equal skeletons.

    Args:
        said: what the block declares.
        is_top: it is the model itself, which is what it is: it takes no parameters.
    """
    codes = agreeing(codes)
    first = codes[0]
    sizes = frozenset(first.body.dims)
    settings = [{} if is_top else code.settings for code in codes]
    parameters = Parameters(settings, sizes, said.defaults)
    made = iter(_replacements([(*code.init, *code.forward) for code in codes], parameters))
    attributes = _attributes(parameters.ordered(), first)
    init = _filled(first.init, made, {})
    forward = rewrite(_filled(first.forward, made, attributes), _left_open)
    code = replace(
        first,
        ports=tuple(_port(ports, parameters) for ports in _columns(code.ports for code in codes)),
        results=tuple(_result(each, parameters) for each in _columns(c.results for c in codes)),
        init=(*_kept(attributes, forward), *init),
        forward=forward,
    )
    found = {each: parameters.found[each] for each in parameters.ordered()}
    return Class(name, code, found, sizes, said)


# Literals ---------------------------------------------------------------------------------


def _replacements(trees: Sequence[tuple[Statement, ...]], parameters: Parameters) -> list[Expr]:
    """Return what stands for each literal of the first tree, in order."""
    rows = zip(*map(literals_in, trees), strict=True)
    columns = [tuple(literal.value for literal in row) for row in rows]
    literals = literals_in(trees[0])
    wishes = _wishes(trees[0])
    made: list[Expr] = list(literals)
    for at, literal in enumerate(literals):
        if literal.role is not Role.NOTE:
            made[at] = parameters.expression(columns[at], literal, wishes.get(id(literal), "size"))
    for at, literal in enumerate(literals):
        if literal.role is Role.NOTE:
            made[at] = parameters.note(columns[at], shares=True)
    return made


def _wishes(tree: tuple[Statement, ...]) -> dict[int, str]:
    """Return a name for each literal that is an argument, should it need one; by identity."""
    wishes: dict[int, str] = {}
    for part in walk(tree):
        if isinstance(part, Call):
            named = list(zip(_positional(part.function), part.arguments, strict=False))
            for name, value in [*named, *part.keywords]:
                wishes.setdefault(id(value), name)
    return wishes


def _positional(function: Expr) -> list[str]:
    return ["depth"] if function == Name("range") else positional(function)


def _filled(
    tree: tuple[Statement, ...], made: Iterator[Expr], attributes: Mapping[str, Attribute]
) -> tuple[Statement, ...]:
    """Put the next expressions in place of the literals, in order.

    Args:
        attributes: what stands for a parameter in code; in comments it goes by its own name.
    """

    def change(expr: Expr) -> Expr | None:
        if not isinstance(expr, Literal) or expr.is_fixed:
            return None
        new = next(made)
        return new if expr.role is Role.NOTE else rewrite(new, own)

    def own(expr: Expr) -> Expr | None:
        return attributes.get(expr.id) if isinstance(expr, Name) else None

    return rewrite(tree, change)


# Attributes -------------------------------------------------------------------------------


def _attributes(names: Sequence[str], code: ClassCode) -> dict[str, Attribute]:
    """Return `self.heads` for each parameter; a name that a module or method has gets a `_`."""
    taken = set(dir(nn.Module())) | set(code.tables)
    for statement in code.init:
        targets = statement.targets if isinstance(statement, Assign) else ()
        taken |= {target.name for target in targets if isinstance(target, Attribute)}
    return {name: Attribute(Name("self"), f"{name}_" if name in taken else name) for name in names}


def _kept(
    attributes: Mapping[str, Attribute], forward: tuple[Statement, ...]
) -> Iterator[Statement]:
    """Yield `self.heads = heads` for each parameter that `forward` reads."""
    read = {part for part in walk(forward) if isinstance(part, Attribute)}
    for name, attribute in attributes.items():
        if attribute in read:
            yield Assign((attribute,), Name(name))


def _left_open(expr: Expr) -> Expr | None:
    """Write the one computed size of `unflatten` as -1, which says the same."""
    match expr:
        case Call(Attribute(base, "unflatten") as method, (axis, TupleOf(items))):
            computed = [at for at, item in enumerate(items) if isinstance(item, (Binary, Call))]
            if len(computed) != 1 or Literal(-1) in items:
                return None
            open_ = Literal(-1)
            sizes = tuple(open_ if at in computed else item for at, item in enumerate(items))
            inner = Attribute(rewrite(base, _left_open), method.name)
            return Call(inner, (axis, TupleOf(sizes)))
    return None


# Shapes -----------------------------------------------------------------------------------


def _columns(rows: Iterable[tuple[AnyItem, ...]]) -> Iterator[tuple[AnyItem, ...]]:
    return zip(*rows, strict=True)


def _port(ports: tuple[Port, ...], parameters: Parameters) -> Port:
    return replace(ports[0], shape=_shape(tuple(port.shape for port in ports), parameters))


def _result(results: tuple[Result, ...], parameters: Parameters) -> Result:
    return results[0][0], _shape(tuple(shape for _, shape in results), parameters)


def _shape(shapes: tuple[ListOf | None, ...], parameters: Parameters) -> ListOf | None:
    """Return one shape for several; axes that not all have are `...`."""
    rows = [shape.items for shape in shapes if shape is not None]
    if len(rows) < len(shapes):
        return None
    rank = min(map(len, rows))
    ends = zip(*(row[len(row) - rank :] for row in rows), strict=True)
    items = [parameters.note(tuple(_size(item) for item in column)) for column in ends]
    more: list[Expr] = [Dots()] if any(len(row) > rank for row in rows) else []
    return ListOf((*more, *items))


def _size(item: Expr) -> Constant:
    return item.value if isinstance(item, Literal) else None
