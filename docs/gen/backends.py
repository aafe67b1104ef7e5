"""Write which backend computes which attention of the library, and why not."""

import mkdocs_gen_files

from attnc.api import Compilation, check, loads
from attnc.dsl import library

TARGETS = {"sdpa": "cpu", "linear": "cpu", "tiled": "cpu", "triton": "cuda:90", "reference": "cpu"}
HEAD = """# Primitives and backends

Each attention of the [standard library](library.md), in its example, on every backend: what the
backend answers for the attentions in it. `attnc plan` says the same for a spec of yours, with
costs.
"""


def answers(name: str, backend: str) -> str:
    """Return `yes`, or the reasons why not, of all attentions of an example."""
    example = library.example(name)
    assert example is not None
    plan = Compilation(check(loads(example.text)), TARGETS[backend]).plan
    verdicts = [each for site in plan.sites for each in site.verdicts if each.backend == backend]
    if not verdicts:
        return "no attention"
    refused = [each for each in verdicts if not each.can]
    if not refused:
        return "yes"
    reasons = "; ".join(dict.fromkeys(reason for each in refused for reason in each.reasons))
    most = "" if len(refused) == len(verdicts) else f"{len(verdicts) - len(refused)} of "
    return f"{most}{len(verdicts)}: {reasons}" if most else reasons


with mkdocs_gen_files.open("reference/backends.md", "w") as page:
    print(HEAD, file=page)
    print(f"| primitive | {' | '.join(TARGETS)} |", file=page)
    print(f"|---|{'---|' * len(TARGETS)}", file=page)
    for name in sorted(library.names()):
        if library.example(name) is not None:
            cells = (answers(name, backend).replace("|", "\\|") for backend in TARGETS)
            print(f"| [{name}](library.md#{name}) | {' | '.join(cells)} |", file=page)
