"""SmoothGrad: the gradient averaged over noisy copies of the input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from ..core.attribution import Attribution
from ..core.method import Method, MethodInfo
from ..core.queries import anchor
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Target
from ..ops.statistics import Moments
from .common import attribution, check_choice
from .noisy import Sampling, Tally, sample

Average = Literal["absolute", "signed", "squared"]
_POWER: Mapping[str, Callable[[Tensor], Tensor]] = {
    "absolute": torch.abs,
    "signed": torch.clone,
    "squared": torch.square,
}


@dataclass(frozen=True, slots=True)
class SmoothGrad(Method):
    """Mean gradient over noisy copies of the input, with its standard error; (N, C, *spatial).

    mean over i of f(dS/dx at x + e_i), e_i normal with standard deviation noise * (max(x) - min(x)).

    samples: noisy copies. noise: the paper's 10 to 20 % of the input's range. average: "absolute" averages
    |gradient|, "signed" the gradient as the paper writes it, "squared" its square.
    tolerance: keep drawing blocks of `samples` until the error's norm is below this share of the values' norm,
    or `max_samples` are drawn; None draws `samples` once. Diagnostics say what was reached.

    Differences: the paper averages signed gradients and shows the absolute value; averaging absolute values, the
    default, is what most code does and keeps evidence whose sign flips. A course takes (0.4 / range)^2 as the
    standard deviation, which shrinks as the range grows; the paper's is used here.

    Reference: Smilkov et al., "SmoothGrad", 2017, arXiv 1706.03825.
    """

    samples: int = 50
    noise: float = 0.15
    average: Average = "absolute"
    tolerance: float | None = None
    max_samples: int = 1000

    info: ClassVar[MethodInfo] = MethodInfo(
        name="smoothgrad",
        family="gradient",
        title="SmoothGrad",
        reduce="max",
        signed=False,
        units="score per unit of input",
        needs=frozenset({"gradient"}),
        cost="50 forward, 50 backward (samples)",
        reference="Smilkov et al. 2017, arXiv 1706.03825",
        stochastic=True,
        avoid="It shows where the score is sensitive, not what makes it up: for that use integrated-gradients.",
    )

    def __post_init__(self) -> None:
        check_choice("average", self.average, get_args(Average))
        self._sampling.check()

    @property
    def _sampling(self) -> Sampling:
        return Sampling(self.samples, self.noise, self.tolerance, self.max_samples)

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields blocks of noisy rows until enough are drawn, and returns their mean."""
        target, score = yield from anchor(case, target)
        tally = Tally(_POWER[self.average], Moments.empty, lambda kept: (kept.mean, kept.standard_error))
        found = yield from sample(case, target, self._sampling, tally)
        directed = self.average == "signed"
        return attribution(
            self,
            case,
            found.values,
            (target, score),
            error=found.error,
            signed=directed,
            reduce="absmax" if directed else "max",
            diagnostics=found.diagnostics,
        )
