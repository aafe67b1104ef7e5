"""The attentions of vision systems at 224 pixels, batch 8: emitted, and as usually written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import attnc

Usual = Callable[..., Tensor]


@dataclass(frozen=True)
class Stage:
    """One attention.

    Attributes:
        spec: a model of it, as text.
        usual: the same in plain PyTorch.
        inputs: shapes of float inputs, or (shape, n) for ints below n.
    """

    spec: str
    usual: Usual
    inputs: tuple[tuple[int, ...] | tuple[tuple[int, ...], int], ...]

    def model(self) -> nn.Module:
        """Return the emitted module, each attention by the backend that is preferred."""
        return attnc.compile(attnc.loads(self.spec, "stage.attn"), target="cpu").eval()

    def draw(self) -> tuple[Tensor, ...]:
        """Return random inputs."""
        return tuple(map(_random, self.inputs))


def _random(what: tuple[int, ...] | tuple[tuple[int, ...], int]) -> Tensor:
    if isinstance(what[0], tuple):
        shape, below = what
        assert isinstance(below, int)
        *outer, count = shape
        return torch.rand(*outer, below).topk(count, dim=-1).indices
    return torch.randn(what)


BATCH = 8
SPLIT = "b n (p h e) -> p b h n e"
HEADS = ((56, 3), (28, 6), (14, 12), (7, 24))
"""Sides of the map and heads of 32, by stage."""


def _model(inputs: dict[str, str], body: str) -> str:
    declared = "".join(f"  input {name}: {shape}\n" for name, shape in inputs.items())
    return f"model stage {{\n{declared}{body}\n}}"


def _packed(side: int, heads: int, width: int, attend: str) -> str:
    shape = f"[{BATCH}, {side * side}, {3 * heads * width}]"
    body = f"""  q, k, v = unbind(rearrange(qkv, "{SPLIT}", p=3, h={heads}), axis=0)
  o = attend(q, k, v, {attend})
  output out = rearrange(o, "b h n e -> b n (h e)")"""
    return _model({"qkv": shape}, body)


# Windows ----------------------------------------------------------------------------------


def _partition(x: Tensor, side: int, rows: int, columns: int) -> Tensor:
    """Return windows [b * windows, tokens, c] of a map [b, n, c], copied."""
    b, _, c = x.shape
    x = x.view(b, side // rows, rows, side // columns, columns, c)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, rows * columns, c)


def _reverse(x: Tensor, side: int, rows: int, columns: int) -> Tensor:
    c = x.shape[-1]
    x = x.view(-1, side // rows, side // columns, rows, columns, c)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, side * side, c)


def _attention(qkv: Tensor, heads: int) -> Tensor:
    """Return softmax(q k^T / sqrt(d)) v of packed tokens [b, n, 3 c], step by step."""
    b, n, c = qkv.shape
    q, k, v = qkv.reshape(b, n, 3, heads, c // 3 // heads).permute(2, 0, 3, 1, 4).unbind(0)
    weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(dim=-1)
    out: Tensor = (weights @ v).transpose(1, 2).reshape(b, n, c // 3)
    return out


def windows(qkv: Tensor, side: int, heads: int, rows: int, columns: int) -> Tensor:
    """DaViT, Swin: partition, attention, reverse."""
    return _reverse(
        _attention(_partition(qkv, side, rows, columns), heads), side, rows, columns
    )  # fmt: skip


def cross(qkv: Tensor, side: int, heads: int, width: int) -> Tensor:
    """CSWin: half of the heads in vertical stripes, half in horizontal ones."""
    b, n, c = qkv.shape
    halves = qkv.view(b, n, 3, 2, c // 6).permute(3, 0, 1, 2, 4).reshape(2, b, n, c // 2)
    down = windows(halves[0], side, heads // 2, side, width)
    across = windows(halves[1], side, heads // 2, width, side)
    return torch.cat((down, across), dim=-1)


def channels(qkv: Tensor, heads: int) -> Tensor:
    """DaViT: the channels of a head attend to each other."""
    b, n, c = qkv.shape
    q, k, v = qkv.reshape(b, n, 3, heads, c // 3 // heads).permute(2, 0, 3, 1, 4).unbind(0)
    weights = ((k * k.shape[-1] ** -0.5).transpose(-2, -1) @ v).softmax(dim=-1)
    out: Tensor = (weights @ q.transpose(-2, -1)).permute(0, 3, 1, 2).reshape(b, n, -1)
    return out


def routed(qkv: Tensor, route: Tensor, side: int, heads: int) -> Tensor:
    """BiFormer: keys and values of the chosen regions are gathered."""
    region = side // 7
    b, chosen = qkv.shape[0], route.shape[-1]
    parts = _partition(qkv, side, region, region).view(b, 49, region * region, -1)
    q, kv = torch.tensor_split(parts, (parts.shape[-1] // 3,), dim=-1)
    index = route.view(b, 49, chosen, 1, 1).expand(-1, -1, -1, *kv.shape[2:])
    chosen_kv = kv.unsqueeze(1).expand(-1, 49, -1, -1, -1).gather(2, index)
    tokens = chosen * region * region
    k, v = chosen_kv.view(b, 49, tokens, 2, heads, -1).permute(3, 0, 1, 4, 2, 5).unbind(0)
    q = q.reshape(b, 49, region * region, heads, -1).transpose(2, 3)
    weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(dim=-1)
    out = (weights @ v).transpose(2, 3).reshape(b * 49, region * region, -1)
    return _reverse(out, side, region, region)


def two_ways(qz: Tensor, kx: Tensor, vx: Tensor, vz: Tensor) -> Tensor:
    """LookupViT: latents read tokens and tokens read latents, a score product for each."""
    scale = qz.shape[-1] ** -0.5
    read = (qz * scale @ kx.transpose(-2, -1)).softmax(dim=-1) @ vx
    write = (kx * scale @ qz.transpose(-2, -1)).softmax(dim=-1) @ vz
    return torch.cat((read, write), dim=2)


def near_and_pooled(
    qkv: Tensor, kp: Tensor, vp: Tensor, local: Tensor, bias: Tensor, side: int, heads: int
) -> Tensor:
    """TransNeXt: keys around each query, unfolded, and pooled keys under one softmax."""
    b, n, c = qkv.shape
    width = c // 3 // heads
    q, k, v = qkv.reshape(b, n, 3, heads, width).permute(2, 0, 3, 1, 4).unbind(0)
    q = q * width**-0.5
    maps = torch.cat((k, v), dim=-1).permute(0, 1, 3, 2).reshape(b, -1, side, side)
    unfolded = F.unfold(maps, 3, padding=1).view(b, heads, 2 * width, 9, n).permute(0, 1, 4, 2, 3)
    near_k, near_v = torch.split(unfolded, width, dim=3)
    inside = F.unfold(torch.ones(1, 1, side, side), 3, padding=1).view(9, n).T == 0
    near = (q.unsqueeze(-2) @ near_k).squeeze(-2) + local[:, None]
    near = near.masked_fill(inside, -torch.inf)
    pooled = q @ kp.transpose(-2, -1) + bias
    weights = torch.cat((near, pooled), dim=-1).softmax(dim=-1)
    near, pooled = torch.tensor_split(weights, (9,), dim=-1)
    out: Tensor = (near.unsqueeze(-2) @ near_v.transpose(-2, -1)).squeeze(-2) + pooled @ vp
    return out.transpose(1, 2).reshape(b, n, -1)


# Stages -----------------------------------------------------------------------------------


def _davit(side: int, heads: int) -> Stage:
    spec = _packed(side, heads, 32, f"grid=[{side}, {side}], domain=windows(7)")
    usual = partial(windows, side=side, heads=heads, rows=7, columns=7)
    return Stage(spec, usual, ((BATCH, side * side, 96 * heads),))


def _davit_channels(side: int, heads: int) -> Stage:
    shape = f"[{BATCH}, {side * side}, {96 * heads}]"
    turned = SPLIT.replace("n e", "e n")
    body = f"""  q, k, v = unbind(rearrange(qkv, "{turned}", p=3, h={heads}), axis=0)
  o = attend(k, v, q, scale = 32 ** -0.5)
  output out = rearrange(o, "b h e n -> b n (h e)")"""
    usual = partial(channels, heads=heads)
    return Stage(_model({"qkv": shape}, body), usual, ((BATCH, side * side, 96 * heads),))


def _cswin(side: int, heads: int, width: int) -> Stage:
    domain = f"per_heads(stripes(1, {width}), stripes(0, {width}))"
    spec = _packed(side, heads, 32, f"grid=[{side}, {side}], domain={domain}")
    usual = partial(cross, side=side, heads=heads, width=width)
    return Stage(spec, usual, ((BATCH, side * side, 96 * heads),))


def _biformer(side: int, heads: int, chosen: int) -> Stage:
    attend = f"grid=[{side}, {side}], domain=routed(route, regions=[7, 7])"
    route = f"[{BATCH}, 49, {chosen}] int"
    spec = _packed(side, heads, 32, attend).replace("  q, k", f"  input route: {route}\n  q, k", 1)
    usual = partial(routed, side=side, heads=heads)
    return Stage(
        spec, usual, ((BATCH, side * side, 96 * heads), ((BATCH, 49, chosen), 49))
    )  # fmt: skip


def _lookupvit(tokens: int, latents: int, heads: int, width: int) -> Stage:
    z, x = (BATCH, heads, latents, width), (BATCH, heads, tokens, width)
    shapes = {"qz": z, "kx": x, "vx": x, "vz": z}
    body = """  read, scores = attend(qz, kx, vx, outputs=[scores])
  write = attend(scores = transpose(scores), v = vz)
  output out = concat(read, write, axis=2)"""
    return Stage(
        _model({name: str(list(shape)) for name, shape in shapes.items()}, body),
        two_ways,
        tuple(shapes.values()),
    )


def _transnext(side: int, heads: int) -> Stage:
    n, width = side * side, 24
    pooled = (BATCH, heads, 49, width)
    shapes = {
        "qkv": (BATCH, n, 3 * heads * width), "kp": pooled, "vp": pooled,
        "local": (heads, 9), "bias": (heads, n, 49),
    }  # fmt: skip
    body = f"""  q, k, v = unbind(rearrange(qkv, "{SPLIT}", p=3, h={heads}), axis=0)
  o = attend(q, [
    source(k, v, grid=[{side}, {side}], domain=neighborhood(3), score=qk * scale + local[h, slot]),
    source(kp, vp, score=qk * scale + bias[h, i, j])])
  output out = rearrange(o, "b h n e -> b n (h e)")"""
    usual = partial(near_and_pooled, side=side, heads=heads)
    declared = {name: str(list(shape)) for name, shape in shapes.items()}
    return Stage(_model(declared, body), usual, tuple(shapes.values()))


STAGES: dict[str, Stage] = {
    **{f"cswin {s}": _cswin(s, h, w)
       for s, h, w in ((56, 2, 1), (28, 4, 2), (14, 8, 7), (7, 16, 7))},
    **{f"biformer {s}": _biformer(s, h, c) for s, h, c in ((56, 2, 1), (28, 4, 4), (14, 8, 16))},
    **{f"davit {s}": _davit(s, h) for s, h in HEADS},
    **{f"davit channels {s}": _davit_channels(s, h) for s, h in HEADS},
    "lookupvit 14": _lookupvit(196, 25, 12, 64),
    "lookupvit 28": _lookupvit(784, 100, 12, 64),
    **{f"transnext {s}": _transnext(s, h) for s, h in ((56, 3), (28, 6), (14, 12))},
}  # fmt: skip
