"""Reversible operations between a checkpoint's tensors and ours, as data with shape rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Protocol

Shape = tuple[int, ...]
Shapes = tuple[Shape, ...]
Groups = tuple[tuple[str, ...], ...]
"""One tuple of axis names for each axis of a tensor; an axis of size 1 has no name."""


class MisfitError(Exception):
    """An operation does not fit the shapes at hand; the message says why."""


class Op(Protocol):
    """Takes some tensors and gives some; what it does can be undone."""

    def shapes(self, shapes: Shapes) -> Shapes:
        """Return the shapes of the results.

        Raises:
            MisfitError: the operation does not take tensors of these shapes.
        """

    def inverse(self) -> Op:
        """Return the operation that undoes this one."""


@dataclass(frozen=True, slots=True)
class Rearrange:
    """`i h e -> (h e) i`: permutes, splits and merges the axes of each tensor.

    Attributes:
        sizes: of axes that a shape alone does not tell, in one direction or the other.
    """

    left: Groups
    right: Groups
    sizes: tuple[tuple[str, int], ...] = ()

    def shapes(self, shapes: Shapes) -> Shapes:
        """Return the shapes after the rearrangement."""
        return tuple(self.steps(shape)[2] for shape in shapes)

    def inverse(self) -> Rearrange:
        """Read the arrow backwards."""
        return Rearrange(self.right, self.left, self.sizes)

    def steps(self, shape: Shape) -> tuple[Shape, tuple[int, ...], Shape]:
        """Return the shape to split to, the permutation of its axes, and the shape to merge to.

        Raises:
            MisfitError: a tensor of this shape cannot be read as the left side.
        """
        if len(shape) != len(self.left):
            raise MisfitError(f"takes {len(self.left)} axes, not {list(shape)}")
        axes: dict[str, int] = {}
        for size, group in zip(shape, self.left, strict=True):
            axes |= self._axes(size, group)
        order = {name: at for at, name in enumerate(axes)}
        permutation = tuple(order[name] for group in self.right for name in group)
        merged = tuple(prod(axes[name] for name in group) for group in self.right)
        return tuple(axes.values()), permutation, merged

    def _axes(self, size: int, group: tuple[str, ...]) -> dict[str, int]:
        known = dict(self.sizes)
        told = prod(known.get(name, 1) for name in group)
        found = {name: known.get(name, size // told if told else 0) for name in group}
        if prod(found.values()) != size:
            raise MisfitError(f"an axis of size {size} is not ({_text((group,))}) with {known}")
        return found

    def __str__(self) -> str:
        return f"rearrange {_text(self.left)} -> {_text(self.right)}"


@dataclass(frozen=True, slots=True)
class Split:
    """Cuts one tensor along an axis, equally or to `sizes`."""

    axis: int
    parts: int
    sizes: Shape = ()

    def shapes(self, shapes: Shapes) -> Shapes:
        """Return the shapes of the parts."""
        (shape,) = shapes
        size = _size(shape, self.axis)
        sizes = self.sizes or (size // self.parts,) * self.parts
        if sum(sizes) != size:
            wanted = list(self.sizes) or f"{self.parts} equal parts"
            raise MisfitError(f"axis {self.axis} of {list(shape)} does not split into {wanted}")
        return tuple(_resized(shape, self.axis, part) for part in sizes)

    def inverse(self) -> Concat:
        """Put the parts together."""
        return Concat(self.axis, self.parts, self.sizes)


@dataclass(frozen=True, slots=True)
class Concat:
    """Puts tensors together along an axis; without `sizes` they are equally long."""

    axis: int
    parts: int
    sizes: Shape = ()

    def shapes(self, shapes: Shapes) -> Shapes:
        """Return the shape of the whole."""
        found = tuple(_size(shape, self.axis) for shape in shapes)
        if found != (self.sizes or found[:1] * self.parts):
            wanted = list(self.sizes) or "equal sizes"
            raise MisfitError(
                f"axis {self.axis} of {_shown(shapes)} has sizes {list(found)}, not {wanted}"
            )
        if len({_resized(shape, self.axis, 0) for shape in shapes}) > 1:
            raise MisfitError(f"{_shown(shapes)} differ beside axis {self.axis}")
        return (_resized(shapes[0], self.axis, sum(found)),)

    def inverse(self) -> Split:
        """Cut the whole."""
        return Split(self.axis, self.parts, self.sizes)


@dataclass(frozen=True, slots=True)
class Unstack:
    """Takes a tensor apart along an axis, which goes."""

    axis: int
    parts: int

    def shapes(self, shapes: Shapes) -> Shapes:
        """Return the shapes of the slices."""
        (shape,) = shapes
        if _size(shape, self.axis) != self.parts:
            raise MisfitError(f"axis {self.axis} of {list(shape)} has not size {self.parts}")
        return (shape[: self.axis] + shape[self.axis + 1 :],) * self.parts

    def inverse(self) -> Stack:
        """Stack the slices."""
        return Stack(self.axis, self.parts)


@dataclass(frozen=True, slots=True)
class Stack:
    """Puts tensors of one shape together along a new axis."""

    axis: int
    parts: int

    def shapes(self, shapes: Shapes) -> Shapes:
        """Return the shape of the stack."""
        first = _alike(shapes)
        if self.axis > len(first):
            raise MisfitError(f"there is no place {self.axis} for an axis in {list(first)}")
        return ((*first[: self.axis], self.parts, *first[self.axis :]),)

    def inverse(self) -> Unstack:
        """Take the stack apart."""
        return Unstack(self.axis, self.parts)


@dataclass(frozen=True, slots=True)
class Reorder:
    """Puts the equal parts of an axis in another order: part `order[k]` becomes part k."""

    axis: int
    order: tuple[int, ...]

    def shapes(self, shapes: Shapes) -> Shapes:
        """Return the shapes, which stay."""
        for shape in shapes:
            if _size(shape, self.axis) % len(self.order):
                raise MisfitError(
                    f"axis {self.axis} of {list(shape)} has no {len(self.order)} equal parts"
                )
        return shapes

    def inverse(self) -> Reorder:
        """Put the parts back."""
        return Reorder(self.axis, tuple(self.order.index(k) for k in range(len(self.order))))


@dataclass(frozen=True, slots=True)
class Pad:
    """Adds zeros before and after along an axis."""

    axis: int
    before: int = 0
    after: int = 0

    def shapes(self, shapes: Shapes) -> Shapes:
        """Return the longer shapes."""
        extra = self.before + self.after
        return tuple(_resized(s, self.axis, _size(s, self.axis) + extra) for s in shapes)

    def inverse(self) -> Crop:
        """Cut the zeros off."""
        return Crop(self.axis, self.before, self.after)


@dataclass(frozen=True, slots=True)
class Crop:
    """Cuts entries that are never read off both ends of an axis; undone with zeros."""

    axis: int
    before: int = 0
    after: int = 0

    def shapes(self, shapes: Shapes) -> Shapes:
        """Return the shorter shapes."""
        cut = self.before + self.after
        for shape in shapes:
            if _size(shape, self.axis) < cut:
                raise MisfitError(f"axis {self.axis} of {list(shape)} is shorter than {cut}")
        return tuple(_resized(s, self.axis, _size(s, self.axis) - cut) for s in shapes)

    def inverse(self) -> Pad:
        """Add zeros in place of what was cut."""
        return Pad(self.axis, self.before, self.after)


@dataclass(frozen=True, slots=True)
class Tie:
    """Makes one tensor of several equal ones: the checkpoint stores a shared weight repeatedly."""

    parts: int

    def shapes(self, shapes: Shapes) -> Shapes:
        """Return the one shape."""
        return (_alike(shapes),)

    def inverse(self) -> Copy:
        """Repeat the tensor."""
        return Copy(self.parts)


@dataclass(frozen=True, slots=True)
class Copy:
    """Repeats a tensor: our side holds several weights that the checkpoint shares."""

    parts: int

    def shapes(self, shapes: Shapes) -> Shapes:
        """Return the shape, repeated."""
        return shapes * self.parts

    def inverse(self) -> Tie:
        """Make one of the equal tensors."""
        return Tie(self.parts)


def inverted(ops: tuple[Op, ...]) -> tuple[Op, ...]:
    """Return the operations that undo `ops`, in order."""
    return tuple(op.inverse() for op in reversed(ops))


def result_shapes(ops: tuple[Op, ...], shapes: Shapes) -> Shapes:
    """Return what `ops`, one after another, make of tensors of these shapes.

    Raises:
        MisfitError: one of them does not take what it is given.
    """
    for op in ops:
        shapes = op.shapes(shapes)
    return shapes


def read_rearrange(text: str, sizes: Mapping[str, int]) -> Rearrange:
    """Read `i h e -> (h e) i`.

    Raises:
        ValueError: not such a text, or `sizes` do not suffice to go both ways.
    """
    left, arrow, right = text.partition("->")
    sides = _groups(left), _groups(right)
    names = [[name for group in side for name in group] for side in sides]
    if not arrow or sorted(names[0]) != sorted(names[1]) or len(set(names[0])) < len(names[0]):
        raise ValueError(f"{text!r} does not name the same axes, once each, on both sides of `->`")
    if unknown := sizes.keys() - set(names[0]):
        raise ValueError(f"{text!r} has no axis {sorted(unknown)[0]!r}")
    for group in sides[0] + sides[1]:
        untold = [name for name in group if name not in sizes]
        if len(untold) > 1:
            raise ValueError(f"the sizes in ({' '.join(group)}) are open; give `{untold[0]}: size`")
    return Rearrange(*sides, tuple(sizes.items()))


def _groups(side: str) -> Groups:
    tokens = re.findall(r"\([^()]*\)|[A-Za-z]\w*|1|\S", side)
    for token in tokens:
        if not re.fullmatch(r"\([\s\w]*\)|[A-Za-z]\w*|1", token):
            raise ValueError(f"{token!r} in {side.strip()!r} names no axis")
    return tuple(tuple(n for n in token.strip("()").split() if n != "1") for token in tokens)


def _text(groups: Groups) -> str:
    return " ".join(g[0] if len(g) == 1 else f"({' '.join(g)})" if g else "1" for g in groups)


def _size(shape: Shape, axis: int) -> int:
    if axis >= len(shape):
        raise MisfitError(f"{list(shape)} has no axis {axis}")
    return shape[axis]


def _resized(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _alike(shapes: Shapes) -> Shape:
    if len(set(shapes)) > 1:
        raise MisfitError(f"{_shown(shapes)} differ")
    return shapes[0]


def _shown(shapes: Shapes) -> str:
    return ", ".join(str(list(shape)) for shape in shapes)
