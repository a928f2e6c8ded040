"""Max-sensitivity: how far the map moves when the input hardly does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..core import tree
from ..core.attribution import Attribution
from ..core.errors import SettingError
from ..core.metric import Claim, Measurement, Metric, MetricInfo
from ..core.query import Flow, together
from ..core.rows import Case
from ..core.targets import Target
from ..methods.common import check_count, check_positive
from ..ops.noise import uniform_rows
from .common import explained, measurement
from .substitutes import named

PURPOSE = "sensitivity"


@dataclass(frozen=True, slots=True)
class Sensitivity(Metric):
    """Largest relative change of the values under small changes of the input; low is good.

    max over d of |Phi(x + d) - Phi(x)| / |Phi(x)| with d uniform in the box of side 2 r around 0, as Euclidean norms
    over all values; 0 where nothing changes, infinite where values appear out of nothing. The method runs again with
    its settings on each changed input, in shared passes. Details have the mean change.

    radius: r, in units of the network's input.
    samples: changed inputs; the maximum over more of them is never smaller.

    Methods that draw random numbers draw others for each input, so their sampling error is in the number.

    Differences: equal to captum.metrics.sensitivity_max with the same changes, save where the map is 0: there captum
    divides by 1. Quantus' MaxSensitivity has 200 changes of up to 0.2.

    Raises:
        SettingError: the claim does not say what method made its map.

    Reference: Yeh, Hsieh, Suggala, Inouye, Ravikumar, "On the (In)fidelity and Sensitivity of Explanations", NeurIPS
    2019, arXiv 1901.09392.
    """

    radius: float = 0.02
    samples: int = 10

    info: ClassVar[MetricInfo] = MetricInfo(
        name="sensitivity",
        title="Max-sensitivity",
        better="lower",
        units="share of the map's norm",
        cost="10 times the method (samples)",
        reference="Yeh et al. 2019, arXiv 1901.09392",
        asks=frozenset({"method"}),
        stochastic=True,
        avoid="A map that ignores the input never moves: read it beside a measure of what the map says.",
    )

    def __post_init__(self) -> None:
        check_positive("radius", self.radius)
        check_count("samples", self.samples)

    def flow(self, case: Case, target: Target, claim: Claim) -> Flow[Measurement]:
        """Yields what the method asks about each changed input, side by side, and returns the largest change."""
        method, target = claim.method, explained(target, claim)
        if method is None:
            raise SettingError(
                "sensitivity runs the method again on changed inputs; this claim does not say what made its map. Give "
                "Claim(attribution, method=...)."
            )
        found = yield from together(*(method.flow(self._changed(case, row), target) for row in range(self.samples)))
        before = _values(claim.attribution)
        changes = [_share(_distance(_values(after), before), _norm(before)) for after in found]
        protocol = {
            "perturbation": "uniform",
            "radius": self.radius,
            "samples": self.samples,
            "norm": "Euclidean",
            "method": method.info.name,
            "settings": {name: _plain(value) for name, value in method.settings().items()},
        }
        details = {"mean": sum(changes) / len(changes)}
        return measurement(self, max(changes), target, protocol, details=details)

    def _changed(self, case: Case, row: int) -> Case:
        new = {}
        for path, leaf in zip(case.leaves, case.x, strict=True):
            purpose = f"{PURPOSE} {path}"
            unit = uniform_rows(
                leaf.shape[1:], range(row, row + 1), seed=case.seed, case_id=case.id, purpose=purpose
            ).to(leaf.device, leaf.dtype)
            new[path] = leaf + self.radius * (2 * unit - 1)
        return replace(
            case, id=f"{case.id} {PURPOSE} {self.radius!r} {case.seed} {row}", inputs=tree.replace(case.inputs, new)
        )


def _plain(value: object) -> object:
    """Returns a setting as a protocol holds it: a number or a text."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return named(value) if isinstance(value, (Tensor, list, tuple)) else repr(value)


def _values(found: Attribution) -> tuple[Tensor, ...]:
    parts = found.values if isinstance(found.values, tuple) else (found.values,)
    return tuple(part.detach().to("cpu", torch.float64) for part in parts)


def _norm(parts: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float(part.square().sum()) for part in parts))


def _distance(one: Sequence[Tensor], two: Sequence[Tensor]) -> float:
    return _norm([a - b for a, b in zip(one, two, strict=True)])


def _share(change: float, size: float) -> float:
    return 0.0 if change == 0 else change / size if size > 0 else math.inf
