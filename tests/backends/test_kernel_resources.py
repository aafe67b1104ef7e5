"""The table of what kernels take of cards: rows picked by version are compiled once more."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from attnc.backends.triton import examples
from attnc.backends.triton.backend import TritonBackend
from attnc.backends.triton.configs import CAPABILITIES
from attnc.compiler.kernel import Target
from attnc.dsl.version import VERSION
from benchmarks.kernel_resources import Job, Row, jobs, on_card, read, write

ROOT = Path(__file__).parents[2]
SAMPLED = 3
SCRIPT = """
import sys
from benchmarks.kernel_resources import compiled, jobs
(job,) = [job for job in jobs() if job.name == sys.argv[1]]
for row in compiled(job):
    print(row.kernel, row.registers, row.spills, row.shared, row.tensor_core, row.digest, sep=",")
"""


def sampled() -> list[Job]:
    """Known jobs in half precision, others for every version."""
    known = sorted((job for job in read() if job.dtype != "float32"), key=lambda job: job.name)
    return random.Random(VERSION).sample(known, min(SAMPLED, len(known)))


@pytest.mark.parametrize("job", sampled(), ids=lambda job: job.name)
def test_the_table_says_what_kernels_take(job: Job) -> None:
    """Where the kernels are no longer those of the table, they are held to their budget."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, job.name],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split(",") for line in done.stdout.splitlines()]
    assert rows
    known = {
        row.kernel: [row.registers, row.spills, row.shared, row.tensor_core] for row in read()[job]
    }
    for kernel, *figures, digest in rows:
        if digest == read()[job][0].digest:
            assert known[kernel] == [int(figure) for figure in figures]
        else:
            assert figures[1] == "0"


def test_every_example_is_compiled_for_every_card() -> None:
    found = {(job.target, job.example) for job in jobs()}
    names = {example.__name__ for example in examples.EXAMPLES} | {"duplex", "channels"}
    assert found == {(target, name) for target in CAPABILITIES for name in names}
    every = list(jobs())
    assert len({job.name for job in every}) == len(every)


def row(**changes: object) -> Row:
    known = Row("cuda:90", "bfloat16", "causal", "64", 1000, "forward", 200, 0, 9, 8, "", "abc")
    return replace(known, **changes)  # type: ignore[arg-type]


def test_the_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    table = tmp_path / "kernels.csv"
    assert read(table) == {}
    rows = [row(), row(kernel="keys", spills=8, over="8 spill instructions"), row(sizes="64x32")]
    found = {each.job: [other for other in rows if other.job == each.job] for each in rows}
    write(found, table)
    first = table.read_bytes()
    assert read(table) == found
    write(dict(reversed(found.items())), table)
    assert table.read_bytes() == first


def test_the_digest_changes_with_the_kernels() -> None:
    (job,) = [job for job in jobs() if job.name == "cuda:90/bfloat16/64/causal/1000"]
    assert job.digest == job.digest
    assert job.digest != replace(job, sizes=(128,)).digest
    assert job.digest != replace(job, target="cuda:80").digest


def test_tiles_of_other_cards_are_no_part_of_the_digest() -> None:
    text = "tiles = {\n    (8, 0): {None: (64, 64, 4, 2)},\n    None: {None: (32, 32, 4, 1)},\n}\n"
    first, second = text.splitlines(keepends=True)[1:3]
    assert on_card(text, (8, 0)) == text.replace(second, "")
    assert on_card(text, None) == text.replace(first, "")
    source = TritonBackend().build(examples.causal(64), Target("cuda", "90")).source
    assert "(9, 0): {" in source
    assert "(9, 0): {" not in on_card(source, None)
    namespace = next(name for name in source.split(".") if name.startswith("attnc_"))
    assert namespace not in on_card(source, (9, 0))


def test_what_is_over_budget_in_the_table_is_what_the_documentation_lists() -> None:
    """A kernel of the table that is over its budget says of what."""
    for rows in read().values():
        for each in rows:
            assert not each.spills or f"{each.spills} spill instructions" in each.over
