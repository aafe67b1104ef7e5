"""Attentions of the library that cost less than all pairs, as slow, plain formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

HEADS, N, M, D = 2, 7, 5, 8
E = D // HEADS
Weights = Mapping[str, Tensor]
Meaning = Callable[[Weights, Mapping[str, Tensor]], Tensor]
KEEP = torch.tensor([[True] * 7, [True] * 5 + [False] * 2])


def dense(p: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, p[f"{name}.weight"], p.get(f"{name}.bias"))


def heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def tokens(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def projected(p: Weights, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return heads(dense(p, "q", x)), heads(dense(p, "k", z)), heads(dense(p, "v", z))


def softmax(scores: Tensor, allowed: Tensor | None = None) -> Tensor:
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    return scores.softmax(-1)


def kept(given: Mapping[str, Tensor]) -> Tensor:
    """Which keys count: [b, 1, 1, n]."""
    keep = given.get("keep")
    return torch.ones(2, 1, 1, 1, dtype=torch.bool) if keep is None else keep[:, None, None]


# Local, bounded memory --------------------------------------------------------------------


def local(left: int, right: int) -> Meaning:
    def meaning(p: Weights, given: Mapping[str, Tensor]) -> Tensor:
        q, k, v = projected(p, given["x"], given["x"])
        offset = torch.arange(N)[None] - torch.arange(N)[:, None]
        near = (offset >= -left) & (offset <= right)
        weights = softmax(q @ k.mT * E**-0.5, near & kept(given))
        return dense(p, "proj", tokens(weights @ v))

    return meaning


def memory(p: Weights, given: Mapping[str, Tensor]) -> Tensor:
    q, k, v = projected(p, given["x"], given.get("z", given["x"]))
    slots = [softmax((t @ p[name]).mT, kept(given)) @ t
             for t, name in ((k, "compress_k"), (v, "compress_v"))]  # fmt: skip
    return dense(p, "proj", tokens(softmax(q @ slots[0].mT * E**-0.5) @ slots[1]))


def running_memory(accumulate: bool) -> Meaning:
    """As the paper's recurrence over tokens."""

    def meaning(p: Weights, given: Mapping[str, Tensor]) -> Tensor:
        q, k, v = projected(p, given["x"], given["x"])
        rows = []
        states = {name: torch.zeros(2, HEADS, 3, E).double() for name in ("k", "v")}
        totals = {name: torch.zeros(2, HEADS, 3).double() for name in ("k", "v")}
        seen = kept(given).expand(2, 1, 1, N)
        for t in range(N):
            for name, of in (("k", k), ("v", v)):
                mass = (of[:, :, t] @ p[f"compress_{name}"]).exp() * seen[..., t]
                totals[name] = totals[name] + mass
                w = (mass / totals[name])[..., None]
                before = (1 - w) * states[name] if accumulate else 0
                states[name] = before + w * of[:, :, t, None]
            weights = softmax(q[:, :, t, None] @ states["k"].mT * E**-0.5)
            rows.append((weights @ states["v"])[:, :, 0])
        return dense(p, "proj", tokens(torch.stack(rows, 2)))

    return meaning


# Landmarks --------------------------------------------------------------------------------


def landmarks(x: Tensor, count: int) -> Tensor:
    """Means over runs, the longer ones last."""
    length, longer = divmod(x.shape[2], count)
    sizes = [length] * (count - longer) + [length + 1] * longer
    return torch.stack([run.mean(2) for run in x.split(sizes, 2)], 2)


