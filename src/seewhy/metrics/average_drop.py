"""Average drop: how much of the score is lost when the input is seen through its map."""

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
class AverageDrop(Metric):
    """Share of the score that is lost when the input is seen through its map, from 0 to 1; low is good.

    max(0, S(x) - S(x m + b (1 - m))) / S(x), m being the map scaled to 0..1; the average over pictures is left to the
    caller. NaN where S(x) is not positive: there is no share of it.

    baseline: as of `Deletion`; zero, the default, multiplies the network's input by the map.
    of: the scale of the score; where the output has no probability, the model's own score.

    A map that is constant, or empty, is 0 everywhere. Several inputs are scaled together.

    Differences: equal to torchcam's ClassificationMetric, which adds 1e-7 to the denominator; to pytorch-grad-cam's
    DropInConfidence only where S(x) is 1: that one does not divide. The paper gives percent.

    Reference: Chattopadhay, Sarkar, Howlader, Balasubramanian, "Grad-CAM++", WACV 2018, arXiv 1710.11063, sec. 4.1.
    """

    baseline: SubstituteSpec = "zero"
    of: Of = "probability"

    info: ClassVar[MetricInfo] = MetricInfo(
        name="average-drop",
        title="Average drop",
        better="lower",
        units="share of the score",
        cost="2 forward",
        reference="Chattopadhay et al. 2018, arXiv 1710.11063",
        avoid="A map that shows everything loses nothing: it rewards large maps, right or wrong.",
    )

    def __post_init__(self) -> None:
        check_substitute(self.baseline)
        check_scale(self.of)

    def flow(self, case: Case, target: Target, claim: Claim) -> Flow[Measurement]:
        """Yields the input and the input through its map, and returns the drop."""
        found = yield from through_map(case, target, claim, self.baseline, self.of)
        value = max(0.0, found.score - found.masked) / found.score if found.score > 0 else float("nan")
        details = {"score": found.score, "masked": found.masked}
        return measurement(self, value, found.target, found.protocol, details=details)
