"""What the boundary to torch needs of a site, whatever template computes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from attnc.backends.triton.names import Names


class Operation(Protocol):
    """A forward and a backward launcher, and what they take and give."""

    @property
    def name(self) -> str:
        """Name of the entry."""
        ...

    @property
    def names(self) -> Names:
        """Names of tensors and sizes."""
        ...

    @property
    def inputs(self) -> Sequence[str]:
        """Names of q, k, v of all sources and vq, in the order of the arguments."""
        ...

    @property
    def widths(self) -> Mapping[str, int]:
        """Input -> its last size."""
        ...

    @property
    def results(self) -> Sequence[str]:
        """What the operator gives: outputs as the spec calls them, then what is for gradients."""
        ...

    @property
    def fakes(self) -> Mapping[str, str]:
        """Result -> expression of an empty one."""
        ...

    @property
    def differentiable(self) -> Sequence[str]:
        """Results whose gradients the backward pass takes."""
        ...

    @property
    def saved(self) -> Sequence[str]:
        """Results that the backward pass takes, in the order of the results."""
        ...

    @property
    def spared(self) -> Sequence[tuple[str, ...]]:
        """Inputs whose gradients are made together, and only where one of them is asked for."""
        ...

    @property
    def learned(self) -> Sequence[str]:
        """Captured tensors that the loss reaches, by generated name in argument order."""
        ...

    @property
    def beside(self) -> Mapping[str, str]:
        """Captured tensors beside the result -> their gradients as autograd has them."""
        ...

    @property
    def if_kept(self) -> Sequence[str]:
        """Results that are empty unless gradients are wanted, as the launcher's `keep` says."""
        ...

    def private(self, name: str) -> str:
        """Return the name of a function of this site."""
        ...


def gradients(operation: Operation) -> list[str]:
    """Return names of all gradients, in the order of the arguments."""
    names = (*operation.inputs, *operation.learned, *beside(operation))
    return [f"grad_{name}" for name in names]


def optional(operation: Operation) -> list[tuple[str, ...]]:
    """Return arguments by what `wanted` says of their gradients, one flag for each group."""
    return [*operation.spared, *((name,) for name in operation.learned)]


def beside(operation: Operation) -> list[str]:
    """Return tensors beside the result whose gradients the backward launcher gives."""
    return [name for name, grad in operation.beside.items() if grad == f"grad_{name}"]


def forward_arguments(operation: Operation) -> list[str]:
    """Return names of all that the forward launcher takes."""
    return [*operation.names.arguments, *(["keep"] if operation.if_kept else [])]


def backward_arguments(operation: Operation) -> list[str]:
    """Return names of all that the backward launcher takes."""
    grads = [f"grad_{name}" for name in operation.differentiable]
    wanted = ["wanted"] if optional(operation) else []
    return [*grads, *operation.names.arguments, *operation.saved, *wanted]
