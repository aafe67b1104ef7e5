"""Softmax over queries as two sites of the template of pairs, behind one operator.

With the roles swapped weights p are a softmax over keys, of which results are no rows but columns:
out_i = sum_j p_ji v_j. So the gradients of that site, where v takes the place of the gradient of
its result and the gradient of out that of its values, are those of q and k here, and its result
is that of v.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from attnc.backends.triton.layout import call, define, listing
from attnc.backends.triton.names import Names
from attnc.backends.triton.operation import backward_arguments, gradients
from attnc.backends.triton.problem import Problem, digest
from attnc.backends.triton.turned.sites import turned_sites
from attnc.compiler.kernel import Site


@dataclass(frozen=True, slots=True)
class Turned:
    """All that the boundary to torch needs of a site.

    Attributes:
        name: of the entry.
        names: of tensors and sizes.
        sites: with the roles swapped, and of weights from lse.
        swapped: the first of them; `weights` the second.
    """

    name: str
    names: Names
    sites: tuple[Site, Site]
    swapped: Problem
    weights: Problem

    @property
    def beside(self) -> Mapping[str, str]:
        """Nothing follows the result within the operator."""
        return {}

    @property
    def if_kept(self) -> Sequence[str]:
        """Results are there whether gradients are wanted or not."""
        return ()

    def private(self, name: str) -> str:
        """Return the name of a function of this site."""
        return f"{self.name}_{name}"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of q, k and v."""
        return ("q", "k", "v")

    @property
    def widths(self) -> Mapping[str, int]:
        """Input -> its last size."""
        return self.weights.widths

    @property
    def results(self) -> list[str]:
        """The result, and lse of every key over the queries."""
        return ["out", "lse"]

    @property
    def fakes(self) -> Mapping[str, str]:
        """Result -> expression of an empty one."""
        return {"out": f"token_rows(q, {self.weights.width})", "lse": "by_query(k)"}

    @property
    def differentiable(self) -> list[str]:
        """Results whose gradients the backward pass takes."""
        return self.swapped.differentiable

    @property
    def saved(self) -> list[str]:
        """Results that the backward pass takes."""
        return ["lse"]

    @property
    def spared(self) -> list[tuple[str, ...]]:
        """Inputs whose gradients are made together, and only where one of them is asked for."""
        return []

    @property
    def learned(self) -> list[str]:
        """Captured tensors that the loss reaches, by generated name in argument order."""
        return self.swapped.learned


def turned(site: Site) -> Turned:
    """Prepare a site."""
    sites = turned_sites(site)
    assert sites is not None, "refused before"
    swapped, weights = map(digest, sites)
    return Turned(site.name, Names(site), sites, swapped, weights)


def launchers(problem: Turned) -> Iterator[str]:
    """Yield the sources of the launchers, which call those of both sites."""
    tensors = problem.names.arguments[len(problem.inputs) :]
    swapped, weights = problem.swapped, problem.weights
    found = call(f"_, lse, *_ = {swapped.private('launch')}", ["k", "q", "nothing", *tensors])
    given = ["q", "k", "v", *tensors, "known"]
    body = [
        f"nothing = q.new_zeros(()).expand(*q.shape[:3], {weights.width})",
        found,
        "known = lse.masked_fill(lse.isneginf(), torch.inf)  # of keys without a query",
        call(f"out = {weights.private('launch')}", given),
        "return out, lse",
    ]
    doc = "Launch both forward passes: lse of every key over the queries, then the result."
    yield define(problem.private("launch"), problem.names.arguments, doc, body, decorator="")
    yield _backward(problem, tensors)


def _backward(problem: Turned, tensors: list[str]) -> str:
    swapped = problem.swapped
    made = {"out": "grad_v", "lse": "lse", "normal": "normal"}
    results = ", ".join("_" if name == "lse" else made[name] for name in swapped.results)
    grads = ["v" if name == "out" else f"grad_{name}" for name in swapped.differentiable]
    wanted = ["wanted"] if problem.learned else []
    saved = [made[name] for name in swapped.saved]
    others = [f"grad_{name}" for name in problem.learned]
    given = [*grads, "k", "q", "grad_out", *tensors, *saved, *wanted]
    body = [
        call(f"{results} = {swapped.private('launch')}", ["k", "q", "grad_out", *tensors]),
        call(f"grads = {swapped.private('launch_backward')}", given),
        listing("", ["grad_k", "grad_q", "_", *others], " = grads"),
        listing("return ", gradients(problem)),
    ]
    doc = "Launch the passes with the roles swapped, of which the gradient of v is a result."
    name = problem.private("launch_backward")
    return define(name, backward_arguments(problem), doc, body, decorator="")
