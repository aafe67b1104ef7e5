"""How a tile multiplies queries, keys and values of a source, and where their gradients go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


class Products(Protocol):
    """The products of one source on a tile; `weights`, `grad` and the like are variables."""

    @property
    def count(self) -> str:
        """How many keys a query of the tile meets."""
        ...

    def read(self, weights: str) -> str:
        """Return values times weights, [b, h, n, e]."""
        ...

    def received(self, weights: str) -> str:
        """Return the line that adds up what each key gets."""
        ...

    def by_key(self, name: str) -> str:
        """Return the elements of a tensor [b, h, m] as they stand beside scores."""
        ...

    def grad_weights(self) -> str:
        """Return the gradient of weights from that of the result, `grad`."""
        ...

    def grad_values(self, weights: str, grad: str) -> Iterator[str]:
        """Yield lines to the gradient of v."""
        ...

    def grad_dot(self, grad: str, scaled: str) -> Iterator[str]:
        """Yield lines from the gradient of `qk` to those of q and k; `scaled` is a factor."""
        ...

    def grad_distance(self, grad: str) -> Iterator[str]:
        """Yield lines from the gradient of `l1(q, k)` to those of q and k."""
        ...


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Keys beside each other, the same for all queries of a tile: matrix products.

    Attributes:
        suffix: of the source.
        single: the operands are one tile: what a line gives is the whole.
        by_number: keys are named by numbers, not by a slice.
    """

    suffix: str
    single: bool
    by_number: bool = False

    @property
    def count(self) -> str:
        """How many keys a query of the tile meets."""
        return f"size_of(cols{self.suffix})"

    def read(self, weights: str) -> str:
        """Return values times weights."""
        return f"{weights} @ v{self._at}"

    def received(self, weights: str) -> str:
        """Return the line that adds up what each key gets."""
        return f"received{self._at} += {weights}.sum(-2)"

    def by_key(self, name: str) -> str:
        """Return the elements of a tensor of keys as a row."""
        return f"{name}{self._at}.unsqueeze(-2)"

    def grad_weights(self) -> str:
        """Return the gradient of weights."""
        return f"grad @ v{self._at}.mT"

    def grad_values(self, weights: str, grad: str) -> Iterator[str]:
        """Yield the line to the gradient of v."""
        yield self._add_product(f"grad_v{self._at}", f"{weights}.mT", grad)

    def grad_dot(self, grad: str, scaled: str) -> Iterator[str]:
        """Yield lines to the gradients of q and k."""
        product = f"{grad} @ k{self._at}"
        product = f"({product})" if scaled else product
        yield self._add("grad_q[bs, hs, rows]", f"{product}{scaled}")
        yield self._add_product(f"grad_k{self._at}", f"{grad}.mT", f"q[bs, hs, rows]{scaled}")

    def grad_distance(self, grad: str) -> Iterator[str]:
        """Yield lines to the gradients of q and k."""
        yield f"by_query, by_key = l1_gradients({grad}, q[bs, hs, rows], k{self._at})"
        yield "grad_q[bs, hs, rows] += by_query"
        yield f"grad_k{self._at} += by_key"

    @property
    def _at(self) -> str:
        return f"{self.suffix}[bs, hs, cols{self.suffix}]"

    def _add_product(self, grad: str, left: str, right: str) -> str:
        """Return the line that adds to a gradient of keys, which many tiles do."""
        if self.single or self.by_number:
            factor = f"({right})" if "] * " in right else right
            return self._add(grad, f"{left} @ {factor}")
        return f"add_product({grad}, {left}, {right})"

    def _add(self, grad: str, value: str) -> str:
        return f"{grad.split('[')[0]} = {value}" if self.single else f"{grad} += {value}"


@dataclass(frozen=True, slots=True)
class Gathered:
    """Keys of each query's own, `k_near` and `v_near` [b, h, n, slots, e], numbers in `j`."""

    suffix: str

    @property
    def count(self) -> str:
        """How many keys a query of the tile meets."""
        return f"j{self.suffix}.shape[-1]"

    def read(self, weights: str) -> str:
        """Return values times weights."""
        return f"({weights}.unsqueeze(-2) @ v_near{self.suffix}).squeeze(-2)"

    def received(self, weights: str) -> str:
        """Return the line that adds up what each key gets."""
        values = f"{weights}.unsqueeze(-1)"
        return f"add_keys_at(received{self.suffix}.unsqueeze(-1), {values}, {self._at})"

    def by_key(self, name: str) -> str:
        """Return the elements of a tensor of keys, by slot."""
        return f"keys_at({name}{self.suffix}.unsqueeze(-1), {self._at}).squeeze(-1)"

    def grad_weights(self) -> str:
        """Return the gradient of weights."""
        return f"(v_near{self.suffix} @ grad.unsqueeze(-1)).squeeze(-1)"

    def grad_values(self, weights: str, grad: str) -> Iterator[str]:
        """Yield the line to the gradient of v."""
        product = f"{weights}.unsqueeze(-1) * {grad}.unsqueeze(-2)"
        yield f"add_keys_at(grad_v{self.suffix}, {product}, {self._at})"

    def grad_dot(self, grad: str, scaled: str) -> Iterator[str]:
        """Yield lines to the gradients of q and k."""
        if scaled:
            yield f"{grad} = {grad}{scaled}"
        by_query = f"({grad}.unsqueeze(-2) @ k_near{self.suffix}).squeeze(-2)"
        yield f"grad_q[bs, hs, rows] += {by_query}"
        product = f"{grad}.unsqueeze(-1) * q[bs, hs, rows].unsqueeze(-2)"
        yield f"add_keys_at(grad_k{self.suffix}, {product}, {self._at})"

    def grad_distance(self, grad: str) -> Iterator[str]:
        """Yield lines to the gradients of q and k."""
        apart = f"q[bs, hs, rows].unsqueeze(-2) - k_near{self.suffix}"
        yield f"pulls = ({apart}).sign() * {grad}.unsqueeze(-1)"
        yield "grad_q[bs, hs, rows] += pulls.sum(-2)"
        yield f"add_keys_at(grad_k{self.suffix}, -pulls, {self._at})"

    @property
    def _at(self) -> str:
        return f"bs, hs, j{self.suffix}"
