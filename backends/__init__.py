"""Ways to compute an attention node."""

from __future__ import annotations

from attnc.compiler.kernel import Backend


def backends() -> tuple[Backend, ...]:
    """Return all backends. The order is of no account: a target states its preference."""
    from attnc.backends.plain import PlainBackend
    from attnc.backends.reference.backend import ReferenceBackend
    from attnc.backends.sdpa.backend import SdpaBackend
    from attnc.backends.triton.backend import TritonBackend

    reference, sdpa = ReferenceBackend(), SdpaBackend()
    return (sdpa, TritonBackend(fallback=PlainBackend((sdpa, reference))), reference)
