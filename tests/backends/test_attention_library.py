"""The attention blocks of the standard library: compiled for the CPU, run, compared, trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import attnc

torch.set_num_threads(1)

HEADS = 2
Weights = Mapping[str, Tensor]
Meaning = Callable[[Weights, Tensor, Tensor], tuple[Tensor, ...]]


# The formulas, on the weights of a model that holds the block as `f` ------------------------


def dense(p: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, p[f"f.{name}.weight"], p.get(f"f.{name}.bias"))


def heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def tokens(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def scaled(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5


def projected(p: Weights, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return heads(dense(p, "q", x)), heads(dense(p, "k", z)), heads(dense(p, "v", z))


def duplex(p: Weights, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    q, k, v = projected(p, x, z)
    scores, u = scaled(q, k), heads(dense(p, "u", x))
    to_x = dense(p, "proj", tokens(scores.softmax(-1) @ v))
    return to_x, dense(p, "proj_back", tokens(scores.transpose(-2, -1).softmax(-1) @ u))


def reverse(p: Weights, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    q, k, v = projected(p, x, z)
    return (dense(p, "proj", tokens(scaled(q, k).softmax(-2) @ v)),)


def slots(p: Weights, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    q, k, v = projected(p, x, z)
    weights = scaled(q, k).softmax(-2)
    return (dense(p, "proj", tokens(weights / weights.sum(-1, keepdim=True) @ v)),)


def linear(p: Weights, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    q, k, v = projected(p, x, z)
    q, k = F.elu(q) + 1, F.elu(k) + 1
    sums = k.sum(-2, keepdim=True)
    out = q @ (k.transpose(-2, -1) @ v) / ((q * sums).sum(-1, keepdim=True) + 1e-6)
    return (dense(p, "proj", tokens(out)),)


def decayed(p: Weights, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    """As a recurrence: state = state * decay + k v."""
    q, k, v = projected(p, x, x)
    q, k, decay = F.elu(q) + 1, F.elu(k) + 1, torch.tensor(-0.1, dtype=x.dtype).exp()
    state, total, rows = 0 * k[:, :, 0, :, None] * v[:, :, 0, None], 0 * k[:, :, 0], []
    for t in range(x.shape[1]):
        state = state * decay + k[:, :, t, :, None] * v[:, :, t, None]
        total = total * decay + k[:, :, t]
        out = (q[:, :, t, None] @ state)[:, :, 0]
        rows.append(out / ((q[:, :, t] * total).sum(-1, keepdim=True) + 1e-6))
    return (dense(p, "proj", tokens(torch.stack(rows, 2))),)


def rotated(x: Tensor) -> Tensor:
    n, d = x.shape[-2:]
    angle = torch.arange(n)[:, None] * 10000.0 ** (-torch.arange(d // 2) * 2 / d).to(x)
    low, high = x.chunk(2, -1)
    return torch.cat((low * angle.cos() - high * angle.sin(),
                      high * angle.cos() + low * angle.sin()), -1)  # fmt: skip


def retain(p: Weights, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    """As a recurrence, head by head."""
    q, k, v = projected(p, x, x)
    q, k = rotated(q), rotated(k)
    decay = (1 - 2.0 ** (-5 - torch.arange(HEADS).to(x)))[:, None, None]
    state, rows = 0 * k[:, :, 0, :, None] * v[:, :, 0, None], []
    for t in range(x.shape[1]):
        state = state * decay + k[:, :, t, :, None] * v[:, :, t, None]
        rows.append((q[:, :, t, None] @ state)[:, :, 0] * q.shape[-1] ** -0.5)
    out = torch.stack(rows, 2)
    out = out / (out.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return (dense(p, "proj", F.silu(dense(p, "gate", x)) * tokens(out)),)


def channels(p: Weights, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    q, k, v = (heads(each) for each in dense(p, "qkv", x).chunk(3, -1))
    weights = (q.transpose(-2, -1) @ k * q.shape[-1] ** -0.5).softmax(-1)
    return (dense(p, "proj", tokens((weights @ v.transpose(-2, -1)).transpose(-2, -1))),)


def crossed(p: Weights, name: str, x: Tensor, z: Tensor) -> Tensor:
    inner = {key.replace(f"f.{name}.", "f."): value for key, value in p.items()}
    q, k, v = projected(inner, x, z)
    return dense(inner, "proj", tokens(scaled(q, k).softmax(-1) @ v))


def latent(p: Weights, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    z = z + crossed(p, "read", z, x)
    return x + crossed(p, "write", x, z), z


def kmeans(p: Weights, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    q, k, v = (dense(p, name, of) for name, of in zip("qkv", (x, z, z), strict=True))
    scores = q @ k.transpose(-2, -1)
    sums = torch.zeros_like(x)
    for b in range(scores.shape[0]):
        for j, best in enumerate(scores[b].argmax(0).tolist()):
            sums[b, best] = sums[b, best] + v[b, j]
    return dense(p, "proj", sums), scores


def prototype(p: Weights, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    q, k = F.normalize(dense(p, "q", x), dim=-1), F.normalize(dense(p, "k", z), dim=-1)
    best = (heads(q) @ heads(k).transpose(-2, -1)).argmax(-1, keepdim=True)
    keys = heads(k)
    found = tokens(keys.gather(2, best.expand(-1, -1, -1, keys.shape[-1])))
    met = F.normalize(dense(p, "mix", found * q), dim=1)
    return (dense(p, "proj", p["f.gain"] * met + found),)


def gated(p: Weights, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    return (dense(p, "down", F.silu(dense(p, "gate", x)) * dense(p, "up", x)),)


def decoupled(p: Weights, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    q, k, v = projected(p, x, z)
    k2, v2 = heads(dense(p, "k_extra", x)), heads(dense(p, "v_extra", x))
    out = scaled(q, k).softmax(-1) @ v + 0.5 * (scaled(q, k2).softmax(-1) @ v2)
    return (dense(p, "proj", tokens(out)),)


def agent(p: Weights, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    q, k, v = projected(p, x, z)
    runs = ((0, 2), (1, 4), (3, 5))  # three runs of five tokens, which may share a token
    a = torch.stack([q[:, :, start:stop].mean(2) for start, stop in runs], 2)
    gathered = scaled(a, k).softmax(-1) @ v
    return (dense(p, "proj", tokens(scaled(q, a).softmax(-1) @ gathered)),)


@dataclass(frozen=True)
class Example:
    """A call of a block, and what it must compute."""

    call: str
    meaning: Meaning
    results: int = 1
    unmoved: tuple[str, ...] = ()
    """Weights without a gradient."""


EXAMPLES = {
    "duplex_attention": Example("duplex_attention(x, z, heads=2)", duplex, 2),
    "reversed_attention": Example("reversed_attention(x, z, heads=2)", reverse),
    "slot attention": Example("reversed_attention(x, z, heads=2, mean=true)", slots),
    "linear_attention": Example("linear_attention(x, z, heads=2)", linear),
    "linear with decay": Example(
        "linear_attention(x, x, heads=2, domain=causal, score=qk * exp(-0.1 * (i - j)))", decayed
    ),
    "retention": Example("retention(x, heads=2, width=4)", retain),
    "channel_attention": Example("channel_attention(x, heads=2)", channels),
    "latent_attention": Example("latent_attention(x, z, heads=2)", latent, 2),
    "kmeans_attention": Example("kmeans_attention(x, z)", kmeans, 2),
    "prototype_attention": Example(
        "prototype_attention(x, z, heads=2)", prototype,
    ),
    "glu": Example("glu(x)", gated),
    "decoupled_attention": Example("decoupled_attention(x, z, x, heads=2, weight=0.5)", decoupled),
    "agent_attention": Example("agent_attention(x, z, heads=2, agents=3)", agent),
}  # fmt: skip


def spec(call: str, results: int = 1) -> str:
    inputs = "  input x: [b, n, 8]\n" + ("  input z: [b, m, 6]\n" if "z" in call else "")
    names = ", ".join(f"r{at}" for at in range(results))
    outputs = "\n".join(f"  output y{at} = r{at}" for at in range(results))
    return f"model m() {{\n{inputs}  {names} = {call} @f\n{outputs}\n}}"


def built(example: Example) -> tuple[nn.Module, list[Tensor]]:
    torch.manual_seed(5)
    model = attnc.compile(attnc.loads(spec(example.call, example.results))).double()
    inputs = [torch.randn(2, 5, 8, dtype=torch.float64), torch.randn(2, 7, 6, dtype=torch.float64)]
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.5)
    return model, inputs if "z" in example.call else inputs[:1]


def results(model: nn.Module, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    found = model(*inputs)
    return tuple(found.values()) if isinstance(found, dict) else (found,)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_block_computes_its_formula_and_trains(name: str) -> None:
    example = EXAMPLES[name]
    model, inputs = built(example)
    found = results(model, inputs)
    wanted = example.meaning(dict(model.named_parameters()), inputs[0], inputs[-1])
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    torch.stack([each.square().sum() for each in found]).sum().backward()
    for path, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all(), path
        assert weight.grad.any(), path


@pytest.mark.parametrize("call", [
    "reversed_attention(x, z, keep, heads=2)", "linear_attention(x, z, keep, heads=2)",
    "prototype_attention(x, z, keep, heads=2)", "kmeans_attention(x, z, keep)",
])  # fmt: skip
def test_dropped_keys_do_not_count(call: str) -> None:
    count = 2 if "kmeans" in call else 1
    masked = spec(call, count).replace("  r0", "  input keep: [b, m] bool\n  r0", 1)
    model, (x, z) = built(Example(call.replace(", keep", ""), reverse, count))
    kept = attnc.compile(attnc.loads(masked)).double()
    kept.load_state_dict(model.state_dict())
    keep = torch.arange(7).expand(2, 7) < 4
    wanted, found = results(model, [x, z[:, :4]])[0], results(kept, [x, z, keep])[0]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