def nystrom(count: int, conv: int = 0) -> Meaning:
    def meaning(p: Weights, given: Mapping[str, Tensor]) -> Tensor:
        q, k, v = projected(p, given["x"], given["x"])
        k, v = k * kept(given).mT, v * kept(given).mT
        few_q, few_k = landmarks(q, count), landmarks(k, count)
        rows, between = softmax(q @ few_k.mT * E**-0.5), softmax(few_q @ few_k.mT * E**-0.5)
        read = softmax(few_q @ k.mT * E**-0.5, kept(given)) @ v
        out = rows @ torch.linalg.pinv(between) @ read
        if conv:
            padded = F.pad(v, (0, 0, conv // 2, conv // 2))
            taps = p["conv.weight"][:, 0, :, 0]
            out = out + torch.stack(
                [torch.stack([taps[:, t, None] * padded[:, :, i + t] for t in range(conv)]).sum(0)
                 for i in range(N)], 2)  # fmt: skip
        return dense(p, "proj", tokens(out))

    return meaning


def exact(p: Weights, given: Mapping[str, Tensor]) -> Tensor:
    q, k, v = projected(p, given["x"], given["x"])
    k, v = k * kept(given).mT, v * kept(given).mT
    return dense(p, "proj", tokens(softmax(q @ k.mT * E**-0.5, kept(given)) @ v))


def lara(weigh_dropped: bool = False) -> Meaning:
    """As the self-normalised estimate over landmarks, landmark by landmark."""

    def meaning(p: Weights, given: Mapping[str, Tensor]) -> Tensor:
        q, k, v = (t * E**-0.25 for t in projected(p, given["x"], given["x"]))
        v = v * E**0.25
        c = landmarks(q, 3) + landmarks(k, 3)

        def feature(w: Tensor, t: Tensor) -> Tensor:
            return (w * t).sum(-1) - t.square().sum(-1) / 2

        reads, logits = [], []
        for at in range(3):
            w = c[:, :, at, None]
            of_k = feature(w, k)
            allowed = kept(given)[:, :, 0].expand_as(of_k)
            reads.append(softmax(of_k, allowed)[..., None, :] @ v)
            masked = of_k if weigh_dropped else of_k.masked_fill(~allowed, -torch.inf)
            mass = masked.exp().sum(-1, keepdim=True).log()
            logits.append((w * q).sum(-1) + feature(w, q) + mass - feature(w, w))
        weights = torch.stack(logits, -1).softmax(-1)
        return dense(p, "proj", tokens(weights @ torch.cat(reads, 2)))

    return meaning


# Linear -----------------------------------------------------------------------------------


def random_features(p: Weights, given: Mapping[str, Tensor]) -> Tensor:
    q, k, v = projected(p, given["x"], given.get("z", given["x"]))
    w = p["projection"]

    def exponent(t: Tensor) -> Tensor:
        return torch.einsum("hfe,bhne->bhnf", w, t * E**-0.25)

    def phi(t: Tensor, largest: Tensor) -> Tensor:
        norm = t.square().sum(-1, keepdim=True) / (2 * math.sqrt(E))
        return ((exponent(t) - norm - largest).exp() + 1e-4) / math.sqrt(w.shape[1])

    of_q = phi(q, exponent(q).amax(-1, keepdim=True))
    of_k = phi(k, exponent(k).amax((-2, -1), keepdim=True)) * kept(given).mT
    weights = of_q @ of_k.mT
    return dense(p, "proj", tokens(weights @ v / weights.sum(-1, keepdim=True).clamp(min=1e-6)))


def cosformer(p: Weights, given: Mapping[str, Tensor]) -> Tensor:
    """By the cosine of the distance, without features."""
    q, k, v = projected(p, given["x"], given.get("z", given["x"]))
    n, m = q.shape[2], k.shape[2]
    distance = torch.arange(n)[:, None] - torch.arange(m)[None]
    fade = torch.cos(math.pi / 2 * distance.double() / max(n, m))
    weights = q.relu() @ k.relu().mT * fade * kept(given)
    return dense(p, "proj", tokens(weights @ v / weights.sum(-1, keepdim=True).clamp(min=1e-6)))


# Chosen queries ---------------------------------------------------------------------------


def probsparse(p: Weights, given: Mapping[str, Tensor]) -> Tensor:
    q, k, v = projected(p, given["x"], given["x"])
    out = v.mean(2, keepdim=True).expand(-1, -1, N, -1).clone()
    for b in range(2):
        for h in range(HEADS):
            products = torch.stack([k[b, h, given["sample"][i]] @ q[b, h, i] for i in range(N)])
            spread = products.amax(1) - products.sum(1) / N
            for i in spread.argsort(descending=True, stable=True)[:3]:
                out[b, h, i] = softmax(k[b, h] @ q[b, h, i] * E**-0.5) @ v[b, h]
    return dense(p, "proj", tokens(out))


# Long and short ---------------------------------------------------------------------------


def normed(p: Weights, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, (D,), p[f"{name}.weight"], p[f"{name}.bias"])


def long_short(p: Weights, given: Mapping[str, Tensor]) -> Tensor:
    x = given["x"]
    q = heads(dense(p, "q", x)) * E**-0.5
    k, v = (heads(normed(p, "norm", dense(p, name, x))) for name in "kv")
    weights = softmax(dense(p, "weigh", x).unflatten(-1, (HEADS, 3)).permute(0, 2, 3, 1),
                      kept(given))  # fmt: skip
    k_sums, v_sums = (heads(normed(p, "norm_sums", tokens(weights @ t))) for t in (k, v))
    i, j = torch.arange(N)[:, None], torch.arange(N)[None]
    near = (j >= i // 3 * 3 - 1) & (j < i // 3 * 3 + 3 + 1)
    scores = torch.cat((q @ k_sums.mT, (q @ k.mT).masked_fill(~(near & kept(given)), -torch.inf)),
                       -1)  # fmt: skip
    out = softmax(scores) @ torch.cat((v_sums, v), 2)
    return dense(p, "proj", tokens(out * kept(given).mT))


def places(count: int) -> Tensor:
    angle = torch.arange(count).double()[:, None] * 1e4 ** (-torch.arange(0, D, 2).double() / D)
    return torch.cat((angle.sin(), angle.cos()), -1)


def long_short_causal(p: Weights, given: Mapping[str, Tensor]) -> Tensor:
    """Token by token, with a window of 3, chunks of 2, 2 sums of each, a memory of 4."""
    x = F.pad(given["x"], (0, 0, 4, 0))
    q = heads(dense(p, "q", given["x"])) * E**-0.5
    key, value = dense(p, "k", x), dense(p, "v", x)
    k, v = (heads(normed(p, "norm", t)) for t in (key, value))
    weigh = dense(p, "weigh", x).unflatten(-1, (HEADS, 2))
    sums: dict[str, list[Tensor]] = {"k": [], "v": []}
    for start in range(0, 10, 2):
        weights = weigh[:, start : start + 2].softmax(1)
        for name, stream in (("k", key), ("v", value)):
            parts = stream[:, start : start + 2].unflatten(-1, (HEADS, E))
            for r in range(2):
                row = (weights[..., r, None] * parts).sum(1).flatten(1)
                sums[name].append(normed(p, "norm_sums", row).unflatten(-1, (HEADS, E)))
    near = dense(p, "place", places(3)).unflatten(-1, (HEADS, E))
    far = dense(p, "place_sums", places(10)).unflatten(-1, (HEADS, E))
    rows = []
    for t in range(N):
        scores, values = [], []
        for back in range(3):
            content = q[:, :, t] + p["content"][0, :, 0]
            position = q[:, :, t] + p["position"][0, :, 0]
            seen = t + 4 - back  # the newest first
            scores.append((content * k[:, :, seen]).sum(-1) + (position * near[back]).sum(-1))
            values.append(v[:, :, seen])
        visible = (2 + t // 2) * 2
        for s in range(visible):
            together = sums["k"][s] + far[visible - 1 - s]
            scores.append((q[:, :, t] * together).sum(-1))
            values.append(sums["v"][s])
        weights = torch.stack(scores, -1).softmax(-1)
        rows.append((weights[..., None] * torch.stack(values, 2)).sum(2))
    return dense(p, "proj", tokens(torch.stack(rows, 2)))


# State spaces -----------------------------------------------------------------------------


def response(p: Weights, kernel: int, x: Tensor, offset: int) -> Tensor:
    """Run the state space as a recurrence: what it gives `offset` tokens later."""
    w = torch.complex(-p["kernel.log_w_real"].exp(), p["kernel.w_imag"])[0]
    step = p["kernel.log_dt"].exp()[:, None] * w
    c = torch.view_as_complex(p["kernel.c"].contiguous())[kernel]
    state, rows = torch.zeros(2, D, 2, dtype=torch.complex128), []
    for t in range(N):
        state = step.exp() * state + (step.exp() - 1) / w * x[:, t, :, None]
        rows.append(2 * (c * state).sum(-1).real)
    out = torch.stack(rows, 1)
    return F.pad(out, (0, 0, offset, 0))[:, :N]


def s4d(p: Weights, given: Mapping[str, Tensor]) -> Tensor:
    x = given["x"]
    both = [response(p, c, x, 0) + x * p["skip"][c] for c in range(2)]
    return dense(p, "proj", F.gelu(torch.cat(both, -1)))


def s4d_both_ways(p: Weights, given: Mapping[str, Tensor]) -> Tensor:
    x = given["x"]
    later = response(p, 1, x.flip(1), 1).flip(1)
    return dense(p, "proj", F.gelu(response(p, 0, x, 0) + later + x * p["skip"][0]))


# Latents, modalities, samples -------------------------------------------------------------


def crossed(p: Weights, name: str, x: Tensor, z: Tensor) -> Tensor:
    inner = {key.removeprefix(f"{name}."): value for key, value in p.items()}
    q, k, v = projected(inner, x, z)
    return dense(inner, "proj", tokens(softmax(q @ k.mT * q.shape[-1] ** -0.5) @ v))


def read(p: Weights, given: Mapping[str, Tensor]) -> Tensor:
    return given["x"] + crossed(p, "attention", given["x"], given["z"])


def mutual(p: Weights, given: Mapping[str, Tensor]) -> Tensor:
    q, k, v = (heads(t) for t in dense(p, "qkv", given["x"]).chunk(3, -1))
    kind = given["segment"]
    ahead = (kind == 1)[:, :, None] & (kind == 2)[:, None]
    seen = torch.ones(N, N, dtype=torch.bool).tril() | ahead
    return dense(p, "proj", tokens(softmax(q @ k.mT * E**-0.5, seen[:, None] & kept(given)) @ v))


def sampled(p: Weights, given: Mapping[str, Tensor]) -> Tensor:
    """Box by box on a map of 4 rows and 5 columns."""
    q, k, v = projected(p, given["x"], given["map"])
    out = torch.zeros_like(q)
    rows, columns = given["centre"].unbind(-1)
    rows, columns = rows.clamp(1, 4 - 2 - 1e-3), columns.clamp(1, 5 - 2 - 1e-3)
    for b in range(2):
        for h in range(HEADS):
            for i in range(N):
                y, x = rows[b, 0, i], columns[b, 0, i]
                top, left = int(y), int(x)
                parts = (1 - (y - top), y - top), (1 - (x - left), x - left)
                for dy in range(2):
                    for dx in range(2):
                        box = [(top - 1 + dy + r) * 5 + left - 1 + dx + c
                               for r in range(3) for c in range(3)]  # fmt: skip
                        scores = -(q[b, h, i] - k[b, h, box]).abs().sum(-1) * E**-0.5
                        mixed = softmax(scores) @ v[b, h, box]
                        out[b, h, i] = out[b, h, i] + parts[0][dy] * parts[1][dx] * mixed
    return dense(p, "proj", tokens(out))
