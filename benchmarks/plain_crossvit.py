"""CrossViT by hand in plain torch, as one would write it without attnc: a baseline."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Mlp(nn.Sequential):
    """Linear, GELU, linear."""

    def __init__(self, dim: int, ratio: int) -> None:
        super().__init__(nn.Linear(dim, dim * ratio), nn.GELU(), nn.Linear(dim * ratio, dim))


class Encoder(nn.Module):
    """A pre-norm transformer block; x: [b, n, d]."""

    def __init__(self, dim: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = Mlp(dim, ratio)

    def forward(self, x: Tensor) -> Tensor:
        """Return [b, n, d]."""
        b, n, d = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        o = F.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(o.transpose(1, 2).reshape(b, n, d))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class Fusion(nn.Module):
    """Cross-attention of the first row to all rows; z: [b, n, d], result: [b, 1, d]."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.q, self.k, self.v = (nn.Linear(dim, dim) for _ in range(3))
        self.proj = nn.Linear(dim, dim)

    def forward(self, z: Tensor) -> Tensor:
        """Return [b, 1, d]."""
        y = self.norm(z)
        b, n, d = y.shape
        q = self.q(y[:, :1]).reshape(b, 1, self.heads, -1).transpose(1, 2)
        k = self.k(y).reshape(b, n, self.heads, -1).transpose(1, 2)
        v = self.v(y).reshape(b, n, self.heads, -1).transpose(1, 2)
        o = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, 1, d)
        row: Tensor = z[:, :1] + self.proj(o)
        return row


def projection(source: int, target: int) -> nn.Sequential:
    """Take a class token from one width to the other."""
    return nn.Sequential(nn.LayerNorm(source, eps=1e-6), nn.GELU(), nn.Linear(source, target))


class Stage(nn.Module):
    """Both branches on their own, then both class tokens read the other branch."""

    def __init__(
        self, dims: tuple[int, int], depth: tuple[int, int], heads: int, ratio: int
    ) -> None:
        super().__init__()
        small, large = dims
        self.small = nn.Sequential(*(Encoder(small, heads, ratio) for _ in range(depth[0])))
        self.large = nn.Sequential(*(Encoder(large, heads, ratio) for _ in range(depth[1])))
        self.to_large, self.to_small = projection(small, large), projection(large, small)
        self.fuse_large, self.fuse_small = Fusion(large, heads), Fusion(small, heads)
        self.back_small, self.back_large = projection(large, small), projection(small, large)

    def forward(self, small: Tensor, large: Tensor) -> tuple[Tensor, Tensor]:
        """Return both branches, [b, n, d] and [b, m, e]."""
        small, large = self.small(small), self.large(large)
        a = self.fuse_large(torch.cat([self.to_large(small[:, :1]), large[:, 1:]], 1))
        b = self.fuse_small(torch.cat([self.to_small(large[:, :1]), small[:, 1:]], 1))
        small = torch.cat([self.back_small(a), small[:, 1:]], 1)
        return small, torch.cat([self.back_large(b), large[:, 1:]], 1)


class PlainCrossViT(nn.Module):
    """CrossViT-15 at 240 pixels; image: [b, 3, 240, 240], result: logits [b, 1000]."""

    def __init__(self) -> None:
        super().__init__()
        dims = (192, 384)
        self.small, self.large = nn.Conv2d(3, 192, 12, 12), nn.Conv2d(3, 384, 16, 16)
        self.cls = nn.ParameterList(torch.randn(1, 1, d) * 0.02 for d in dims)
        counts = (401, 197)
        self.position = nn.ParameterList(
            torch.randn(1, n, d) * 0.02 for n, d in zip(counts, dims, strict=True)
        )
        self.stages = nn.ModuleList(Stage(dims, (1, 5), 6, 3) for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(d, eps=1e-6) for d in dims)
        self.heads = nn.ModuleList(nn.Linear(d, 1000) for d in dims)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits [b, 1000]."""
        smaller = F.interpolate(image, size=(224, 224), mode="bicubic")
        tokens = [self.small(image), self.large(smaller)]
        x = [t.flatten(2).transpose(1, 2) for t in tokens]
        x = [torch.cat([c.expand(len(t), -1, -1), t], 1) for c, t in zip(self.cls, x, strict=True)]
        small, large = (t + p for t, p in zip(x, self.position, strict=True))
        for stage in self.stages:
            small, large = stage(small, large)
        pairs = zip(self.norms, self.heads, (small, large), strict=True)
        return torch.stack([head(norm(t)[:, 0]) for norm, head, t in pairs]).mean(0)
