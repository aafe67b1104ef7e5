"""What becomes of rows of q or k before they are multiplied, as data: norms and rotations.

Prologues are recognised, not written in specs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Union

NORMS = {"rms": "rms_norm", "layer": "layer_norm", "l2": "l2_normalize"}
"""Kind of norm -> the operator of specs that computes it."""


@dataclass(frozen=True, slots=True)
class Normed:
    """Rows x [d] brought to one size, then times weight[c], plus bias[c].

    Attributes:
        kind: `rms`, x / sqrt(mean(x^2) + eps); `layer`, the same of x - mean(x); or `l2`,
            x / max(|x|, eps).
        eps: in units of x^2, of `l2` in those of x.
        weight, bias: names of tensors [d]; none for 1 and 0.
    """

    kind: str
    eps: float
    weight: str | None = None
    bias: str | None = None

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors that it reads."""
        return tuple(each for each in (self.weight, self.bias) if each is not None)

    def text(self, rows: str) -> str:
        """Return `rms_norm(q, eps = 1e-06) * weight`."""
        made = f"{NORMS[self.kind]}({rows}, eps = {self.eps!r})"
        made += "" if self.weight is None else f" * {self.weight}"
        return made + ("" if self.bias is None else f" + {self.bias}")


@dataclass(frozen=True, slots=True)
class Rotated:
    """Pairs of columns turned by an angle of the token: (x cos - y sin, y cos + x sin).

    Attributes:
        cos, sin: names of tensors that broadcast to [b, h, n, d / 2], an element for each pair, or
            to [b, h, n, d], an element for each column.
        neighbours: whether columns 2 c and 2 c + 1 are a pair, and not c and c + d / 2.
        by_column: whether the tensors have an element for each column.
    """

    cos: str
    sin: str
    neighbours: bool = False
    by_column: bool = False

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors that it reads."""
        return self.cos, self.sin

    def text(self, rows: str) -> str:
        """Return `rotated(q, cos, sin)`."""
        pairs = ", neighbours" if self.neighbours else ""
        return f"rotated({rows}, {self.cos}, {self.sin}{pairs})"


Step = Union[Normed, Rotated]


@dataclass(frozen=True, slots=True)
class Prologue:
    """What becomes of an operand before it is multiplied.

    Attributes:
        operand: `q`, or `k0`, `k1` ... of a source.
        steps: in the order in which they are done; at least one, and at most one rotation.
    """

    operand: str
    steps: tuple[Step, ...]

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors that the steps read, each once."""
        return tuple(dict.fromkeys(name for step in self.steps for name in step.tensors))

    def text(self, rows: str) -> str:
        """Return what stands for the operand, which is called `rows`."""
        for step in self.steps:
            rows = step.text(rows)
        return rows


def prologue_tensors(prologues: tuple[Prologue, ...]) -> Iterator[str]:
    """Yield names of the tensors that prologues read, each once."""
    yield from dict.fromkeys(name for each in prologues for name in each.tensors)
