"""Names in emitted code: of classes, of variables as the spec calls them, of loop variables."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Collection, Mapping, Sequence

from attnc.compiler.emit.code import (
    Assign,
    Attribute,
    Binary,
    Call,
    Expr,
    Index,
    Name,
    Ref,
    Statement,
    refs_in,
    rewrite,
)
from attnc.compiler.emit.flow import Line

RESERVED = frozenset(keyword.kwlist) | {
    "self", "torch", "nn", "F", "math", "Tensor", "super", "range", "zip", "tuple", "dict", "int",
    "float", "bool", "str", "until", "outputs", "l", "I", "O",
}  # fmt: skip
"""Words that variables keep clear of; the last three are easily misread."""

_OPERATORS: Mapping[str, str] = {
    "+": "total", "-": "difference", "*": "product", "/": "ratio", "@": "product", "**": "power",
}  # fmt: skip
_FUNCTIONS: Mapping[str, str] = {
    "cat": "joined", "stack": "stacked", "einsum": "product", "sum": "total", "mean": "average",
    "where": "chosen", "zeros": "blank", "arange": "positions", "pad": "padded", "max": "largest",
    "min": "smallest", "gather": "gathered",
}  # fmt: skip


_SAME = frozenset({
    "unflatten", "flatten", "transpose", "permute", "reshape", "movedim", "expand", "squeeze",
    "unsqueeze", "to", "contiguous", "roll", "flip",
})  # fmt: skip
"""Methods whose result is still what it was, in another form."""


def class_name(name: str) -> str:
    """Return `patch_embed` as `PatchEmbed`."""
    words = [word for word in re.split(r"[^0-9A-Za-z]+", name) if word]
    joined = "".join(word[0].upper() + word[1:] for word in words)
    return joined if joined and not joined[0].isdigit() else f"Model{joined}"


def identifier(name: str) -> str:
    """Return a name that is an identifier and no reserved word."""
    text = re.sub(r"[^0-9A-Za-z_]+", "_", name).strip("_") or "x"
    text = f"x{text}" if text[0].isdigit() else text
    return f"{text}_" if text in RESERVED else text


def unused(wish: str, taken: Collection[str]) -> str:
    """Return `wish`, numbered from 2 where it is taken."""
    if wish not in taken:
        return wish
    base = f"{wish}_" if wish[-1].isdigit() else wish
    number = 2
    while f"{base}{number}" in taken:
        number += 1
    return f"{base}{number}"


def singular(name: str) -> str:
    """Return `blocks` as `block`."""
    if name.endswith("ies"):
        return f"{name[:-3]}y"
    return name[:-1] if name.endswith("s") and not name.endswith("ss") else name


def suggestion(value: Expr) -> str:
    """Return a name for a value that the spec gave none: what made it."""
    match value:
        case Call(Attribute(Name("torch" | "F" | "math"), function)):
            return _FUNCTIONS.get(function, function)
        case Call(Attribute(Name("self"), path)) | Attribute(Name("self"), path):
            return path
        case Call(Attribute(Name(name), function)):
            return name if function in _SAME else _FUNCTIONS.get(function, function)
        case Call(Attribute(base)) | Call(Index(base)) | Attribute(base) | Index(base):
            return singular(suggestion(base)) if isinstance(value, Call) else suggestion(base)
        case Name(name) | Call(Name(name)):
            return name
        case Binary(operator):
            return _OPERATORS.get(operator, "y")
    return "y"


class Names:
    """Gives the values of one function their names. A name is used again once its value is done.

    Attributes:
        wishes: node -> what the spec calls its value.
        reserved: names that the function must not bind.
        is_steady: says of a port and `shape`, `device` or `dtype` that whatever has the port's
            name later gives the same answer, so that asking does not keep the port alive.
        used: all names bound.
    """

    def __init__(
        self,
        wishes: Mapping[str, str],
        reserved: Collection[str] = (),
        is_steady: Callable[[str, str], bool] = lambda node, question: False,
    ) -> None:
        self.wishes, self.is_steady = dict(wishes), is_steady
        self.reserved = RESERVED | set(reserved)
        self.used: set[str] = set()
        self._named: dict[str, str] = {}
        self._owner: dict[str, str] = {}
        self._last_use: dict[str, int] = {}

    def apply(self, ports: Sequence[str], lines: Sequence[Line]) -> tuple[list[str], list[Line]]:
        """Return the names of the ports, and the lines with names in place of nodes."""
        for at, line in enumerate(lines):
            self._last_use |= dict.fromkeys(self._kept_alive(line.statement), at)
        parameters = [self._bind(port, self.wishes.get(port, port), -1, set()) for port in ports]
        named = [
            Line(self._statement(line.statement, at), line.train) for at, line in enumerate(lines)
        ]
        return parameters, named

    def _kept_alive(self, statement: Statement) -> list[str]:
        def forget(expr: Expr) -> Expr | None:
            match expr:
                case Attribute(Ref(node), question) if self.is_steady(node, question):
                    return Name(node)
            return None

        return refs_in(rewrite(statement, forget))

    def _statement(self, statement: Statement, at: int) -> Statement:
        if not isinstance(statement, Assign):
            return rewrite(statement, self._name_of)
        value = rewrite(statement.value, self._name_of)
        targets: list[Expr] = []
        mine: set[str] = set()
        for target in statement.targets:
            if not isinstance(target, Ref):
                targets.append(rewrite(target, self._name_of))
                continue
            wish = self.wishes.get(target.node) or ("y" if statement.unpack else suggestion(value))
            mine.add(self._bind(target.node, wish, at, mine))
            targets.append(Name(self._named[target.node]))
        return Assign(tuple(targets), value, statement.shape, statement.unpack)

    def _bind(self, node: str, wish: str, at: int, mine: set[str]) -> str:
        wish = identifier(wish)
        alive = {name for name, owner in self._owner.items() if self._last_use.get(owner, -1) > at}
        taken = self.reserved | alive | mine
        name = wish if wish not in taken else unused(wish, taken | set(self.wishes.values()))
        self._owner[name] = node
        self._named[node] = name
        self.used.add(name)
        return name

    def _name_of(self, expr: Expr) -> Expr | None:
        return Name(self._named[expr.node]) if isinstance(expr, Ref) else None
