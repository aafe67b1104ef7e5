"""Write a card for every system of the zoo."""

import mkdocs_gen_files

from attnc import zoo
from attnc.dsl import tree
from attnc.dsl.expressions import evaluate
from attnc.dsl.load import load_spec


def data(found: tree.MapOf | None) -> dict[str, object]:
    """Return plain data of a spec."""
    value = evaluate(found, {}) if found is not None else {}
    return value if isinstance(value, dict) else {}


with mkdocs_gen_files.open("reference/zoo.md", "w") as page:
    print("# Zoo\n", file=page)
    print("`attnc zoo list` names them; `attnc zoo show NAME` prints a spec.\n", file=page)
    for name in zoo.names():
        spec = load_spec(f"zoo:{name}", zoo.entries)
        paper = data(spec.paper)
        print(f"## {name}\n", file=page)
        print(f"{spec.doc}\n", file=page)
        if paper:
            arxiv = f" [arXiv {paper['arxiv']}](https://arxiv.org/abs/{paper['arxiv']})."
            print(
                f"*{paper['title']}*, {paper['year']}.{arxiv if 'arxiv' in paper else ''}",
                file=page,
            )
            code = f" of `{paper['repository']}`" if "repository" in paper else ""
            print(f"Follows the {paper.get('follows', 'paper')}{code}.\n", file=page)
        deviations = paper.get("deviations", [])
        for each in deviations if isinstance(deviations, list) else []:
            print(f"- {each['what']} ({each['source']})", file=page)
        if spec.variants:
            print("\n| variant | claim | value | source |\n|---|---|---|---|", file=page)
        for variant in spec.variants:
            for key, claim in data(variant.claims).items():
                if isinstance(claim, dict):
                    print(
                        f"| {variant.name} | {key} | {claim['value']} | {claim['source']} |",
                        file=page,
                    )
        print(file=page)
