"""The best plain torch: what a custom operator does where its own kernels do not run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attnc.compiler.kernel import Answer, Backend, Kernel, No, Site, Target, Yes


@dataclass(frozen=True, slots=True)
class PlainBackend:
    """The first of several backends that can, asked for the CPU."""

    choices: Sequence[Backend]
    name: str = "plain"

    def can(self, site: Site, target: Target) -> Answer:
        """Say yes where one of the choices does."""
        answers = [choice.can(site, Target()) for choice in self.choices]
        found = next((answer for answer in answers if isinstance(answer, Yes)), None)
        return found or No(tuple(reason for each in answers for reason in each.reasons))

    def build(self, site: Site, target: Target) -> Kernel:
        """Generate plain torch."""
        able = (each for each in self.choices if isinstance(each.can(site, Target()), Yes))
        return next(able).build(site, Target())
