"""Localization: how much of the map's positive evidence lies on the thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.metric import Claim, Measurement, Metric, MetricInfo
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Target
from ..ops.ranking import descending
from .common import TIES, explained, measurement, one_map, truth_of

PURPOSE = "metric-ties"


@dataclass(frozen=True, slots=True)
class Localization(Metric):
    """Share of the map's positive values that lies on the thing, from 0 to 1; high is good.

    sum over the thing of max(0, map) / sum over all places; 0 where nothing is positive. Details have the same question
    without values: of as many highest places as the thing has, `precision` is the share on it and `iou` their
    intersection with it over the union. `chance` is the thing's share of the places, which a constant map gets.

    Equal values are ranked in random order.

    Differences: the value is Score-CAM's energy-based pointing game with a mask in the place of a box, and Quantus'
    RelevanceMassAccuracy of the positive part; `precision` is its RelevanceRankAccuracy.

    Raises:
        SettingError: the claim has no truth.

    Reference: Wang et al., "Score-CAM", CVPRW 2020, arXiv 1910.01279, sec. 4.3; Arras, Osman, Samek, "CLEVR-XAI",
    Information Fusion 81, 2022, arXiv 2003.07258.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="localization",
        title="Localization",
        better="higher",
        units="share of the positive evidence",
        cost="no pass",
        reference="Wang et al. 2020, arXiv 1910.01279",
        asks=frozenset({"truth"}),
        avoid="What surrounds a thing may be honest evidence: a good map of a bad network scores low.",
    )

    def flow(self, case: Case, target: Target, claim: Claim) -> Flow[Measurement]:
        """Returns how much lies on the thing; yields nothing."""
        found = one_map(self, case, claim)
        truth = truth_of(self, claim, found)
        order = descending(found.reshape(-1), case.seed, case.id, PURPOSE)
        size = int(truth.sum())
        hits = int(truth.reshape(-1)[order[:size]].sum())
        details = {
            "precision": hits / size,
            "iou": hits / (2 * size - hits),
            "chance": size / truth.numel(),
        }
        protocol = {"truth": "mask", "evidence": "positive values", "ties": TIES}
        return measurement(self, positive_share(found, truth), explained(target, claim), protocol, details=details)
        yield  # a flow that asks nothing


def positive_share(found: Tensor, truth: Tensor) -> float:
    """Returns the share of the positive values that lies where `truth` is, 0 where nothing is positive."""
    largest = float(found.max())
    if largest <= 0:
        return 0.0
    positive = torch.clamp(found / largest, min=0)
    return float(positive[truth].sum() / positive.sum())
