"""A lowered model to a package of plain Python that needs torch alone."""

from attnc.compiler.emit.package import emit

__all__ = ["emit"]
