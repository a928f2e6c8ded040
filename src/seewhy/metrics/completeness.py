"""Completeness: whether the values add up to what they are said to share out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..core.attribution import Attribution
from ..core.errors import SettingError
from ..core.metric import Claim, Measurement, Metric, MetricInfo
from ..core.queries import scores
from ..core.query import Flow, ask_all
from ..core.rows import Case
from ..core.targets import Target
from ..methods.expected_gradients import STAND_INS
from .common import explained, finite_maps, measurement
from .places import whole
from .substitutes import SubstituteSpec, check_substitute, substitutes

PROMISES: Mapping[str, str] = {
    "integrated-gradients": "baseline",
    "expected-gradients": "background",
    "kernel-shap": "baseline",
}
"""Methods whose values share out S(x) - S(baseline), and the setting that holds the baseline."""


@dataclass(frozen=True, slots=True)
class Completeness(Metric):
    """How far the values are from adding up, as a share of what they should add up to; low is good.

    |sum of values - (S(x) - S(b))| / |S(x) - S(b)|, S being the score that was explained, and S(b) the mean over the
    baselines; 0 where both sides are 0, infinite where only the difference is. Where whole pieces were weighed, each
    piece counts once.

    baseline: b, as of `Deletion`; None is the baseline of the method that made the map, where that promises to add up:
        integrated gradients, expected gradients and KernelSHAP.

    Raises:
        SettingError: the values are no scores, or no baseline is known against which they should add up.

    Reference: Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017, arXiv 1703.01365, sec. 3.
    """

    baseline: SubstituteSpec = None

    info: ClassVar[MetricInfo] = MetricInfo(
        name="completeness",
        title="Completeness",
        better="lower",
        units="share of the score's difference",
        cost="2 forward (the picture and the baselines)",
        reference="Sundararajan et al. 2017, arXiv 1703.01365",
        asks=frozenset({"score's units"}),
        avoid="Only for values that promise it, and no proof that they are in the right places.",
    )

    def __post_init__(self) -> None:
        check_substitute(self.baseline)

    def flow(self, case: Case, target: Target, claim: Claim) -> Flow[Measurement]:
        """Yields the input and the baselines, and returns the gap."""
        target, found = explained(target, claim), claim.attribution
        finite_maps(case, claim)
        substitute = substitutes(self._baseline(claim), case)
        at_input, at_baseline = yield from ask_all(scores(case.rows(), target), scores(whole(case, substitute), target))
        difference, total = float(at_input.mean() - at_baseline.mean()), _total(found)
        gap = abs(total - difference)
        value = 0.0 if gap == 0 else gap / abs(difference) if difference else math.inf
        details = {"sum": total, "difference": difference}
        return measurement(self, value, target, {"baseline": substitute.name}, details=details)

    def _baseline(self, claim: Claim) -> SubstituteSpec:
        found = claim.attribution
        if found.units != "score":
            raise SettingError(
                f"completeness is for values in units of the score; those of {found.method} are "
                f"{found.units or 'of no known unit'}. They add up to nothing in particular: use infidelity."
            )
        if self.baseline is not None:
            return self.baseline
        name = PROMISES.get(found.method)
        if name is None:
            raise SettingError(
                f"{found.method} does not promise that its values add up; {', '.join(PROMISES)} do. If they should, "
                "say against which baseline: Completeness(baseline=...)."
            )
        settings = claim.method.settings() if claim.method is not None else found.settings
        given: SubstituteSpec = settings.get(name)
        if given is None and found.method == "expected-gradients":
            return ["uniform"] * STAND_INS
        return given


def _total(found: Attribution) -> float:
    parts = found.segment_values or (found.values if isinstance(found.values, tuple) else (found.values,))
    return sum(float(part.detach().to("cpu", torch.float64).sum()) for part in parts)
