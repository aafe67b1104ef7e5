"""`attnc plan`: which backend computes each attention, and why."""

from __future__ import annotations

from typing import cast

from attnc.cli.options import ResourcesOption, SetOption, SpecArgument, TargetOption, VariantOption
from attnc.cli.outcome import Outcome
from attnc.cli.sizes import SizeOption, parse_sizes
from attnc.dsl.render import Json


def plan(
    spec: SpecArgument,
    target: TargetOption = "cpu",
    variant: VariantOption = None,
    overrides: SetOption = None,
    size: SizeOption = None,
    resources: ResourcesOption = False,
) -> Outcome:
    """Say for each attention which backend computes it, why the others do not, and the cost."""
    from attnc import api

    made = api.plan(
        spec, variant, overrides or (), target=target, sizes=parse_sizes(size or []),
        resources=resources,
    )  # fmt: skip
    return Outcome(made.text(), cast(Json, made.to_json()))
