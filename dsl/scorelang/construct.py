"""Typed construction of score trees: every Apply is made here, with its types checked."""

from __future__ import annotations

from attnc.dsl.attention import Apply, Constant, ScoreTree
from attnc.dsl.scorelang.functions import FUNCTIONS
from attnc.dsl.scorelang.printing import text


class ScoreTypeError(Exception):
    """Arguments that a function does not take; the text says why, `help` what to write."""

    def __init__(self, detail: str, help: str | None = None) -> None:
        super().__init__(detail)
        self.help = help


def apply(name: str, *arguments: ScoreTree) -> ScoreTree:
    """Apply a row of FUNCTIONS, turning ints into floats where the types ask for it.

    Raises:
        ScoreTypeError: the number or the types of the arguments are wrong.
    """
    row = FUNCTIONS[name]
    count = len(row.arguments)
    if len(arguments) != count:
        raise ScoreTypeError(
            f"{row.shown} takes {count} argument{'s'[: count - 1]}, not {len(arguments)}"
        )
    numbers = [
        argument.type
        for kind, argument in zip(row.arguments, arguments, strict=True)
        if kind == "number"
    ]
    number = "float" if "float" in numbers else "int"
    typed = tuple(
        _converted(row.shown, number if kind == "number" else kind, argument)
        for kind, argument in zip(row.arguments, arguments, strict=True)
    )
    return Apply(name, typed, number if row.result == "number" else row.result)


def as_float(tree: ScoreTree) -> ScoreTree:
    """Return an int or bool tree as a float one; a float stays as it is."""
    match tree:
        case Constant(value):
            return Constant(float(value))
        case _ if tree.type == "float":
            return tree
    return Apply("float", (tree,), "float")


def _converted(name: str, kind: str, argument: ScoreTree) -> ScoreTree:
    if kind in ("any", argument.type):
        return argument
    if kind == "float" and argument.type == "int":
        return as_float(argument)
    wrong = f"`{name}` takes {_article(kind)}; `{text(argument)}` is {_article(argument.type)}"
    raise ScoreTypeError(
        wrong, _REMEDIES.get((kind, argument.type), "").format(text(argument)) or None
    )


_REMEDIES = {
    ("int", "bool"): "write where({}, 1, 0)",
    ("float", "bool"): "write float({})",
    ("int", "float"): "write floor({})",
    ("bool", "int"): "write {} != 0",
}


def _article(kind: str) -> str:
    return f"an {kind}" if kind == "int" else f"a {kind}"
