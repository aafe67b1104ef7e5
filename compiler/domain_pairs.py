"""How many query-key pairs the domains on grids and in blocks allow, counted axis by axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Union

from attnc.dsl.attention import Blocks, Grid, Neighborhood, Overlapping, Windows
from attnc.dsl.dims import Shape, Size, substitute

Counted = Union[Windows, Neighborhood, Overlapping, Blocks]


@dataclass(frozen=True, slots=True)
class DomainPairs:
    """The pairs of a placed domain. Along the axes of a grid their numbers are multiplied."""

    domain: Counted

    def count(self, sizes: Mapping[str, int]) -> int:
        """Count the pairs. `sizes` has a value for every symbol."""
        if isinstance(self.domain, Blocks):
            runs = zip(self.domain.queries, self.domain.keys, strict=True)
            return sum(_value(queries, sizes) * _value(keys, sizes) for queries, keys in runs)
        return prod(_along_axes(self.domain, sizes))

    def __str__(self) -> str:
        match self.domain:
            case Blocks(queries, keys):
                runs = zip(queries, keys, strict=True)
                return f"pairs({' + '.join(f'{_by((n,))}*{_by((m,))}' for n, m in runs)})"
            case Windows(size):
                lengths = [
                    whole if each is None else each
                    for each, whole in zip(size, self._grid.queries, strict=True)
                ]
                return f"pairs(windows {_by(lengths)} on {_by(self._grid.queries)})"
            case Neighborhood(kernel):
                return f"pairs(neighborhood {_by(kernel)} on {_by(self._grid.queries)})"
            case Overlapping(size, key_size):
                boxes = f"{_by(size)} within {_by(key_size)}"
                return f"pairs(windows {boxes} on {_by(self._grid.queries)})"

    @property
    def _grid(self) -> Grid:
        assert not isinstance(self.domain, Blocks) and self.domain.grid is not None
        return self.domain.grid


def _along_axes(
    domain: Windows | Neighborhood | Overlapping, sizes: Mapping[str, int]
) -> Iterator[int]:
    grid = domain.grid
    assert grid is not None
    for axis, axis_size in enumerate(grid.queries):
        queries, keys = _value(axis_size, sizes), _value(grid.keys[axis], sizes)
        match domain:
            case Windows(size, shift, dilation, wrap):
                window = axis_size if size[axis] is None else size[axis]
                start = 0 if wrap else _value(shift[axis], sizes)
                yield _in_windows(
                    queries, _value(window or 0, sizes), start, _value(dilation[axis], sizes)
                )
            case Neighborhood(kernel, edge, dilation):
                count = _clamped if edge == "clamp" else _truncated
                yield count(
                    queries, keys, _value(kernel[axis], sizes), _value(dilation[axis], sizes)
                )
            case Overlapping(size, key_size):
                inner, outer = _value(size[axis], sizes), _value(key_size[axis], sizes)
                yield _overlapping(queries, keys, inner, outer)


def _in_windows(tokens: int, size: int, shift: int, step: int) -> int:
    """Count along an axis cut at `shift` and each `size * step` tokens further."""
    period = size * step
    first = min(shift % period, tokens)
    whole, rest = divmod(tokens - first, period)
    return _squares(first, step) + whole * _squares(period, step) + _squares(rest, step)


def _squares(tokens: int, step: int) -> int:
    """Count the pairs among tokens of one residue, in a run of tokens."""
    each, longer = divmod(tokens, step)
    return longer * (each + 1) ** 2 + (step - longer) * each**2


def _truncated(queries: int, keys: int, kernel: int, step: int) -> int:
    """Count for each tap the queries whose key there exists."""
    margin = (keys - queries) // 2
    shifts = (margin + step * (tap - kernel // 2) for tap in range(kernel))
    return sum(max(0, min(queries, keys - shift) - max(0, -shift)) for shift in shifts)


def _clamped(queries: int, keys: int, kernel: int, step: int) -> int:
    each, longer = divmod(keys, step)
    of_longer = longer * (each + 1) * min(kernel, each + 1)
    return of_longer + (step - longer) * each * min(kernel, each)


def _overlapping(queries: int, keys: int, size: int, key_size: int) -> int:
    before = (key_size - size) // 2 - (keys - queries) // 2
    total = 0
    for start in range(0, queries, size):
        seen = min(keys, start - before + key_size) - max(0, start - before)
        total += min(size, queries - start) * max(0, seen)
    return total


def _by(sizes: list[Size] | Shape) -> str:
    texts = (str(size) for size in sizes)
    return "*".join(f"({text})" if " " in text else text for text in texts)


def _value(size: Size, sizes: Mapping[str, int]) -> int:
    value = substitute(size, sizes)
    assert isinstance(value, int), f"{size} is not known from {sizes}"
    return value
