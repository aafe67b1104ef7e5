"""Choosing tiles by measuring: what is tried, what a card has room for, and which is taken.

Tried are the neighbours of each shipped row: every number as it is, halved or doubled, at most two
of them changed. Those over the budget of `crosscompile` are left out; of the others the quickest is
taken if it is quicker by more than measuring is uncertain by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from types import ModuleType

import torch

from attnc.backends.triton import cards
from attnc.backends.triton.backend import TritonBackend
from attnc.backends.triton.cards import Place, Row
from attnc.backends.triton.configs import ANY, CAPABILITIES
from attnc.backends.triton.crosscompile import Resources, over_budget, resources_of
from attnc.backends.triton.examples import (
    biased,
    causal_table,
    chosen,
    duplex,
    fading,
    gated,
    linear,
)
from attnc.backends.triton.machine import compiled, kernels_of
from attnc.compiler.emit.kernels_file import KernelFile
from attnc.compiler.example import random_inputs
from attnc.compiler.kernel import Site, Target
from attnc.compiler.sites import site_operands
from attnc.dsl import codes
from attnc.dsl.diagnostics import EnvironmentLacks

Clock = Callable[["Subject", Row], float]
"""Measures a row: milliseconds."""

GAIN = 0.03
"""By how much of its time a row must be quicker than the shipped one to take its place."""

LONG = 4096
"""Tokens of the class of any length."""

BATCH = 8

MOST = 128
"""Largest number of rows that is tried."""

LIMITS: Mapping[str, tuple[int, int]] = {"warps": (4, 8), "stages": (1, 4)}
"""Smallest and largest that is tried."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A shipped row, and what is run to choose a better one.

    Attributes:
        place: its name in the file of the card.
        row: as shipped; warps and stages come last.
        site: an attention that a kernel with these tiles computes.
        length: tokens to run it with.
        stays: rows of the side that stays in a tile, or none.
        least: fewest rows that are tried; tiles that are multiplied have 16.
    """

    place: Place
    row: Row
    site: Site
    length: int
    stays: int | None = None
    least: int = 16

    @property
    def name(self) -> str:
        """As `attnc tune --only` matches it."""
        return ".".join(self.place)

    @property
    def kind(self) -> str:
        """The kind of kernel."""
        return self.place[2 if self.place[0] != "resident" else 3]

    @property
    def is_forward(self) -> bool:
        """Whether the kernel is part of the forward pass."""
        return self.kind in ("forward", "chunks", "rows")

    def tile(self, row: Row) -> tuple[int, ...]:
        """Return a row as a file of kernels has it: rows of q and of k, warps, stages."""
        return row if self.stays is None else (row[0], self.stays, *row[1:])

    def tried(self) -> Iterator[Row]:
        """Yield the rows to try, the shipped one first."""
        yield self.row
        rows = [(self.least, MOST)] * (len(self.row) - 2)
        bounds = [*rows, LIMITS["warps"], LIMITS["stages"]]
        steps = [_steps(value, *limits) for value, limits in zip(self.row, bounds, strict=True)]
        for row in product(*steps):
            if 1 <= sum(a != b for a, b in zip(row, self.row, strict=True)) <= 2:
                yield row


def _steps(value: int, least: int, most: int) -> list[int]:
    return [each for each in (value // 2, value, 2 * value) if least <= each <= most]


# Templates --------------------------------------------------------------------------------


def _of_pairs(place: Place, row: Row) -> Subject:
    length = {"16": 16, "64": 60, ANY: LONG}[place[3]]
    example = biased if place[2] == "pairs" else causal_table
    return Subject(place, row, example(int(place[1])), length)


def _of_heavy(place: Place, row: Row) -> Subject:
    return Subject(place, row, gated(int(place[1])), LONG)


def _of_resident(place: Place, row: Row) -> Subject:
    stays = int(place[2])
    return Subject(place, row, duplex(int(place[1]), stays), 16 * LONG, stays)


def _of_linear(place: Place, row: Row) -> Subject:
    example = linear if place[2] == "rows" else fading
    return Subject(place, row, example(int(place[1])), LONG)


def _of_gathered(place: Place, row: Row) -> Subject:
    return Subject(place, row, chosen(int(place[1])), LONG, least=1)


SUBJECTS: Mapping[str, Callable[[Place, Row], Subject]] = {
    "pairs": _of_pairs, "heavy": _of_heavy, "resident": _of_resident, "linear": _of_linear,
    "gathered": _of_gathered,
}  # fmt: skip
"""By template: the first part of the name of a row. A template that is not here keeps its rows."""


def subjects(card: str, pattern: str = "*") -> list[Subject]:
    """Return the shipped rows of a card whose names match, in the order of its file."""
    made = (
        SUBJECTS[place[0]](place, row)
        for place, row in cards.read(card).items()
        if place[0] in SUBJECTS
    )
    return [each for each in made if fnmatchcase(each.name, pattern)]


# What a card has room for -----------------------------------------------------------------


def module_with(subject: Subject, row: Row, target: Target) -> ModuleType:
    """Return the kernels of a subject with other tiles; they stay until they are set again."""
    kernel = TritonBackend().build(subject.site, target)
    module = kernels_of(KernelFile({subject.site: kernel}).text)
    tables = vars(module)[f"{subject.site.name}_tiles"]
    tables[subject.kind][CAPABILITIES[str(target)]] = {None: subject.tile(row)}
    return module


def resources(subject: Subject, row: Row, target: Target) -> Mapping[str, Resources]:
    """Return what the kernels of a subject take of a card with other tiles, by kernel."""
    module = module_with(subject, row, target)
    sizes = {"b": BATCH, "n": subject.length}
    made = compiled(module, subject.site, target, torch.bfloat16, sizes)
    return {name: resources_of(each, target) for name, each in made.items()}


def wrong_with(found: Mapping[str, Resources], target: Target) -> list[str]:
    """Return what kernels take too much of; nothing where the card has room."""
    return [f"{name}: {each}" for name in found for each in over_budget(found[name], target)]


# Choosing ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """What was found for a row.

    Attributes:
        times: milliseconds of all that the card has room for, the shipped one first.
    """

    subject: Subject
    times: Mapping[Row, float]

    @property
    def row(self) -> Row:
        """The row to ship: the quickest, unless the shipped one is as quick."""
        best = min(self.times, key=lambda row: self.times[row])
        shipped = self.times.get(self.subject.row)
        if shipped is not None and self.times[best] > (1 - GAIN) * shipped:
            return self.subject.row
        return best


def choices(
    found: Iterable[Subject], has_room: Callable[[Subject, Row], bool], clock: Clock
) -> Iterator[Choice]:
    """Yield a choice for each subject; one for which the card has no room at all has none."""
    for subject in found:
        rows = [row for row in subject.tried() if has_room(subject, row)]
        if rows:
            yield Choice(subject, {row: clock(subject, row) for row in rows})


def changed(card: str, made: Iterable[Choice]) -> cards.Rows:
    """Return all rows of a card with those chosen in their places."""
    return {**cards.read(card), **{each.subject.place: each.row for each in made}}


# On the card ------------------------------------------------------------------------------


def card_here() -> str:
    """Return the GPU of this machine as a target.

    Raises:
        EnvironmentLacks: there is none (E630), or no tiles are shipped for it (E631).
    """
    if not torch.cuda.is_available():
        raise EnvironmentLacks([codes.NO_GPU.at(None)])
    properties = torch.cuda.get_device_properties(0)
    card = f"cuda:{properties.major}{properties.minor}"
    if torch.version.hip:
        card = f"hip:{properties.gcnArchName.partition(':')[0]}"
    if card not in CAPABILITIES:
        known = ", ".join(CAPABILITIES)
        raise EnvironmentLacks([codes.UNLISTED_CARD.at(None, card=card, known=known)])
    return card


def measured(target: Target) -> Clock:
    """Return a clock that runs kernels on the GPU: the median of a whole pass."""
    from triton.testing import do_bench

    def clock(subject: Subject, row: Row) -> float:
        module = module_with(subject, row, target)
        time: float = do_bench(_pass(module, subject), return_mode="median")
        return time

    return clock


def _pass(module: ModuleType, subject: Subject) -> Callable[[], object]:
    """Return a forward or a backward pass of the kernels in bfloat16."""
    operands = list(site_operands(subject.site))
    sizes = {"b": BATCH, "n": subject.length}
    drawn = random_inputs(dict(operands), sizes, torch.bfloat16)
    given = [each.cuda().requires_grad_(each.is_floating_point()) for each in drawn]
    entry = vars(module)[subject.site.name]
    if subject.is_forward:
        return lambda: entry(*(each.detach() for each in given))
    results = entry(*given)
    results = results if isinstance(results, tuple) else (results,)
    factors = [torch.ones_like(each) for each in results]
    floats = [each for each in given if each.requires_grad]
    return lambda: torch.autograd.grad(results, floats, factors, retain_graph=True)
