"""The patterns that attentions of the library serve: noncausal or causal, self or cross.

A causal self-attention sees no later token. In a causal cross-attention queries come one by one, so
none depends on another. What a block does not serve is refused, and the message says why.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

import attnc
from attnc.dsl import library, tree
from attnc.dsl.diagnostics import SpecError
from attnc.dsl.render import render_text

torch.set_num_threads(1)

PATTERNS = ("noncausal self", "causal self", "noncausal cross", "causal cross")


def pattern_of(name: str) -> tree.Param | None:
    params = library.block(name).block.params
    return next((param for param in params if param.name == "pattern"), None)


def served(name: str) -> list[str]:
    param = pattern_of(name)
    return [] if param is None else [str(choice) for choice in param.choices]


def spec(name: str, pattern: str) -> str:
    """The example of a block in another pattern; in self-attention z is x, and so is its grid."""
    example = library.example(name)
    assert example is not None
    call = re.sub(r', pattern="[^"]*"', "", example.call)
    if "self" in pattern:
        call = re.sub(r"\bz\b", "x", call).replace("[4, 5]", "[4, 6]")
    inputs = {key: kind for key, kind in example.inputs.items() if re.search(rf"\b{key}\b", call)}
    return replace(example, call=f'{call[:-1]}, pattern="{pattern}")', inputs=inputs).text


ATTENTIONS = [
    each
    for each in sorted(library.names())
    if each.endswith("attention") or each.startswith("latent") or pattern_of(each) is not None
]


@pytest.mark.parametrize("name", ATTENTIONS)
def test_an_attention_says_what_it_serves_and_why_not_the_rest(name: str) -> None:
    param = pattern_of(name)
    assert param is not None
    assert param.choices
    assert set(param.choices) <= set(PATTERNS)
    assert len(param.choices) == len(PATTERNS) or param.doc
    text = library.text(name)
    assert text.startswith("# ")
    assert "# Source: " in text
    assert library.block(name).block.doc


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", ATTENTIONS)
def test_a_pattern_is_served_or_refused(name: str, pattern: str) -> None:
    source = attnc.loads(spec(name, pattern))
    if pattern in served(name):
        attnc.check(source)
        return
    with pytest.raises(SpecError) as caught:
        attnc.check(source)
    (diagnostic,) = caught.value.diagnostics
    param = pattern_of(name)
    assert diagnostic.code == "E207"
    assert param is not None
    assert param.doc is not None
    assert param.doc in render_text(caught.value.diagnostics)


def test_one_stream_is_as_long_as_itself() -> None:
    for name in ("cross_attention", "linear_attention", "bounded_memory_attention"):
        text = spec(name, "noncausal cross").replace("noncausal cross", "causal self")
        with pytest.raises(SpecError) as caught:
            attnc.check(attnc.loads(text))
        assert caught.value.diagnostics[0].code == "E203"


# What leaks -------------------------------------------------------------------------------


@cache
def model(name: str, pattern: str) -> nn.Module:
    torch.manual_seed(3)
    made = attnc.compile(attnc.loads(spec(name, pattern))).double()
    for weight in made.state_dict().values():
        nn.init.normal_(weight, std=0.5)
    return made.eval()


def run(name: str, pattern: str, change: float) -> Tensor:
    """Run on inputs of which all from token 13 on move by `change`; later streams stay."""
    torch.manual_seed(4)
    graph = attnc.check(attnc.loads(spec(name, pattern)))
    inputs = []
    for key, kind in graph.inputs.items():
        shape = [2 if not isinstance(size, int) else size for size in kind.shape]
        if kind.dtype == "int":
            inputs.append(torch.randint(0, 20, shape))
            continue
        tensor = torch.randn(shape, dtype=torch.float64)
        if key in ("x", "q"):
            tensor[..., 13:, :] += change
        inputs.append(tensor)
    with torch.no_grad():
        found = model(name, pattern)(*inputs)
    tokens = found["out1"] if isinstance(found, dict) else found
    return tokens.reshape(2, -1, 24, tokens.shape[-1])


CAUSAL = [
    (name, pattern)
    for name in ATTENTIONS
    for pattern in served(name)
    if pattern.startswith("causal")
]


@pytest.mark.parametrize(("name", "pattern"), CAUSAL)
def test_no_later_token_is_seen(name: str, pattern: str) -> None:
    before, after = run(name, pattern, 0.0), run(name, pattern, 1.0)
    torch.testing.assert_close(before[..., :13, :], after[..., :13, :], rtol=0, atol=1e-12)
    assert not torch.allclose(before[..., 13:, :], after[..., 13:, :])


LEAKING = [
    "agent_attention", "channel_attention", "kmeans_attention", "lara_attention",
    "latent_attention", "long_short_attention", "nystrom_attention", "prototype_attention",
    "random_feature_attention", "reversed_attention",
]  # fmt: skip


@pytest.mark.parametrize("name", LEAKING)
def test_what_is_refused_would_leak(name: str) -> None:
    before, after = run(name, "noncausal self", 0.0), run(name, "noncausal self", 1.0)
    assert not torch.allclose(before[..., :13, :], after[..., :13, :], rtol=0, atol=1e-6)
