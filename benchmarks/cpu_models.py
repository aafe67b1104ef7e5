"""Emitted models on the CPU against the same models by hand and of transformers.

float32, two threads, inference. Times are medians of interleaved runs in one process; peak memory
is that of a process of its own. Prints ratios, theirs over ours: above 1 the emitted model is the
better one. Writes benchmarks/results/cpu_models.json.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import attnc
from benchmarks.measuring import medians, peak
from benchmarks.plain_crossvit import PlainCrossViT

Make = Callable[[], nn.Module]
Draw = Callable[[int], tuple[Tensor, ...]]
Case = tuple[Make, Callable[[], tuple[Tensor, ...]]]
ROUNDS = 15


def our_crossvit() -> nn.Module:
    """CrossViT-15, emitted."""
    return attnc.compile("zoo:crossvit", variant="crossvit_15_224")


def plain_crossvit() -> nn.Module:
    """CrossViT-15, written by hand."""
    return PlainCrossViT()


def our_minilm() -> nn.Module:
    """The sentence encoder, emitted."""
    return attnc.compile("zoo:sentence_encoder")


class Sentence(nn.Module):
    """BertModel of transformers, with pooling and normalisation."""

    def __init__(self) -> None:
        from transformers import BertConfig, BertModel

        super().__init__()
        config = BertConfig(
            hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
        )
        self.bert = BertModel(config, add_pooling_layer=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return embeddings [b, 384]."""
        tokens: Tensor = self.bert(ids, attention_mask=mask.long()).last_hidden_state
        kept = mask[:, :, None].to(tokens.dtype)
        pooled = (tokens * kept).sum(1) / kept.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(pooled, dim=-1)


def images(batch: int) -> tuple[Tensor, ...]:
    """Random images [batch, 3, 240, 240]."""
    return (torch.randn(batch, 3, 240, 240),)


def sentences(batch: int) -> tuple[Tensor, ...]:
    """Random ids [batch, 128], each sentence padded by up to half."""
    lengths = torch.randint(64, 129, (batch, 1))
    return torch.randint(1000, 30000, (batch, 128)), torch.arange(128)[None] < lengths


PAIRS: tuple[tuple[str, Make, Make, Draw], ...] = (
    ("crossvit_15", our_crossvit, plain_crossvit, images),
    ("minilm_l6", our_minilm, Sentence, sentences),
)
CASES: dict[str, tuple[Case, Case]] = {
    f"{name}, batch {batch}": ((ours, partial(draw, batch)), (theirs, partial(draw, batch)))
    for name, ours, theirs, draw in PAIRS
    for batch in (1, 8)
}


def times(case: str) -> tuple[float, float]:
    """Return the median seconds of ours and theirs, runs interleaved."""
    sides = [forward(make, inputs) for make, inputs in CASES[case]]
    ours, theirs = medians(sides, ROUNDS)
    return ours, theirs


def forward(make: Make, draw: Callable[[], tuple[Tensor, ...]]) -> Callable[[], object]:
    """Return a forward pass without gradients."""
    model, given = make().eval(), draw()

    def run() -> object:
        with torch.inference_mode():
            return model(*given)

    return run


def memory(case: str, side: int) -> float:
    """Return how many MiB one forward pass adds to a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cpu_models", "--peak", case, str(side)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measure all cases."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    results = {}
    print(f"{'case':24} {'ours ms':>9} {'theirs ms':>10} {'speed':>6} {'MiB':>6} {'theirs':>7}")
    for case in CASES:
        ours, theirs = times(case)
        held = memory(case, 0), memory(case, 1)
        results[case] = {"speed": theirs / ours, "peak_mib": held}
        print(
            f"{case:24} {1000 * ours:>9.1f} {1000 * theirs:>10.1f} {theirs / ours:>6.2f}"
            f" {held[0]:>6.0f} {held[1]:>7.0f}"
        )
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    target = Path(__file__).parent / "results" / "cpu_models.json"
    target.write_text(json.dumps({"versions": versions, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(2)
    if "--peak" in sys.argv:
        print(peak(forward(*CASES[sys.argv[2]][int(sys.argv[3])])))
    else:
        main()
