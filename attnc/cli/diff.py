"""`attnc diff`: what sets two models apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, cast

import typer

from attnc.cli.options import SpecArgument, complete_spec
from attnc.cli.outcome import Outcome
from attnc.cli.table import table
from attnc.dsl.render import Json

if TYPE_CHECKING:
    from attnc.dsl.difference import Change, Difference

OtherArgument = Annotated[
    str,
    typer.Argument(
        metavar="[OTHER]",
        help="The other spec; the same one, unless it is given.",
        autocompletion=complete_spec,
    ),
]
FirstVariantOption = Annotated[
    str | None, typer.Option("--variant", metavar="NAME", help="The variant of the first.")
]
OtherVariantOption = Annotated[
    str | None, typer.Option("--other-variant", metavar="NAME", help="The variant of the other.")
]
FirstSetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PARAM=VALUE", help="Override a param of the first; repeatable."),
]
OtherSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--other-set", metavar="PARAM=VALUE", help="Override a param of the other; repeatable."
    ),
]
ExitCodeOption = Annotated[
    bool, typer.Option("--exit-code", help="Exit 1 where the two differ, as diff does.")
]


def diff(
    spec: SpecArgument,
    other: OtherArgument = "",
    variant: FirstVariantOption = None,
    other_variant: OtherVariantOption = None,
    overrides: FirstSetOption = None,
    other_overrides: OtherSetOption = None,
    exit_code: ExitCodeOption = False,
) -> Outcome:
    """Compare two models: params, sizes, weights, and block by block the operations."""
    from attnc import api
    from attnc.dsl.difference import difference

    first = api.check(spec, variant, overrides or ())
    second = api.check(other or spec, other_variant, other_overrides or ())
    found = difference(first, second)
    names = (
        _named(spec, variant, overrides), _named(other or spec, other_variant, other_overrides)
    )  # fmt: skip
    return Outcome(
        "" if found.is_none else "\n".join(_sections(found, names)),
        cast(Json, asdict(found)),
        messages=("the same model",) if found.is_none else (),
        ok=found.is_none or not exit_code,
    )


def _named(spec: str, variant: str | None, overrides: list[str] | None) -> str:
    return " ".join([spec, *([variant] if variant else []), *(overrides or [])])


def _sections(found: Difference, names: tuple[str, str]) -> Iterator[str]:
    for title, changes in (
        ("params", found.params), ("totals", found.totals), ("weights", found.weights),
    ):  # fmt: skip
        if changes:
            yield _changes(title, changes, names)
    for block in found.blocks:
        called = block.first if block.first == block.second else f"{block.first} / {block.second}"
        where = f" at {block.path}" if block.path else ""
        yield "\n".join([f"{called}{where}", *block.lines, ""])


def _changes(title: str, changes: Sequence[Change], names: tuple[str, str]) -> str:
    rows = [
        [f"{each.name} ({each.count})" if each.count > 1 else each.name, each.first, each.second]
        for each in changes
    ]
    return table((title, *names), rows)
