"""Write the zoo: an index by family, and a card for every system."""

from collections.abc import Iterator
from html import escape
from itertools import groupby
from pathlib import Path

import mkdocs_gen_files

from attnc import zoo
from attnc.dsl import tree
from attnc.dsl.claims import COUNTED, Claim, claims
from attnc.dsl.elaborate import elaborate
from attnc.dsl.expression_printer import expression_text
from attnc.dsl.expressions import evaluate
from attnc.dsl.load import load_spec
from attnc.dsl.state import parameter_count

GOLDEN = Path("tests/golden/parity")
"""Numbers of official code, which the tests compare the systems with."""

LANGUAGES = {".yaml": "yaml", ".attn": "text"}


def data(found: tree.MapOf | None) -> dict[str, object]:
    """Return plain data of a spec."""
    value = evaluate(found, {}) if found is not None else {}
    return value if isinstance(value, dict) else {}


def cell(text: object) -> str:
    """Return text that a Markdown table can hold."""
    return escape(str(text), quote=False).replace("|", "\\|").replace("\n", " ")


def number(value: int | float) -> str:
    """Return a number with its thousands set apart."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:g}"


# Parts of a card --------------------------------------------------------------------------


def heading(spec: tree.Spec) -> Iterator[str]:
    """Yield the name and what it is."""
    yield f"# {spec.model}\n"
    yield f"{escape(spec.doc or '', quote=False)}\n"


def source(spec: tree.Spec) -> Iterator[str]:
    """Yield the paper, the code, what the spec follows, and whether it is compared with it."""
    paper = data(spec.paper)
    if paper:
        arxiv = f", [arXiv {paper['arxiv']}](https://arxiv.org/abs/{paper['arxiv']})"
        title = f"*{escape(str(paper['title']), quote=False)}*, {paper['year']}"
        yield f"- Paper: {title}{arxiv if 'arxiv' in paper else ''}"
    if "repository" in paper:
        yield f"- Code: {linked(str(paper['repository']))}"
    yield f"- Follows the {paper.get('follows', 'paper')} where they differ"
    if any(GOLDEN.glob(f"{spec.model}.*safetensors")):
        yield "- Compared by the tests with numbers of the official code: every output"
    yield ""


def linked(repository: str) -> str:
    """Return a link to `owner/name` on GitHub; any other text as it is."""
    is_name = repository.count("/") == 1 and " " not in repository
    return f"[{repository}](https://github.com/{repository})" if is_name else escape(repository)


def deviations(spec: tree.Spec) -> Iterator[str]:
    """Yield how the paper, the code and the spec differ."""
    found = data(spec.paper).get("deviations")
    if not isinstance(found, list) or not found:
        return
    yield "## Deviations\n"
    for each in found:
        yield f"- {escape(each['what'], quote=False)} ({escape(each['source'], quote=False)})"
    yield ""


def variants(spec: tree.Spec) -> Iterator[str]:
    """Yield what the variants set, and what is claimed about them."""
    if not spec.variants:
        return
    yield "## Variants\n"
    yield "| variant | sets |\n|---|---|"
    for variant in spec.variants:
        sets = ", ".join(f"{name} = {expression_text(value)}" for name, value in variant.overrides)
        yield f"| {variant.name} | {f'`{cell(sets)}`' if sets else 'the defaults'} |"
    yield "\n| variant | claim | value | tolerance | source |\n|---|---|---:|---:|---|"
    for variant in spec.variants:
        for claim in claims(spec, variant.name):
            yield claim_row(claim)
    yield (
        f"\n`attnc zoo check {spec.model}` counts {', '.join(f'`{name}`' for name in COUNTED)}; "
        "other claims are those of their source.\n"
    )


def claim_row(claim: Claim) -> str:
    """Return a row of the table of claims."""
    at = "".join(f", {name} = {count}" for name, count in claim.sizes.items() if count != 1)
    counted = claim.name in COUNTED
    tolerance = (f"{100 * claim.tolerance:g} %" if claim.tolerance else "exact") if counted else ""
    name = f"{claim.name}{at if counted else ''}"
    value = number(claim.value)
    return f"| {claim.variant} | {name} | {value} | {tolerance} | {cell(claim.source)} |"


def params(spec: tree.Spec) -> Iterator[str]:
    """Yield the params with their defaults."""
    if not spec.params:
        return
    yield "## Params\n"
    yield "| param | default | meaning |\n|---|---|---|"
    for param in spec.params:
        default = f"`{cell(expression_text(param.default))}`" if param.default else "must be given"
        yield f"| `{param.name}` | {default} | {cell(param.doc or '')} |"
    yield ""


def tensors(spec: tree.Spec) -> Iterator[str]:
    """Yield inputs and outputs, with the defaults."""
    graph = elaborate(spec)
    yield "## Inputs and outputs\n"
    yield "| | name | shape |\n|---|---|---|"
    for name, kind in graph.inputs.items():
        yield f"| input | `{name}` | `{kind}` |"
    for name, value in graph.outputs.items():
        yield f"| output | `{name}` | `{value.type}` |"
    for name, value in graph.body.exits.items():
        yield f"| exit | `{name}` | `{value.type}` |"
    yield f"\n{number(parameter_count(graph))} parameters with the defaults.\n"


def usage(spec: tree.Spec) -> Iterator[str]:
    """Yield commands to begin with."""
    variant = f" --variant {spec.variants[0].name}" if spec.variants else ""
    yield "## Use\n"
    yield "```bash"
    yield f"attnc check zoo:{spec.model}"
    yield f"attnc compile zoo:{spec.model}{variant} -o out"
    yield f"attnc zoo copy {spec.model}"
    yield "```\n"


def text(spec: tree.Spec, path: Path) -> Iterator[str]:
    """Yield the spec as it is written."""
    yield "## Spec\n"
    yield f"```{LANGUAGES[path.suffix]}\n{path.read_text(encoding='utf-8').rstrip()}\n```"


# Pages ------------------------------------------------------------------------------------

SPECS = {name: load_spec(f"zoo:{name}", zoo.entries) for name in zoo.names()}

for name, spec in SPECS.items():
    with mkdocs_gen_files.open(f"zoo/{name}.md", "w") as page:
        for part in (heading, source, deviations, usage, variants, params, tensors):
            print("\n".join(part(spec)), file=page)
        print("\n".join(text(spec, zoo.entries()[name])), file=page)

with mkdocs_gen_files.open("reference/zoo.md", "w") as page:
    print("# Zoo\n", file=page)
    print(
        "Published systems as specs. `attnc zoo list` names them, `attnc zoo show NAME` prints a "
        "spec, `attnc zoo check` holds their claims against what can be counted.\n",
        file=page,
    )
    for family, members in groupby(sorted(SPECS, key=zoo.family), key=zoo.family):
        print(f"## {family.capitalize()}\n", file=page)
        print("| system | year | what it is |\n|---|---|---|", file=page)
        for name in members:
            spec = SPECS[name]
            year = data(spec.paper).get("year", "")
            print(f"| [{name}](../zoo/{name}.md) | {year} | {cell(spec.doc)} |", file=page)
        print(file=page)
