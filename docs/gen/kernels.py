"""Write what generated kernels take of every card, and the least time of their attentions."""

from collections.abc import Iterator

import mkdocs_gen_files

from attnc.compiler.floors import RATES, floors
from attnc.compiler.plan_text import amount
from attnc.compiler.targets import parse_target
from benchmarks.kernel_resources import TABLE, Job, Row, jobs, read, shapes

HEAD = """# Kernels

What Triton's kernels take of each card, as they are compiled for it: registers of a thread, KiB of
shared memory of a program, matrix instructions; **spills** are instructions that move registers to
memory and back. No card need be there. `make kernels` brings the table up to date, and fails where
a kernel is over its budget; `docs/kernels.csv` has it as data. The attentions are those of
`backends/triton/examples.py`.
"""
FLOORS = """## The least time

Of one forward and of one backward pass in half precision, whatever computes it: products of
matrices, exponentials and bytes, each counted once, at the best rates that the card sustains. The
batch is 8, the length 4096; `attnc plan --resources` has the same for a spec.
"""
SIZES = {"b": 8, "n": 4096}


def summary(found: dict[Job, list[Row]]) -> str:
    """Say how much of the table there is, and what is over budget."""
    every = list(jobs())
    rows = [row for job in every for row in found.get(job, ())]
    over = sum(bool(row.over) for row in rows)
    there = sum(job in found for job in every)
    return (
        f"{there} of {len(every)} jobs are in the table, {len(rows)} kernels; "
        f"{over or 'none'} of them over budget.\n"
    )


def elsewhere() -> Iterator[str]:
    """Yield what other Tritons make of the same kernels, a sentence for each of their tables."""
    for path in sorted(TABLE.parent.glob(f"{TABLE.stem}-*.csv")):
        rows = [row for each in read(path).values() for row in each]
        over = sum(bool(row.over) for row in rows)
        triton = path.stem.removeprefix(f"{TABLE.stem}-")
        yield (
            f"Triton {triton} compiles {len(rows)} of these kernels; {over or 'none'} of them over "
            f"budget (`docs/{path.name}`)."
        )


def table(rows: list[Row]) -> Iterator[str]:
    """Yield the kernels of one card and dtype."""
    yield "| attention | sizes | tokens | kernel | registers | KiB | matrix | |"
    yield "|---|---|---:|---|---:|---:|---:|---|"
    for row in sorted(rows, key=lambda row: (row.example, row.job.sizes, row.length, row.kernel)):
        over = f"**{row.over}**" if row.over else ""
        figures = f"{row.registers} | {row.shared / 1024:.0f} | {row.tensor_core}"
        what = f"{row.example.replace('_', ' ')} | {row.sizes} | {row.length} | {row.kernel}"
        yield f"| {what} | {figures} | {over} |"


def least(target: str) -> Iterator[str]:
    """Yield the floors of all examples."""
    yield "| attention | sizes | pass | FLOPs | exponentials | bytes | us | bound by |"
    yield "|---|---|---|---:|---:|---:|---:|---|"
    for example, sizes in sorted(set(shapes(target)), key=lambda each: (each[0], each[1])):
        site = Job(target, "bfloat16", example, sizes, SIZES["n"]).site
        for floor in floors(site, parse_target(target), SIZES):
            work = floor.work
            counts = (amount(each).strip() for each in (work.flops, work.exps, work.bytes))
            what = f"{example.replace('_', ' ')} | {'x'.join(map(str, sizes))} | {floor.step}"
            time = f"{floor.microseconds:.3g} | {floor.bound}"
            yield f"| {what} | {' | '.join(counts)} | {time} |"


with mkdocs_gen_files.open("reference/kernels.md", "w") as page:
    found = read()
    print(HEAD, file=page)
    print(summary(found), file=page)
    print("\n\n".join(elsewhere()) + "\n", file=page)
    groups: dict[tuple[str, str], list[Row]] = {}
    for rows in found.values():
        groups.setdefault((rows[0].target, rows[0].dtype), []).extend(rows)
    for (target, dtype), rows in sorted(groups.items()):
        print(f"## {target}, {dtype}\n", file=page)
        print("\n".join(table(rows)) + "\n", file=page)
    print(FLOORS, file=page)
    for target, rates in RATES.items():
        print(f"### {rates.card}\n", file=page)
        print("\n".join(least(target)) + "\n", file=page)
