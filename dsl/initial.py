"""Initial values of weights: the words that `Weight.init` may hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

RULES: Mapping[str, tuple[int, str]] = {
    "zeros": (0, "all 0"),
    "ones": (0, "all 1"),
    "constant": (1, "one number everywhere: constant(0.5)"),
    "normal": (1, "normal with mean 0 and a standard deviation: normal(0.02)"),
    "trunc_normal": (1, "the same, cut off at -2 and 2"),
    "multiples": (1, "0, a number, twice that ... along the last axis: multiples(0.5)"),
    "uniform": (2, "uniform between two bounds: uniform(-0.1, 0.1)"),
    "geometric": (
        2,
        "from the first number towards the second, by equal factors, in the order of elements: "
        "geometric(1, 1e-8)",
    ),
    "xavier_uniform": (0, "uniform within sqrt(6 / (fan_in + fan_out))"),
    "linear": (0, "uniform within 1 / sqrt(fan_in), as torch's linear layers and convolutions"),
    "embedding": (0, "normal with standard deviation 1, as torch's embeddings"),
}
"""name -> (how many numbers it takes, what it means)."""

_FORM = re.compile(r"(\w+)(?:\((.*)\))?")


@dataclass(frozen=True, slots=True)
class Initial:
    """A rule with its numbers."""

    name: str
    numbers: tuple[float, ...] = ()


def parse_initial(text: str) -> Initial:
    """Read `zeros`, `normal(0.02)`, `uniform(-1, 1)`.

    Raises:
        ValueError: no such rule, or not the numbers it takes; the text says what is expected.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None or found[1] not in RULES:
        raise ValueError(f"init is one of {', '.join(RULES)}, not {text!r}")
    name, inner = found[1], found[2] or ""
    count, meaning = RULES[name]
    try:
        numbers = tuple(float(part) for part in inner.split(",") if part.strip())
    except ValueError:
        numbers = (float("nan"),) * (count + 1)
    if len(numbers) != count:
        raise ValueError(f"init {name} takes {count} numbers ({meaning}), not {text!r}")
    return Initial(name, numbers)
