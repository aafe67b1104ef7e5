"""Write the operator table, by family."""

from itertools import groupby

import mkdocs_gen_files

from attnc.dsl.ops import TABLE


def cell(text: str) -> str:
    """Return text that a Markdown table can hold."""
    return text.replace("|", "\\|")


with mkdocs_gen_files.open("reference/operators.md", "w") as page:
    print("# Operators\n", file=page)
    rows = sorted(TABLE.values(), key=lambda row: (row.family, row.name))
    for family, members in groupby(rows, key=lambda row: row.family):
        print(f"## {family}\n", file=page)
        print("| operator | shapes | what it does |", file=page)
        print("|---|---|---|", file=page)
        for row in members:
            print(f"| `{row.name}` | `{cell(row.signature)}` | {cell(row.doc)} |", file=page)
        print(file=page)
