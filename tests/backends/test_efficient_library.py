"""Attentions of the library that cost less than all pairs: compared with slow, plain formulas."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import attnc
from attnc.compiler.constants import defaults
from tests.backends.efficient_formulas import (
    KEEP,
    D,
    M,
    Meaning,
    N,
    cosformer,
    exact,
    landmarks,
    lara,
    local,
    long_short,
    long_short_causal,
    memory,
    mutual,
    nystrom,
    probsparse,
    random_features,
    read,
    running_memory,
    s4d,
    s4d_both_ways,
    sampled,
)

torch.set_num_threads(1)


@dataclass(frozen=True)
class Example:
    """A call of a block, and what it must compute."""

    call: str
    meaning: Meaning
    tolerance: float = 1e-12


EXAMPLES = {
    "local": Example("local_attention(x, heads=2, window=2)", local(2, 2)),
    "local, masked": Example("local_attention(x, keep, heads=2, window=2)", local(2, 2)),
    "local, causal": Example(
        'local_attention(x, heads=2, window=3, pattern="causal self")', local(2, 0)
    ),
    "memory": Example("bounded_memory_attention(x, x, keep, heads=2, slots=3)", memory),
    "memory, cross": Example(
        'bounded_memory_attention(x, z, heads=2, slots=3, pattern="causal cross")', memory
    ),
    "memory, causal": Example(
        'bounded_memory_attention(x, x, heads=2, slots=3, pattern="causal self")',
        running_memory(accumulate=True),
    ),
    "memory, causal, masked": Example(
        'bounded_memory_attention(x, x, keep, heads=2, slots=3, pattern="causal self")',
        running_memory(accumulate=True),
    ),
    "memory, newest": Example(
        'bounded_memory_attention(x, x, keep, heads=2, slots=3, pattern="causal self",'
        " accumulate=false)",
        running_memory(accumulate=False),
    ),
    "nystrom": Example("nystrom_attention(x, heads=2, landmarks=3, iterations=30)", nystrom(3),
                       tolerance=1e-9),
    "nystrom, masked, with convolution": Example(
        "nystrom_attention(x, keep, heads=2, landmarks=3, iterations=30, conv=3)", nystrom(3, 3),
        tolerance=1e-9,
    ),
    "nystrom, exact": Example(
        "nystrom_attention(x, keep, heads=2, landmarks=9, exact=true)", exact
    ),
    "lara": Example("lara_attention(x, heads=2, landmarks=3)", lara()),
    "lara, masked": Example("lara_attention(x, keep, heads=2, landmarks=3)", lara()),
    "lara, dropped keys weigh": Example(
        "lara_attention(x, keep, heads=2, landmarks=3, weigh_dropped=true)", lara(True)
    ),
    "random features": Example(
        "random_feature_attention(x, x, keep, heads=2, features=5)", random_features
    ),
    "random features, cross": Example(
        "random_feature_attention(x, z, heads=2, features=5)", random_features
    ),
    "cosformer": Example("cosformer_attention(x, x, keep, heads=2)", cosformer),
    "cosformer, cross": Example(
        'cosformer_attention(x, z, heads=2, pattern="noncausal cross")', cosformer
    ),
    "probsparse": Example("probsparse_attention(x, sample, heads=2)", probsparse),
    "long and short": Example(
        "long_short_attention(x, heads=2, window=3, landmarks=3)", long_short
    ),
    "long and short, masked": Example(
        "long_short_attention(x, keep, heads=2, window=3, landmarks=3)", long_short
    ),
    "long and short, causal": Example(
        "long_short_causal_attention(x, heads=2, window=3, chunk=2, rank=2, memory=4)",
        long_short_causal,
    ),
    "s4d": Example("s4d(x, state=4, channels=2)", s4d),
    "s4d, both ways": Example('s4d(x, state=4, pattern="noncausal self")', s4d_both_ways),
    "latents read": Example("latent_read(x, z, heads=2)", read),
    "latents write": Example("latent_write(x, z, heads=2)", read),
    "modalities": Example("modality_mutual_attention(x, segment, keep, heads=2)", mutual),
    "sampled": Example(
        "sampled_attention(x, map, centre, heads=2, grid=[1, 7], key_grid=[4, 5], radius=1)",
        sampled,
    ),
}  # fmt: skip
SHAPES = {
    "x": "[b, n, 8]", "z": "[b, m, 6]", "map": "[b, 20, 6]", "keep": "[b, n] bool",
    "sample": "[n, 3] int", "segment": "[b, n] int", "centre": "[b, 1, n, 2]",
}  # fmt: skip


def inputs(call: str) -> dict[str, Tensor]:
    torch.manual_seed(6)
    made = {
        "x": torch.randn(2, N, D).double(),
        "z": torch.randn(2, M, 6).double(),
        "map": torch.randn(2, 20, 6).double(),
        "keep": KEEP,
        "sample": torch.randint(0, N, (N, 3)),
        "segment": torch.tensor([[0, 1, 1, 2, 2, 0, 0], [1, 1, 2, 2, 0, 0, 0]]),
        "centre": torch.rand(2, 1, N, 2).double() * 5,
    }
    words = {word.strip(" ,()") for word in call.replace("(", " ").split()}
    return {name: tensor for name, tensor in made.items() if name in words}


def built(call: str) -> tuple[nn.Module, dict[str, Tensor]]:
    given = inputs(call)
    call = call.replace("[1, 7]", "[1, n]")
    lines = [f"  input {name}: {SHAPES[name]}" for name in given]
    text = "\n".join(("model m {", *lines, f"  y = {call} @f", "  output y = y", "}"))
    with defaults("cpu", torch.float64):
        model = attnc.compile(attnc.loads(text)).double()
    torch.manual_seed(7)
    for weight in model.state_dict().values():
        nn.init.normal_(weight, std=0.5)
    return model, given


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_block_computes_its_formula_and_trains(name: str) -> None:
    example = EXAMPLES[name]
    model, given = built(example.call)
    weights = {key.removeprefix("f."): each for key, each in model.state_dict().items()}
    wanted, found = example.meaning(weights, given), model(*given.values())
    torch.testing.assert_close(found, wanted, rtol=0, atol=example.tolerance)
    found.square().sum().backward()
    for path, weight in model.named_parameters():
        assert weight.grad is not None, path
        assert weight.grad.isfinite().all(), path


def test_as_many_landmarks_as_tokens_give_softmax_attention() -> None:
    """Then all three matrices are the same one, and a pinv(a) a is a."""
    model, given = built(f"nystrom_attention(x, heads=2, landmarks={N}, iterations=60)")
    plain, _ = built("nystrom_attention(x, heads=2, landmarks=7, exact=true)")
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(*given.values()), plain(*given.values()), rtol=0, atol=1e-6)


def test_samples_depend_on_each_other_only_by_the_bound_of_all() -> None:
    for bound, apart in (("false", True), ("true", False)):
        model, given = built(f"nystrom_attention(x, heads=2, landmarks=3, batch_bound={bound})")
        other = {"x": given["x"] * torch.tensor([1.0, 5.0])[:, None, None]}
        same = torch.equal(model(*given.values())[0], model(*other.values())[0])
        assert same == apart


def test_heads_may_get_the_masks_of_other_samples() -> None:
    text = (
        "model m {\n input keep: [b, n] bool\n"
        " output y = mask_by_head(keep, heads=3, head_major=true)\n}"
    )
    found = attnc.compile(attnc.loads(text))(KEEP)
    for row in range(6):
        assert torch.equal(found.flatten(0, 1)[row], KEEP[row % 2])


@pytest.mark.parametrize(("n", "count"), [(7, 3), (8, 4), (5, 5), (9, 2), (11, 8)])
def test_runs_are_of_nearly_equal_length(n: int, count: int) -> None:
    text = f"model m {{\n input x: [b, h, n, 4]\n output y = segment_mean(x, count={count})\n}}"
    x = torch.randn(2, 2, n, 4).double()
    torch.testing.assert_close(attnc.compile(attnc.loads(text)).double()(x), landmarks(x, count))


def test_an_inverse_is_found() -> None:
    text = "model m {\n input a: [b, h, n, n]\n output y = pseudo_inverse(a, iterations=40)\n}"
    a = torch.randn(2, 2, 5, 5).double().softmax(-1)
    found = attnc.compile(attnc.loads(text)).double()(a)
    torch.testing.assert_close(found, torch.linalg.pinv(a), rtol=0, atol=1e-8)
