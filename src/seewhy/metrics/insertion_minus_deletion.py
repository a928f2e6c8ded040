"""Insertion minus deletion: one number for both, since a map can buy either by losing the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from ..core.errors import TargetError
from ..core.metric import Claim, Curve, Measurement, Metric, MetricInfo
from ..core.query import Flow, together
from ..core.rows import Case
from ..core.targets import Target
from .common import explained
from .deletion import Deletion
from .insertion import Insertion
from .removal import check_removal


@dataclass(frozen=True, slots=True)
class InsertionMinusDeletion(Metric):
    """Area under the insertion curve less that under the deletion curve, in units of the score; high is good.

    0 is what a map gives that has nothing to do with the score, if both have the same baseline; with their own
    baselines, as by default, chance has to be measured with random maps. Details have both areas and what each of them
    says, the curve is the difference of both where they have the same fractions.

    insertion, deletion: their settings.

    Reference: both areas: Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
    BMVC 2018, arXiv 1806.07421; their difference is common practice since.
    """

    insertion: Insertion = field(default_factory=Insertion)
    deletion: Deletion = field(default_factory=Deletion)

    info: ClassVar[MetricInfo] = MetricInfo(
        name="insertion-minus-deletion",
        title="Insertion minus deletion",
        better="higher",
        units="score",
        cost="57 forward (steps of both, the picture and both baselines)",
        reference="Petsiuk et al. 2018, arXiv 1806.07421",
        avoid="Compare only numbers of one picture, or means over the same pictures: its level is the picture's.",
    )

    def __post_init__(self) -> None:
        check_removal("insertion", self.insertion, Insertion)
        check_removal("deletion", self.deletion, Deletion)

    @classmethod
    def preset(cls, name: str) -> InsertionMinusDeletion:
        """Returns both with the settings of a protocol in use; see `Deletion.preset`."""
        return cls(Insertion.preset(name), Deletion.preset(name))

    def flow(self, case: Case, target: Target, claim: Claim) -> Flow[Measurement]:
        """Yields what both ask, in one round, and returns the difference."""
        target = explained(target, claim)
        try:
            gained, lost = yield from together(*self._both(case, target, claim))
        except TargetError:
            # Side by side neither of them hears of a failure: they fall back to another scale one after the other.
            one, two = self._both(case, target, claim)
            gained, lost = (yield from one), (yield from two)
        details = {f"{found.metric}": found.value for found in (gained, lost)}
        details |= {
            f"{found.metric}_{name}": value for found in (gained, lost) for name, value in found.details.items()
        }
        shared = {name: value for name, value in gained.protocol.items() if lost.protocol.get(name) == value}
        own = {
            f"{found.metric}_{name}": value
            for found in (gained, lost)
            for name, value in found.protocol.items()
            if name not in shared
        }
        return Measurement(
            self.info.name, gained.value - lost.value, shared | own, _difference(gained.curve, lost.curve), details
        )

    def _both(self, case: Case, target: Target, claim: Claim) -> tuple[Flow[Measurement], Flow[Measurement]]:
        return self.insertion.flow(case, target, claim), self.deletion.flow(case, target, claim)


def _difference(one: Curve | None, two: Curve | None) -> Curve | None:
    if one is None or two is None or not torch.equal(one.fractions, two.fractions):
        return None
    return Curve(one.fractions, one.scores - two.scores)
