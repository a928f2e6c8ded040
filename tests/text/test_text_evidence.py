"""Evidence for texts: ERASER's numbers by hand, and verdicts on right and wrong orders of words."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import seewhy
from seewhy.text.proof import BINS

from .small import SPECIAL, WORDS, word_tokenizer

TEXT = "the film was very good but the cat sat on a red mat in paris"


class Counting(nn.Module):
    """Two logits: the second is the sum of a weight for each word, so that every share is known."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(len(SPECIAL) + len(WORDS), 4)
        with torch.no_grad():
            self.table.weight.zero_()
            for word, weight in {"good": 4.0, "film": 2.0, "sat": -1.0}.items():
                self.table.weight[len(SPECIAL) + WORDS.index(word), 0] = weight
        self.unused = nn.Parameter(torch.zeros(1))

    def get_input_embeddings(self) -> Any:
        return self.table

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        found = (inputs_embeds[..., 0] * attention_mask).sum(1)
        return torch.stack([torch.zeros_like(found), found], 1)


def model() -> Any:
    return seewhy.wrap(Counting(), tokenizer=word_tokenizer(), task="classifier", labels=("no", "yes"))


def test_erasers_numbers_are_the_papers() -> None:
    t = seewhy.explain_text(model(), TEXT, methods=["input-x-gradient"], target=1, evidence=True)
    words = list(t["input-x-gradient"].tokens)
    own = {"good": 4.0, "film": 2.0, "sat": -1.0}
    assert [float(value) for value in t["input-x-gradient"].token_values] == [own.get(word, 0.0) for word in words]
    ranked = sorted(range(len(words)), key=lambda place: (-own.get(words[place], 0.0), place))

    def probability(kept: list[int]) -> float:
        return 1 / (1 + math.exp(-sum(own.get(words[place], 0.0) for place in kept)))

    whole = probability(ranked)
    sizes = [math.ceil(share * len(words)) for share in BINS]
    full = sum(whole - probability(ranked[size:]) for size in sizes) / (len(BINS) + 1)
    enough = sum(whole - probability(ranked[:size]) for size in sizes) / (len(BINS) + 1)
    found = t.evidence["yes"].maps["input-x-gradient"]
    assert found.insertion.details["comprehensiveness"] == pytest.approx(full, abs=1e-5)
    assert found.insertion.details["sufficiency"] == pytest.approx(enough, abs=1e-5)
    assert float(found.insertion.curve.scores[0]) == pytest.approx(0.5, abs=1e-6)
    assert float(found.deletion.curve.scores[0]) == pytest.approx(whole, abs=1e-5)
    points = [round(len(words) * step / 10) for step in range(11)]
    inserted = [probability(ranked[:size]) for size in points]
    area = sum(
        (a + b) / 2 * (n - m) / len(words)
        for a, b, m, n in zip(inserted, inserted[1:], points, points[1:], strict=False)
    )
    assert found.insertion.value == pytest.approx(area, abs=1e-5)


def test_right_orders_hold_and_others_do_not() -> None:
    t = seewhy.explain_text(
        model(), TEXT, methods=["input-x-gradient", "occlusion", "smoothgrad"], target=1, evidence=True
    )
    evidence = t.evidence["yes"]
    assert evidence.maps["input-x-gradient"].verdict == "holds"
    assert evidence.maps["occlusion"].score == pytest.approx(evidence.maps["input-x-gradient"].score)
    assert evidence.trusted in ("input-x-gradient", "occlusion")
    assert evidence.maps["smoothgrad"].verdict != "holds"  # the slope is the same at every word
    assert len(evidence.chance) == 39
    assert max(evidence.chance) < evidence.maps["occlusion"].score
    assert "random orders" in evidence.maps["occlusion"].why
    again = seewhy.explain_text(model(), TEXT, methods=["occlusion"], target=1, evidence=True)
    assert again.evidence["yes"].chance == evidence.chance


def test_one_word_leaves_nothing_to_compare() -> None:
    t = seewhy.explain_text(model(), "good", methods=["occlusion"], target=1, evidence=True)
    assert t.evidence == {}
