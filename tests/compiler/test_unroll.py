"""An unrolled spec computes just what the spec does that it came from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import attnc
from attnc.api import Compilation
from attnc.compiler.artefact import load_module
from attnc.compiler.example import random_inputs
from attnc.dsl.graph import Graph
from attnc.dsl.printer import to_text
from attnc.dsl.unroll import unrolled_spec

torch.set_num_threads(1)

SPECS = sorted((Path(__file__).parents[1] / "golden" / "emit").glob("*.attn"))
SIZES = {"h": 32, "w": 32}


def results(graph: Graph, state: dict[str, Tensor] | None) -> tuple[object, dict[str, Tensor]]:
    """What a model gives in evaluation and in training, and its state before."""
    artefact = Compilation(graph).artefact
    torch.manual_seed(0)
    model = getattr(load_module(artefact), artefact.model)()
    model.load_state_dict(state or model.state_dict())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    given = random_inputs(graph.inputs, SIZES)
    with torch.no_grad():
        evaluated = model.eval()(*given)
        torch.manual_seed(0)
        trained = model.train()(*given)
    return (evaluated, trained), before


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_results_are_equal(path: Path) -> None:
    graph = attnc.check(path)
    again = attnc.check(attnc.loads(to_text(unrolled_spec(graph)), "unrolled.attn"))
    expected, state = results(graph, None)
    found, _ = results(again, state)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
