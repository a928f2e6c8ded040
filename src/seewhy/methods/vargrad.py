"""VarGrad: how much the gradient varies over noisy copies of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..core.attribution import Attribution
from ..core.method import Method, MethodInfo
from ..core.queries import anchor
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Target
from ..ops.statistics import FourMoments
from .common import attribution
from .noisy import Sampling, Tally, sample


@dataclass(frozen=True, slots=True)
class VarGrad(Method):
    """Variance of the gradient over noisy copies of the input, with its standard error; (N, C, *spatial).

    1/(n-1) sum over i of (g_i - mean g)^2, g_i = dS/dx at x + e_i, e_i normal with standard deviation
    noise * (max(x) - min(x)); in squared score per squared unit of input.

    samples: noisy copies. noise: their spread as a share of the input's range.
    tolerance: keep drawing blocks of `samples` until the error's norm is below this share of the values' norm,
    or `max_samples` are drawn; None draws `samples` once. Diagnostics say what was reached.

    Beside SmoothGrad with the same samples and noise it costs nothing: both read the same passes.

    Differences: captum's NoiseTunnel divides by n, which is too small by the factor
    (n-1)/n; here the variance is unbiased, so that its size does not depend on the number of samples.

    Reference: Adebayo, Gilmer, Goodfellow, Kim, "Local explanation methods for deep neural networks lack
    sensitivity to parameter values", 2018, arXiv 1810.03307; Seo et al., "Noise-adding methods of saliency map as
    series of higher order partial derivative", 2018, arXiv 1806.03000.
    """

    samples: int = 50
    noise: float = 0.15
    tolerance: float | None = None
    max_samples: int = 1000

    info: ClassVar[MethodInfo] = MethodInfo(
        name="vargrad",
        family="gradient",
        title="VarGrad",
        reduce="max",
        signed=False,
        units="(score per unit of input)²",
        needs=frozenset({"gradient"}),
        cost="50 forward, 50 backward (samples), the same ones as SmoothGrad's",
        reference="Adebayo et al. 2018, arXiv 1810.03307",
        stochastic=True,
        avoid="Do not read it as evidence for a class: it shows where the gradient is unsteady, and is zero where the "
        "score is linear, however much that part counts.",
    )

    def __post_init__(self) -> None:
        self._sampling.check()

    @property
    def _sampling(self) -> Sampling:
        return Sampling(self.samples, self.noise, self.tolerance, self.max_samples)

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields blocks of noisy rows until enough are drawn, and returns the variance of their gradients."""
        target, score = yield from anchor(case, target)
        tally = Tally(torch.clone, FourMoments.empty, lambda kept: (kept.variance, kept.variance_error))
        found = yield from sample(case, target, self._sampling, tally)
        return attribution(self, case, found.values, (target, score), error=found.error, diagnostics=found.diagnostics)
