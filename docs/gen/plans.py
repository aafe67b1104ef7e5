"""Write which backend computes each attention of the zoo on a CPU and on a GPU, and why."""

from html import escape

import mkdocs_gen_files

from attnc import zoo
from attnc.api import Compilation, check
from attnc.compiler.survey import PLAIN, Cell, Row, survey

TARGETS = ("cpu", "cuda:90")
HEAD = f"""# Plans of the zoo

Every attention of every system, as its defaults say, and what computes it on
{" and on ".join(f"`{target}`" for target in TARGETS)}. Attentions that differ in nothing are one
row, with the number of calls in a forward pass. Where nothing is fused (`{PLAIN}`), every other
backend says why. `attnc plan zoo:NAME` says the same with costs.
"""


def text(line: str) -> str:
    """Return text that a Markdown table can hold."""
    return escape(line, quote=False).replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")


def answer(cell: Cell | None) -> str:
    """Return the backend, and why it is not a fused one."""
    if cell is None:
        return "part of another"
    assert cell.backend != PLAIN or cell.reasons, "nothing says why nothing is fused"
    return "<br>".join([f"**{cell.backend}**", *map(text, cell.reasons)])


def row(found: Row) -> str:
    """Return a row of the table."""
    places = ", ".join(f"`{place}`" for place in found.places)
    what = "<br>".join(map(text, found.what))
    cells = " | ".join(answer(found.cells.get(target)) for target in TARGETS)
    return f"| `{found.name}`: {found.calls} in {places} | {what} | {cells} |"


with mkdocs_gen_files.open("reference/plans.md", "w") as page:
    print(HEAD, file=page)
    for name in zoo.names():
        graph = check(f"zoo:{name}")
        found = survey([Compilation(graph, target).plan for target in TARGETS])
        print(f"## [{name}](../zoo/{name}.md)\n", file=page)
        if not found:
            print("It has no attention that is planned.\n", file=page)
            continue
        print(f"| attention | of | {' | '.join(TARGETS)} |", file=page)
        print(f"|---|---|{'---|' * len(TARGETS)}", file=page)
        print("\n".join(map(row, found)) + "\n", file=page)
