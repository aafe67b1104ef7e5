"""The patterns that attentions of the library serve: noncausal or causal, self or cross.

A causal self-attention sees no later token. In a causal cross-attention queries come one by one, so
none depends on another. What a block does not serve is refused, and the message says why.
"""

from __future__ import annotations

import re
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
INPUTS = {
    "x": "[b, 24, 8]", "z": "[b, 20, 6]", "extra": "[b, 5, 6]", "q": "[b, 2, 24, 4]",
    "sample": "[24, 3] int", "keep": "[b, 1, 24, 3] int", "segment": "[b, 24] int",
    "centre": "[b, 1, 24, 2]", "latents": "[b, 6, 2, 8]",
}  # fmt: skip
CALLS = {
    "agent_attention": "x, SOURCE, heads=2, agents=3",
    "aggregated_attention": "x, x, heads=2, grid=[4, 6], kernel=3",
    "bounded_memory_attention": "x, SOURCE, heads=2, slots=3",
    "channel_attention": "x, heads=2",
    "cosformer_attention": "x, SOURCE, heads=2",
    "cross_attention": "x, SOURCE, heads=2",
    "cross_shaped_attention": "x, heads=2, grid=[4, 6], stripe=2",
    "decoupled_attention": "x, SOURCE, extra, heads=2",
    "dilated_attention": "x, heads=2, grid=[4, 6], group=[2, 3], interval=[2, 2]",
    "duplex_attention": "x, SOURCE, heads=2",
    "interleaved_attention": (
        'rearrange(x, "b (t n) c -> b t n c", n=4), latents, heads=2, latent_heads=2'
    ),
    "kmeans_attention": "x, SOURCE",
    "lara_attention": "x, heads=2, landmarks=3",
    "latent_attention": "x, SOURCE, heads=2",
    "latent_read": "x, SOURCE, heads=2",
    "latent_write": "x, SOURCE, heads=2",
    "lightning_attention": "q, q, q",
    "linear_attention": "x, SOURCE, heads=2",
    "local_attention": "x, heads=2, window=3",
    "long_short_attention": "x, heads=2, window=4, landmarks=2",
    "long_short_causal_attention": "x, heads=2, window=5, chunk=3, rank=2, memory=3",
    "modality_mutual_attention": "x, segment, heads=2",
    "neighborhood_attention": "x, heads=2, grid=[4, 6], kernel=3",
    "nystrom_attention": "x, heads=2, landmarks=3",
    "overlapping_attention": "x, heads=2, grid=[4, 6], window=2, overlap=1",
    "probsparse_attention": "x, sample, heads=2",
    "prototype_attention": "x, SOURCE, heads=2",
    "random_feature_attention": "x, SOURCE, heads=2, features=5",
    "retention": "x, heads=2, width=4",
    "reversed_attention": "x, SOURCE, heads=2",
    "rotary_attention": "x, heads=2",
    "routed_attention": "x, heads=2, grid=[4, 6], regions=[2, 3], chosen=2",
    "s4d": "x, state=4",
    "sampled_attention": "x, SOURCE, centre, heads=2, grid=[4, 6], key_grid=GRID, radius=1",
    "self_attention": "x, heads=2",
    "shifted_window_attention": "x, heads=2, grid=[4, 6], window=[2, 3]",
    "sparse_attention": "x, keep, heads=2",
    "window_attention": "x, heads=2, grid=[4, 6], window=[2, 3]",
}
TWO_RESULTS = (
    "duplex_attention", "kmeans_attention", "interleaved_attention", "latent_attention",
)  # fmt: skip


def pattern_of(name: str) -> tree.Param | None:
    params = library.block(name).block.params
    return next((param for param in params if param.name == "pattern"), None)


def served(name: str) -> list[str]:
    param = pattern_of(name)
    return [] if param is None else [str(choice) for choice in param.choices]


def spec(name: str, pattern: str) -> str:
    source, grid = ("z", "[4, 5]") if "cross" in pattern else ("x", "[4, 6]")
    arguments = CALLS[name].replace("SOURCE", source).replace("GRID", grid)
    named = set(re.findall(r"\w+", arguments))
    inputs = [f"  input {key}: {shape}" for key, shape in INPUTS.items() if key in named]
    targets = "y, other" if name in TWO_RESULTS else "y"
    lines = [*inputs, f'  {targets} = {name}({arguments}, pattern="{pattern}") @f']
    lines += [f"  output {target} = {target}" for target in targets.split(", ")]
    return "\n".join(("model m {", *lines, "}"))


ATTENTIONS = [
    each
    for each in sorted(library.names())
    if each.endswith("attention") or each.startswith("latent") or pattern_of(each) is not None
]


def test_every_attention_is_here() -> None:
    assert sorted(CALLS) == ATTENTIONS


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
    tokens = found["y"] if isinstance(found, dict) else found
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
