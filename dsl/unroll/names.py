"""Names for tensors, blocks and sizes of an unrolled spec: each stands for one thing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from attnc.dsl import arithmetic, scorelang
from attnc.dsl.builder import CONSTANTS
from attnc.dsl.graph import Value
from attnc.dsl.lexer import is_name
from attnc.dsl.ops import TABLE
from attnc.dsl.unroll.attend import HIDDEN

_WORDS = frozenset({
    "softmax", "argmax", "keys", "queries", "sigmoid", "relu", "ratio", "none", "sum", "truncate",
    "clamp", "attnc", "doc", "input", "output", "variant", "share", "train", "paper", "weights",
    "parity",
})  # fmt: skip
"""Words of forms and declarations, which a tensor of that name would hide or be taken for."""


@cache
def reserved() -> frozenset[str]:
    """Return what no tensor and no block may be called."""
    from attnc.dsl.forms import FORMS
    from attnc.dsl.grammar import words

    return frozenset(
        {*_WORDS, *words(), *TABLE, *FORMS, *CONSTANTS, *arithmetic.FUNCTIONS,
         *scorelang.FUNCTIONS, *HIDDEN}
    )  # fmt: skip


class Names:
    """Hands out names; none twice."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = {*reserved(), *taken}
        self.called: dict[Value, str] = {}

    def fresh(self, wanted: str) -> str:
        """Return the name wanted, with a number behind it where it is taken."""
        base = wanted if is_name(wanted, _NO_WORDS) else "x"
        name, number = base, 1 if base in reserved() else 2
        while name in self._taken:
            name, number = f"{base}_{number}", number + 1
        self._taken.add(name)
        return name

    def call(self, value: Value, wanted: str | None = None) -> str:
        """Name a tensor."""
        self.called[value] = self.fresh(wanted or value.name)
        return self.called[value]


_NO_WORDS: Mapping[str, str] = {}
