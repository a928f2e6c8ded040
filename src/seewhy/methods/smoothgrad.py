"""SmoothGrad: the gradient averaged over noisy copies of the input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from ..core.attribution import Attribution
from ..core.errors import SettingError
from ..core.method import Method, MethodInfo
from ..core.queries import anchor, running
from ..core.query import Chunk, Flow, Query, Record, ask
from ..core.rows import Case, Rows
from ..core.targets import Target
from ..ops.statistics import Moments
from .common import attribution, check_choice, check_count, check_positive
from .noisy import noisy_rows

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
    )

    def __post_init__(self) -> None:
        check_count("samples", self.samples, 2)
        check_positive("noise", self.noise, zero=True)
        check_choice("average", self.average, get_args(Average))
        check_count("max_samples", self.max_samples, 2)
        if self.tolerance is not None:
            check_positive("tolerance", self.tolerance)
            if self.max_samples < self.samples:
                raise SettingError(
                    f"max_samples must be at least samples; given {self.max_samples} and {self.samples}."
                )

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields blocks of noisy rows until enough are drawn, and returns their mean."""
        target, score = yield from anchor(case, target)
        moments: tuple[Moments, ...] = tuple(Moments.empty() for _ in case.leaves)
        drawn = 0
        last = self.samples if self.tolerance is None else self.max_samples
        while drawn < last:
            stop = min(drawn + self.samples, last)
            new = yield from ask(self._moments(noisy_rows(case, self.noise, drawn, stop), target, len(case.leaves)))
            moments = tuple(old.merge(part) for old, part in zip(moments, new, strict=True))
            drawn = stop
            if self.tolerance is not None and _relative_error(moments) <= self.tolerance:
                break
        return self._result(case, moments, (target, score))

    def _moments(self, rows: Rows, target: Target, leaves: int) -> Query[tuple[Moments, ...]]:
        power = _POWER[self.average]

        def step(state: tuple[Moments, ...], _: slice, chunk: Chunk) -> tuple[Moments, ...]:
            parts = zip(state, chunk.input_gradient, strict=True)
            return tuple(moments.update(power(leaf)) for moments, leaf in parts)

        fold = running(lambda: tuple(Moments.empty() for _ in range(leaves)), step)
        return Query(rows, target, fold, Record(input_gradient=True))

    def _result(self, case: Case, moments: tuple[Moments, ...], scored: tuple[Target, Tensor]) -> Attribution:
        reached = _relative_error(moments)
        error = tuple(
            part.standard_error.to(leaf.device, leaf.dtype) for part, leaf in zip(moments, case.x, strict=True)
        )
        diagnostics: dict[str, Any] = {"samples": moments[0].count, "relative_error": reached}
        if self.tolerance is not None:
            diagnostics["converged"] = reached <= self.tolerance
        directed = self.average == "signed"
        return attribution(
            self,
            case,
            tuple(part.mean[None] for part in moments),
            scored,
            error=tuple(part[None] for part in error) if len(error) > 1 else error[0][None],
            signed=directed,
            reduce="absmax" if directed else "max",
            diagnostics=diagnostics,
        )


def _relative_error(moments: tuple[Moments, ...]) -> float:
    """Returns the norm of the standard error as a share of the norm of the mean."""
    error = sum(float(part.standard_error.square().sum()) for part in moments)
    size = sum(float(part.mean.square().sum()) for part in moments)
    return 0.0 if error == 0 else (error / size) ** 0.5 if size > 0 else float("inf")
