"""Write the error catalogue, one section an error."""

import mkdocs_gen_files

from attnc.dsl.codes import CATALOGUE
from attnc.dsl.load import is_text
from attnc.dsl.spans import Source

GROUPS = {
    "E1": "Reading",
    "E2": "Names, values and shapes",
    "E3": "Lowering",
    "E4": "Backends",
    "E5": "Weights and parity",
    "E6": "Command line and environment",
}


def notation(example: str) -> str:
    """Return the language of an example, for highlighting."""
    if example.startswith("$ "):
        return "console"
    return "text" if is_text(Source("example", example)) else "yaml"


with mkdocs_gen_files.open("reference/errors.md", "w") as page:
    print("# Errors\n", file=page)
    print("Every message carries a code; `attnc explain CODE` prints its entry.\n", file=page)
    group = ""
    for code, problem in sorted(CATALOGUE.items()):
        if code[:2] != group:
            group = code[:2]
            print(f"## {GROUPS[group]}\n", file=page)
        print(f"### {code}: {problem.title}\n", file=page)
        print(f"> {problem.message}\n", file=page)
        print(f"{problem.meaning}\n", file=page)
        if problem.help:
            remedy = problem.help.replace("\n", "; ")
            print(f"**Remedy:** {remedy}.\n", file=page)
        for title, example in (("Wrong", problem.wrong), ("Right", problem.right)):
            print(f"{title}:\n\n```{notation(example)}\n{example}\n```\n", file=page)
