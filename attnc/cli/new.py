"""`attnc new`: a spec to start from."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from attnc.cli.files import create
from attnc.cli.notation import notation_for, printed
from attnc.cli.options import ForceOption, complete_spec
from attnc.cli.outcome import Outcome

PathArgument = Annotated[str, typer.Argument(metavar="FILE", help="mynet.yaml or mynet.attn")]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="SPEC",
        help="Start from this one: zoo:NAME or a file.",
        autocompletion=complete_spec,
    ),
]

STARTER = """\
attnc 1
model starter(dim = 256, depth = 4, heads = 4, classes = 10) {
  input tokens: [b, n, dim]
  x = tokens
  repeat depth as i {
    x += self_attention(layer_norm(x) @norm1, heads = heads) @attn
    x += mlp(layer_norm(x) @norm2) @mlp
  }
  output logits = linear(mean(layer_norm(x) @norm, axis = 1), classes) @head
}
"""
"""The smallest spec that shows inputs, params, a repeated block with residuals, and an output."""


def new(
    path: PathArgument, origin: FromOption = None, force: ForceOption = False
) -> Outcome:  # fmt: skip
    """Write a spec to start from: a small transformer, or a copy of another spec."""
    from attnc import api

    spec = replace(
        api.load(origin) if origin else api.loads(STARTER), model=_identifier(Path(path).stem)
    )
    create(path, printed(spec, notation_for(path)), force)
    return Outcome(result=path, messages=(f"wrote {path}; next: attnc check {path}",))


def _identifier(stem: str) -> str:
    name = re.sub(r"\W", "_", stem)
    return name if name.isidentifier() else f"model_{name}"
