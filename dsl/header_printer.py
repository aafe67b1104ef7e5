"""What statements and declarations begin with, the same in both notations."""

from __future__ import annotations

from attnc.dsl import tree
from attnc.dsl.expression_printer import expression
from attnc.dsl.layout import Brackets, Item, Layout, separated
from attnc.dsl.literals import number_text, quoted


def statement(line: tree.Statement) -> Layout:
    """Return a statement; of one with a body, what stands before the body."""
    match line:
        case tree.Assign(targets, operator, value, annotation):
            shape = (": ", *expression(annotation)) if annotation else ()
            return (*_listed(targets), *shape, f" {operator} ", *expression(value))
        case tree.Repeat(count, index, share):
            suffix = (" share" if share else "") + (f" as {index}" if index else "")
            return ("repeat ", *expression(count), suffix)
        case tree.For(names, iterable):
            return (f"for {', '.join(names)} in ", *expression(iterable))
        case tree.If(condition):
            return ("if ", *expression(condition))
        case tree.When():
            return ("when train",)
        case tree.Exit(name, value):
            return (f"exit {name} = ", *expression(value))
        case tree.Return(values):
            return ("return ", *_listed(values))


def body(line: tree.Statement) -> tuple[tree.Statement, ...] | None:
    """Return what is in the braces of a statement; none for one without."""
    match line:
        case tree.Repeat() | tree.For() | tree.When():
            return line.body
        case tree.If():
            return line.then
    return None


def chained(line: tree.If) -> tree.If | None:
    """Return the `if` that stands alone in the else branch, to be written `else if`.

    One with comments needs lines of its own.
    """
    match line.otherwise:
        case (tree.If(comments=(), trailing=None) as only,):
            return only
    return None


def signature(block: tree.Block) -> Layout:
    """Return `name(ports; params) -> shapes`."""
    items = [Item(port(each), each.comments) for each in block.ports]
    if items and block.params:
        items[-1] = Item(items[-1].text, items[-1].comments, ";")
    items += [Item(param(each), each.comments) for each in block.params]
    opening = "(; " if block.params and not block.ports else "("
    results = (" -> ", *_listed(block.results)) if block.results else ()
    return (block.name, Brackets(opening, tuple(items), ")"), *results)


def port(each: tree.Port) -> Layout:
    """Return `x: [b, n] bool = none`."""
    return (each.name, *((": ", *port_type(each)) if each.shape else port_type(each)))


def port_type(each: tree.Port) -> Layout:
    """Return `[b, n] bool = none`, `[b, n] bool if masked`."""
    shape = expression(each.shape) if each.shape else ()
    dtype = f" {each.dtype}" if each.dtype != "float" else ""
    condition = (" if ", *expression(each.condition)) if each.condition else ()
    return (*shape, dtype + (" = none" if each.optional else ""), *condition)


def param(each: tree.Param) -> Layout:
    """Return `heads: int = 8 {min: 1}`."""
    type_ = f": {each.type}" if each.type else ""
    default = (" = ", *expression(each.default)) if each.default else ()
    facts = tuple(Item((f"{key}: ", *layout)) for key, layout in param_facts(each))
    return (each.name, type_, *default, *((" ", Brackets("{", facts, "}")) if facts else ()))


def param_facts(each: tree.Param) -> list[tuple[str, Layout]]:
    """Return what stands in the braces behind a param."""
    facts: list[tuple[str, Layout]] = []
    if each.minimum is not None:
        facts.append(("min", (number_text(each.minimum),)))
    if each.maximum is not None:
        facts.append(("max", (number_text(each.maximum),)))
    if each.choices:
        choices = tuple(Item((_choice(choice),)) for choice in each.choices)
        facts.append(("choices", (Brackets("[", choices, "]"),)))
    if each.fixed:
        facts.append(("fixed", ("true",)))
    if each.doc is not None:
        facts.append(("doc", (quoted(each.doc),)))
    return facts


def _choice(choice: str | int | float) -> str:
    return quoted(choice) if isinstance(choice, str) else number_text(choice)


def _listed(exprs: tuple[tree.Expr, ...]) -> Layout:
    return separated([expression(expr) for expr in exprs], ", ")
