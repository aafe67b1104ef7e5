"""Fourier transforms along one axis, and complex numbers."""

from __future__ import annotations

from attnc.dsl.dims import Shape, Size, floor_divide
from attnc.dsl.ops.bound import Bound
from attnc.dsl.ops.mismatch import Mismatch
from attnc.dsl.ops.row import Op
from attnc.dsl.ops.shape_rules import position, replaced

FAMILY = "fourier"
_NORM = "norm: 'backward' | 'ortho' | 'forward' = 'backward'"


def _resized(bound: Bound, shape: Shape, axis: int, n: Size | None) -> Shape:
    """Rule: n positions along the axis, by padding or cropping."""
    along = position(axis, len(shape))
    return shape if n is None else replaced(shape, along, n)


def _halved(bound: Bound, shape: Shape, axis: int, n: Size | None) -> Shape:
    """Rule: n // 2 + 1 frequencies, as the others are their conjugates."""
    shape = _resized(bound, shape, axis, n)
    along = position(axis, len(shape))
    return replaced(shape, along, floor_divide(shape[along], 2) + 1)


def _doubled(bound: Bound, shape: Shape, axis: int, n: Size | None) -> Shape:
    """Rule: n positions; an even number unless n says otherwise."""
    along = position(axis, len(shape))
    length = 2 * (shape[along] - 1) if n is None else n
    if length == 0:
        raise Mismatch("argument", "one frequency says nothing of the length; give n")
    return replaced(shape, along, length)


ROWS = (
    Op(
        "fft",
        FAMILY,
        "The discrete Fourier transform.",
        f"x: field[*s], axis: int = -1, n: size = none, {_NORM} -> complex[*resized(s, axis, n)]",
        "torch.fft.fft({x}, n={n?}, dim={axis?}, norm={norm?})",
        rules={"resized": _resized},
    ),
    Op(
        "ifft",
        FAMILY,
        "The inverse of fft.",
        f"x: field[*s], axis: int = -1, n: size = none, {_NORM} -> complex[*resized(s, axis, n)]",
        "torch.fft.ifft({x}, n={n?}, dim={axis?}, norm={norm?})",
        rules={"resized": _resized},
    ),
    Op(
        "rfft",
        FAMILY,
        "The Fourier transform of real numbers: frequencies 0 to n // 2.",
        f"x: [*s], axis: int = -1, n: size = none, {_NORM} -> complex[*halved(s, axis, n)]",
        "torch.fft.rfft({x}, n={n?}, dim={axis?}, norm={norm?})",
        rules={"halved": _halved},
    ),
    Op(
        "irfft",
        FAMILY,
        "The inverse of rfft; n real numbers, 2 (frequencies - 1) unless stated.",
        f"x: field[*s], axis: int = -1, n: size = none, {_NORM} -> [*doubled(s, axis, n)]",
        "torch.fft.irfft({x}, n={n?}, dim={axis?}, norm={norm?})",
        rules={"doubled": _doubled},
    ),
    Op("real", FAMILY, "The real part.", "x: complex[*s] -> [*s]", "{x}.real"),
    Op("imag", FAMILY, "The imaginary part.", "x: complex[*s] -> [*s]", "{x}.imag"),
    Op(
        "complex",
        FAMILY,
        "real + i imag.",
        "real: [*s], imag: [*s] -> complex[*s]",
        "torch.complex({real}, {imag})",
    ),
)
