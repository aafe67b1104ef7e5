"""Einops notation: `rearrange(x, "b (y x) c -> b c y x", y=14)`, and `replicate` with new axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attnc.dsl.dims import Shape, Size
from attnc.dsl.graph import Arg
from attnc.dsl.ops.bound import Bound, as_size
from attnc.dsl.ops.mismatch import Mismatch
from attnc.dsl.ops.notation import Group, Notation, parse
from attnc.dsl.ops.rearrangement import view_chain
from attnc.dsl.ops.row import Op, Template
from attnc.dsl.ops.shape_rules import count, exact

FAMILY = "layout"


def _rearranged(bound: Bound) -> Mapping[str, Arg]:
    """Name the shape `to`; no axis may appear or vanish."""
    notation = _notation(bound)
    if new := notation.new_names():
        raise Mismatch("argument", f"{new[0]} is new after the arrow; use replicate for new axes")
    return {"to": _result(bound, notation)}


def _repeated(bound: Bound) -> Mapping[str, Arg]:
    """Name the shape `to`; new axes have their sizes in `sizes`."""
    notation = _notation(bound)
    for name in notation.new_names():
        if name not in _given(bound):
            raise Mismatch("argument", f"the new axis {name} needs a size: {name} = ...")
    return {"to": _result(bound, notation)}


def _notation(bound: Bound) -> Notation:
    """Parse the pattern for the rank at hand, and check names."""
    notation = parse(bound.text("pattern")).for_rank(len(bound.shape("x")))
    if lost := notation.lost_names():
        raise Mismatch("argument", f"{lost[0]} is lost after the arrow; reduce it first")
    names = {*notation.names(notation.left), *notation.names(notation.right)}
    for name in _given(bound):
        if name not in names:
            raise Mismatch("argument", f"{name} is no axis of the pattern", parameter="sizes")
    return notation


def _given(bound: Bound) -> Mapping[str, Size]:
    sizes = bound["sizes"]
    assert isinstance(sizes, Mapping)
    return {name: as_size(size) for name, size in sizes.items()}


def _result(bound: Bound, notation: Notation) -> Shape:
    sizes = _sizes(bound, notation)
    return tuple(count(sizes[name] for name in group) for group in notation.right)


def _sizes(bound: Bound, notation: Notation) -> Mapping[str, Size]:
    """Return the size of every axis that has a name."""
    sizes = dict(_given(bound))
    x = bound.value("x")
    for axis, (group, size) in enumerate(zip(notation.left, x.shape, strict=True)):
        unknown = [name for name in group if name not in sizes]
        known = count(sizes[name] for name in group if name in sizes)
        if len(unknown) > 1:
            raise Mismatch(
                "argument", f"the sizes of {' and '.join(unknown)} are open: give one of them"
            )
        if unknown:
            _check_multiple(group, size, [name for name in group if name in sizes], known)
            sizes[unknown[0]] = exact(bound, size, known)
        elif known != size:
            raise Mismatch(
                "shape", f"axis {axis} is {size}, not {known}",
                parameter="x", expected=_explained(group, known), found=str(x.type),
            )  # fmt: skip
    return sizes


def _check_multiple(group: Group, size: Size, given: Sequence[str], product: Size) -> None:
    """Check that the sizes given leave a whole size for the open axis of a group."""
    is_known = isinstance(size, int) and isinstance(product, int)
    if is_known and (product == 0 or size % product != 0):
        factors = " * ".join(given)
        raise Mismatch(
            "argument", f"({' '.join(group)}) is {size}, not a multiple of {factors} = {product}"
        )


def _explained(group: Group, size: Size) -> str:
    return f"({' '.join(group)}) = {size}" if group else "an axis of size 1"


def _chain(bound: Bound) -> Template:
    notation = _notation(bound)
    return view_chain(notation, _sizes(bound, notation), _given(bound))


ROWS = (
    Op(
        "rearrange",
        FAMILY,
        "Axes taken apart, reordered and put together, in einops notation.",
        "x: any[...], pattern: text, **sizes: named_sizes -> any[*to]",
        _chain,
        derive=_rearranged,
    ),
    Op(
        "replicate",
        FAMILY,
        "Like rearrange, with new axes along which the elements repeat (einops calls it repeat).",
        "x: any[...], pattern: text, **sizes: named_sizes -> any[*to]",
        _chain,
        derive=_repeated,
    ),
)
