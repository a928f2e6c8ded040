"""What a model's scores are is settled once: what was explained before must not change what a number means."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import seewhy
from seewhy.study.evidence import EvidencePlan

PLAN = EvidencePlan(budget=800, randomize=False)


def small_logits(x: np.ndarray) -> np.ndarray:
    """Scores of three classes: between 0 and 1 for bright pictures, and outside where much is hidden."""
    bright = x.reshape(len(x), -1).mean(1)
    return np.stack([bright - 0.2, bright / 2, 1.5 - 2 * bright], 1).astype(np.float32)


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(3)
    return 0.55 + 0.3 * torch.rand(1, 3, 20, 20, generator=draws), 0.1 * torch.rand(1, 3, 20, 20, generator=draws)


@pytest.mark.parametrize("kind", [None, "logits"])
def test_the_same_call_means_the_same_whatever_ran_before(kind: str | None) -> None:
    model = seewhy.wrap(small_logits, arrays=True, value_range=(0, 1), output_kind=kind)
    bright, dark = pictures()
    heard = []
    for _ in range(2):
        found = seewhy.explain(model, bright, ["occlusion(window=5, stride=5)"], evidence=PLAN)
        (evidence,) = found.evidence.values()
        heard.append((found.prediction.scale, evidence.protocol["score"], evidence.maps["occlusion"].score))
        seewhy.explain(model, dark, ["occlusion(window=5, stride=5)"])  # its scores lie outside 0..1
    assert heard[0] == heard[1]
    assert heard[0][:2] == (("score", "score") if kind is None else ("probability", "probability"))


def test_a_piece_that_is_most_of_the_picture_is_told() -> None:
    labels = torch.zeros(20, 20, dtype=torch.long)
    labels[:6, :6], labels[10:, 15:] = 1, 2
    model = seewhy.wrap(small_logits, arrays=True, value_range=(0, 1))
    even = torch.arange(400).reshape(20, 20) // 100
    for segments, told in ((labels, True), (even, False)):
        found = seewhy.explain(model, pictures()[0], seewhy.methods.KernelShap(segments=segments))
        texts = [finding.text for finding in next(iter(found.findings.values())) if finding.code == "coarse"]
        assert bool(texts) == told
        assert not told or "The largest of the 3 pieces covers 78% of the picture" in texts[0]
