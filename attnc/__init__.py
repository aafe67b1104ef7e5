"""attnc: attention architectures as short checked specs, compiled to readable PyTorch modules."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from attnc.dsl.version import VERSION as __version__  # noqa: N811

if TYPE_CHECKING:
    from attnc import zoo
    from attnc.api import (
        check,
        compile,
        emit,
        load,
        loads,
        parameter_count,
        plan,
        verify,
    )
    from attnc.dsl.diagnostics import AttncError
    from attnc.instrument import Edit, capture, edit


__all__ = [
    "AttncError",
    "Edit",
    "__version__",
    "capture",
    "check",
    "compile",
    "edit",
    "emit",
    "load",
    "loads",
    "parameter_count",
    "plan",
    "verify",
    "zoo",
]


def __getattr__(name: str) -> object:
    """Import what is asked for: `import attnc` costs nothing, and checking needs no torch."""
    if name == "AttncError":
        from attnc.dsl.diagnostics import AttncError

        return AttncError
    if name == "zoo":
        return import_module("attnc.zoo")
    if name in ("Edit", "capture", "edit"):
        return getattr(import_module("attnc.instrument"), name)
    if name in __all__:
        from attnc import api

        return getattr(api, name)
    raise AttributeError(f"module 'attnc' has no attribute {name!r}")
