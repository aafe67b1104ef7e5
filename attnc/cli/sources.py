"""From the SPEC argument to a tree and a graph, the same way for every verb."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attnc.dsl.graph import Graph
    from attnc.dsl.tree import Spec


def read(name: str) -> Spec:
    """Read a spec from a path, `-`, or `zoo:NAME`.

    Raises:
        AttncError: what was read is wrong, or cannot be read.
    """
    from attnc import zoo
    from attnc.dsl.load import load_spec

    return load_spec(name, zoo.find)


def build(name: str, variant: str | None = None, overrides: Sequence[str] | None = None) -> Graph:
    """Read a spec and elaborate it.

    Raises:
        AttncError: with all that is wrong.
    """
    from attnc.dsl.elaborate import elaborate

    return elaborate(read(name), variant, overrides or ())
