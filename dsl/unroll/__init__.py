"""A checked graph as a spec again: params settled, loops and branches unrolled."""

from attnc.dsl.unroll.spec import unrolled_spec

__all__ = ["unrolled_spec"]
