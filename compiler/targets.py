"""The targets that attnc compiles for."""

from __future__ import annotations

from attnc.compiler.kernel import Target
from attnc.dsl import codes
from attnc.dsl.diagnostics import UsageError
from attnc.dsl.suggest import did_you_mean

TARGETS = (
    Target("cpu"),
    Target("cuda", "80"),
    Target("cuda", "90"),
    Target("cuda", "100"),
    Target("hip", "gfx942"),
)
"""Every target that kernels are generated and checked for."""


def parse_target(text: str) -> Target:
    """Return the target called `text`: `cpu`, `cuda:90`, `hip:gfx942`.

    Raises:
        UsageError: no such target (E401).
    """
    known = {str(target): target for target in TARGETS}
    if text in known:
        return known[text]
    hint = did_you_mean(text, list(known))
    raise UsageError([codes.UNKNOWN_TARGET.at(None, text=text, known=", ".join(known), hint=hint)])


def float_bytes(target: Target) -> int:
    """Return the bytes of an element in the dtype that models use there: 4 (float32) or 2."""
    return _FLOAT_BYTES[target.kind]


_FLOAT_BYTES = {"cpu": 4, "cuda": 2, "hip": 2}
