"""Ways to compute an attention node."""

from __future__ import annotations

from collections.abc import Sequence

from attnc.compiler.kernel import Backend, Target


def backends(*, with_plain: bool = True, cards: Sequence[Target] = ()) -> tuple[Backend, ...]:
    """Return all backends. The order is of no account: a target states its preference.

    Args:
        with_plain: give custom operators a CPU implementation in plain torch; without it the
            kernels themselves run there, which takes Triton's interpreter.
        cards: those that kernels list tiles for besides the target.
    """
    from attnc.backends.linear.backend import LinearBackend
    from attnc.backends.plain import PlainBackend
    from attnc.backends.reference.backend import ReferenceBackend
    from attnc.backends.sdpa.backend import SdpaBackend
    from attnc.backends.tiled.backend import TiledBackend
    from attnc.backends.triton.backend import TritonBackend

    reference, sdpa, tiled = ReferenceBackend(), SdpaBackend(), TiledBackend()
    linear = LinearBackend()
    plain = PlainBackend((linear, tiled, sdpa, reference)) if with_plain else None
    return (sdpa, linear, tiled, TritonBackend(plain, cards), reference)
