"""Passes over lowered modules: pure functions, each with a postcondition, run in one order."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import fx

from attnc.compiler.kernel import Target
from attnc.compiler.passes.canonicalise import canonicalise, check_canonicalise
from attnc.compiler.passes.dead import check_dead, dead
from attnc.compiler.passes.epilogue import check_epilogue, epilogue
from attnc.compiler.passes.fold import check_fold, fold
from attnc.compiler.passes.rewrite import distinct
from attnc.compiler.passes.verify import verify
from attnc.dsl import codes
from attnc.dsl.diagnostics import UsageError

__all__ = ["PIPELINE", "Pass", "run", "text", "verify"]


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass and its postcondition.

    Attributes:
        apply: returns an edited copy; the copy computes the same numbers and shares weights.
        check: raises AssertionError where the postcondition does not hold.
    """

    name: str
    apply: Callable[[fx.GraphModule, Target], fx.GraphModule]
    check: Callable[[fx.GraphModule], None]


PIPELINE = (
    Pass("canonicalise", canonicalise, check_canonicalise),
    Pass("fold", fold, check_fold),
    Pass("epilogue", epilogue, check_epilogue),
    Pass("dead", dead, check_dead),
)
"""All passes, in order."""


def run(
    module: fx.GraphModule,
    target: Target,
    *,
    until: str | None = None,
    print_after: str | None = None,
    show: Callable[[str], None] = print,
) -> fx.GraphModule:
    """Run the passes in order; with ATTNC_VERIFY=1 in the environment, check after each.

    Args:
        until: the last pass to run; none for all.
        print_after: the pass after which `show` gets the module as text.

    Raises:
        UsageError: there is no pass called `until` or `print_after` (E611).
    """
    _check_names({"until": until, "print_after": print_after})
    for each in PIPELINE:
        module = each.apply(module, target)
        if os.environ.get("ATTNC_VERIFY") == "1":
            each.check(module)
            verify(module)
        if each.name == print_after:
            show(text(module))
        if each.name == until:
            break
    return module


def _check_names(options: Mapping[str, str | None]) -> None:
    known = [each.name for each in PIPELINE]
    for option, name in options.items():
        if name is not None and name not in known:
            detail = f"there is no pass {name!r}; there are {', '.join(known)}"
            raise UsageError([codes.OPTION.at(None, option=option, detail=detail)])


def text(module: fx.GraphModule) -> str:
    """Return the code of every distinct block, outer blocks first."""
    parts = [f"class {type(block).__name__}:{block.code.rstrip()}" for block in distinct(module)]
    return "\n\n".join(parts) + "\n"
