"""Increase in confidence: whether the score is higher when the input is seen through its map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core.metric import Claim, Measurement, Metric, MetricInfo
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Of, Target
from .common import check_scale, measurement
from .masking import through_map
from .substitutes import SubstituteSpec, check_substitute


@dataclass(frozen=True, slots=True)
class Increase(Metric):
    """1 if the score is higher when the input is seen through its map, else 0; high is good.

    1 where S(x m + b (1 - m)) > S(x), m being the map scaled to 0..1; the mean over pictures is left to the caller.
    Settings and passes are those of `AverageDrop`.

    Differences: equal to torchcam's ClassificationMetric and pytorch-grad-cam's IncreaseInConfidence.

    Reference: Chattopadhay, Sarkar, Howlader, Balasubramanian, "Grad-CAM++", WACV 2018, arXiv 1710.11063, sec. 4.1.
    """

    baseline: SubstituteSpec = "zero"
    of: Of = "probability"

    info: ClassVar[MetricInfo] = MetricInfo(
        name="increase",
        title="Increase in confidence",
        better="higher",
        units="share of pictures",
        cost="2 forward, the same ones as average-drop's",
        reference="Chattopadhay et al. 2018, arXiv 1710.11063",
        avoid="Where the network is sure nothing can increase: it speaks of pictures with a low score.",
    )

    def __post_init__(self) -> None:
        check_substitute(self.baseline)
        check_scale(self.of)

    def flow(self, case: Case, target: Target, claim: Claim) -> Flow[Measurement]:
        """Yields the input and the input through its map, and returns whether the score is higher."""
        found = yield from through_map(case, target, claim, self.baseline, self.of)
        details = {"score": found.score, "masked": found.masked}
        return measurement(self, float(found.masked > found.score), found.target, found.protocol, details=details)
