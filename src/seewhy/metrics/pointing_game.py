"""The pointing game: whether the map's highest place lies on the thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..core.metric import Claim, Measurement, Metric, MetricInfo
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Target
from ..methods.common import check_positive
from .common import explained, measurement, one_map, truth_of


@dataclass(frozen=True, slots=True)
class PointingGame(Metric):
    """1 if the map's highest place lies within `tolerance` places of the thing, else 0; high is good.

    Where several places are highest, the share of them that does: what a random choice among them gives. The mean over
    pictures is the accuracy. Details have the distance from the thing, averaged likewise, and the share of all places
    that would do, which is what a constant map gets.

    tolerance: Euclidean distance in places of the input.

    Differences: TorchRay measures the tolerance on the photograph at its own size. Quantus has no tolerance and takes
    any of several highest places.

    Raises:
        SettingError: the claim has no truth.

    Reference: Zhang, Lin, Brandt, Shen, Sclaroff, "Top-down Neural Attention by Excitation Backprop", ECCV 2016, arXiv
    1608.00507.
    """

    tolerance: float = 15.0

    info: ClassVar[MetricInfo] = MetricInfo(
        name="pointing-game",
        title="Pointing game",
        better="higher",
        units="share of pictures",
        cost="no pass",
        reference="Zhang et al. 2016, arXiv 1608.00507",
        asks=frozenset({"truth"}),
        avoid="The middle of a photograph wins often: compare with a map that always points there.",
    )

    def __post_init__(self) -> None:
        check_positive("tolerance", self.tolerance, zero=True)

    def flow(self, case: Case, target: Target, claim: Claim) -> Flow[Measurement]:
        """Returns where the map points; yields nothing."""
        from scipy.ndimage import distance_transform_edt  # here: scipy.ndimage takes a while to load

        found = one_map(self, case, claim)
        truth = truth_of(self, claim, found)
        away = torch.from_numpy(distance_transform_edt(~truth.numpy()))
        highest = found == found.max()
        near = away <= self.tolerance
        details = {"distance": float(away[highest].mean()), "chance": float(near.double().mean())}
        value = float(near[highest].double().mean())
        protocol = {"tolerance": self.tolerance, "unit": "place of the input", "ties": "share of the highest"}
        return measurement(self, value, explained(target, claim), protocol, details=details)
        yield  # a flow that asks nothing
