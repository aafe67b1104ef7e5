"""What every generated kernel takes of every card, by cross compilation: docs/kernels.csv.

    python -m benchmarks.kernel_resources [PATTERN] [--jobs 2] [--list] [--table FILE]

A job is one attention at one head dim and length, in one dtype, for one card; all its kernels are
compiled as they would be there. PATTERN chooses jobs by name: `cuda:90/bfloat16/64/*`. Jobs whose
kernels are as they were when they were last compiled, by a digest of their text and Triton's
version, are not compiled again, so that a run which was cut short goes on where it ended. Another
Triton has a FILE of its own. The exit code is 1 where a kernel is over its budget: spills, more
shared memory than there is, no matrix instructions.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import astuple, dataclass, fields
from fnmatch import fnmatchcase
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import triton

from attnc.backends.triton import examples
from attnc.backends.triton.backend import TritonBackend
from attnc.backends.triton.configs import CAPABILITIES
from attnc.backends.triton.crosscompile import cross_compile, over_budget
from attnc.backends.triton.resident import configs as resident
from attnc.backends.triton.templates import reasons_against
from attnc.compiler.emit.kernels_file import KernelFile
from attnc.compiler.kernel import Site
from attnc.compiler.sites import site_types
from attnc.compiler.targets import parse_target
from attnc.dsl.dims import symbols

TABLE = Path(__file__).parents[1] / "docs" / "kernels.csv"
DIMS = (64, 128, 32, 256, 16, 96)
"""Head dims; those that tiles are chosen by stand before those in between."""
DTYPES: Mapping[str, torch.dtype] = {
    each: getattr(torch, each) for each in ("bfloat16", "float32", "float16")
}  # fmt: skip
LENGTHS = (1000, 60, 16)
"""One for each class of lengths, none a multiple of a tile; the last for the usual dtype alone."""

TILES = re.compile(r"^ +(None|\(\d+, \d+\)): \{.*\},\n", re.MULTILINE)
"""What launchers look tiles up in: a row for each card."""

NAMESPACE = re.compile(r"\battnc_[0-9a-f]{8}\b")
"""Under which torch knows the operators, by a digest of the whole file."""

CHANNELS = (12, 32, 60, 200)
"""One for each class of few rows."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is compiled together.

    Attributes:
        example: a function of `examples`.
        sizes: its arguments, the head dim first.
    """

    target: str
    dtype: str
    example: str
    sizes: tuple[int, ...]
    length: int

    @property
    def name(self) -> str:
        """As a pattern matches it: target, dtype, sizes, example, length."""
        sizes = "x".join(map(str, self.sizes))
        return f"{self.target}/{self.dtype}/{sizes}/{self.example}/{self.length}"

    @property
    def site(self) -> Site:
        """The attention."""
        made: Site = getattr(examples, self.example)(*self.sizes)
        return made

    @property
    def digest(self) -> str:
        """A digest of all that the machine code depends on."""
        kernel = TritonBackend().build(self.site, parse_target(self.target))
        card = CAPABILITIES[self.target] if DTYPES[self.dtype].itemsize == 2 else None
        text = on_card(KernelFile({self.site: kernel}).text, card)
        text = f"{triton.__version__}\n{self.length}\n{text}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Row:
    """What one kernel takes. `spills` are instructions; `shared` is in bytes."""

    target: str
    dtype: str
    example: str
    sizes: str
    length: int
    kernel: str
    registers: int
    spills: int
    shared: int
    tensor_core: int
    over: str
    digest: str

    @property
    def job(self) -> Job:
        """What it was compiled in."""
        sizes = tuple(map(int, self.sizes.split("x")))
        return Job(self.target, self.dtype, self.example, sizes, self.length)


COLUMNS: Mapping[str, Callable[[str], Any]] = {
    each.name: int if each.type == "int" else str for each in fields(Row)
}


def jobs() -> Iterator[Job]:
    """Yield all jobs, the most telling first."""
    for length in LENGTHS:
        for dtype in DTYPES if length == LENGTHS[0] else ("bfloat16",):
            for target in ("cuda:90", *(each for each in CAPABILITIES if each != "cuda:90")):
                for example, sizes in shapes(target):
                    job = Job(target, dtype, example, sizes, length)
                    if length == LENGTHS[0] or _is_long(job.site):
                        yield job


@cache
def shapes(target: str) -> Sequence[tuple[str, tuple[int, ...]]]:
    """Return every example with its sizes: by head dim, by what stays in a tile, by channels.

    Head dims too wide for an example are left out, as no kernel is generated.
    """
    by_dim = [
        (example.__name__, (dim,))
        for dim in DIMS
        for example in examples.EXAMPLES
        if not reasons_against(example(dim), parse_target(target))
    ]
    resident_places = [("duplex", place) for place in resident.TILES[target]]
    return [*by_dim, *resident_places, *(("channels", (count,)) for count in CHANNELS)]


def _is_long(site: Site) -> bool:
    """Say whether the length of an example is left open."""
    return any("n" in symbols(size) for type_ in site_types(site) for size in type_.shape)


def on_card(text: str, card: tuple[int, int] | None) -> str:
    """Return kernels without tiles of other cards; None stands for those that are not listed."""
    text = NAMESPACE.sub("attnc", text)
    return TILES.sub(lambda row: row[0] if row[1] == str(card) else "", text)


# Compiling --------------------------------------------------------------------------------


def compiled(job: Job) -> list[Row]:
    """Compile the kernels of a job."""
    target, dtype = parse_target(job.target), DTYPES[job.dtype]
    found = cross_compile(job.site, target, dtype, sizes={"n": job.length})
    digest, sizes = job.digest, "x".join(map(str, job.sizes))
    return [
        Row(
            job.target, job.dtype, job.example, sizes, job.length, kernel,
            taken.registers, taken.spills, taken.shared, taken.tensor_core,
            "; ".join(over_budget(taken, target, dtype)), digest,
        )
        for kernel, taken in found.items()
    ]  # fmt: skip


def read(table: Path = TABLE) -> dict[Job, list[Row]]:
    """Return a table, by job."""
    found: dict[Job, list[Row]] = {}
    if not table.exists():
        return found
    with table.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            row = Row(*(kind(line[name]) for name, kind in COLUMNS.items()))
            found.setdefault(row.job, []).append(row)
    return found


def write(found: Mapping[Job, Sequence[Row]], table: Path = TABLE) -> None:
    """Write a table in one step, in an order of its own."""
    rows = sorted(
        (row for each in found.values() for row in each),
        key=lambda row: (row.target, row.dtype, row.example, row.job.sizes, row.length, row.kernel),
    )
    draft = table.with_suffix(".tmp")
    with draft.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        lines.writerows(astuple(row) for row in rows)
    draft.replace(table)


def run(
    wanted: Sequence[Job], known: dict[Job, list[Row]], processes: int, table: Path = TABLE
) -> dict[str, str]:
    """Compile jobs and write a table after each; return what failed to compile."""
    failed: dict[str, str] = {}
    os.environ.pop("TRITON_INTERPRET", None)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(compiled, job): job for job in wanted}
        for done in as_completed(running):
            job, error = running[done], done.exception()
            if error is not None:
                failed[job.name] = f"{type(error).__name__}: {error}"
                print(f"{job.name}: {failed[job.name]}", flush=True)
                continue
            known[job] = done.result()
            write(known, table)
            wrong = [f"{row.kernel}: {row.over}" for row in known[job] if row.over]
            print(f"{job.name}: {'; '.join(wrong) or 'within budget'}", flush=True)
    return failed


def main() -> int:
    """Bring the table up to date; return 1 where something is over its budget."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("pattern", nargs="?", default="*")
    options.add_argument("--jobs", type=int, default=2, help="processes at a time")
    options.add_argument("--list", action="store_true", help="print what would be compiled")
    options.add_argument("--table", type=Path, default=TABLE, metavar="FILE", help="another table")
    asked = options.parse_args()
    every, known = list(jobs()), read(asked.table)
    known = {job: known[job] for job in every if job in known}
    chosen = [job for job in every if fnmatchcase(job.name, asked.pattern)]
    wanted = [job for job in chosen if job not in known or known[job][0].digest != job.digest]
    if asked.list:
        print("\n".join(job.name for job in wanted))
        return 0
    failed = run(wanted, known, asked.jobs, asked.table)
    over = sum(bool(row.over) for job in chosen for row in known.get(job, ()))
    print(f"{len(chosen)} jobs, {len(wanted)} compiled, {len(failed)} failed, {over} over budget")
    return int(bool(failed or over))


if __name__ == "__main__":
    sys.exit(main())
