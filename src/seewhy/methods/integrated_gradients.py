"""Integrated gradients: the score difference to a baseline, shared out along the straight path between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..core.attribution import Attribution
from ..core.errors import SettingError
from ..core.method import Method, MethodInfo
from ..core.queries import resolve
from ..core.query import Flow, ask, ask_all
from ..core.rows import Case
from ..core.targets import Target
from ..ops.baselines import BaselineSpec, check_baseline
from ..ops.quadrature import RULES, quadrature
from .common import absences, attribution, check_choice, check_count, check_positive
from .path_integral import NODES, PANELS, Goal, Panel, Path, Total, completeness_gap, refine


@dataclass(frozen=True, slots=True)
class IntegratedGradients(Method):
    """Signed attributions that add up to the score's difference between input and baseline; (N, C, *spatial).

    (x - x') * integral over a in [0, 1] of dS/dx at x' + a (x - x'), in units of the score.

    baseline: a name ("black", "zero", "white", "blur", "maximum-distance", "uniform", "gaussian"), a number, a
        tensor, or a list of these, whose attributions are averaged. None is black where the model's value range
        is known, else zero.
    steps: gradient evaluations for each baseline, with `rule`. None refines the path, splitting it where the
        local gap is largest, until the completeness gap is below `tolerance` (a share of the score difference)
        or `max_steps` evaluations are spent.
    rule: "midpoint", "gauss-legendre", "trapezoid", "left" or "right".
    multiply: False leaves out the factor (x - x') and gives the mean gradient along the path.

    The gap |sum of attributions - score difference| / |score difference| is always in the diagnostics; values
    are never rescaled to hide it. Errors of opposite sign along the path can cancel in it, so refinement also asks
    that the gaps of the pieces, all taken as positive, add up to no more than five times the tolerance
    (`local_gap`). Several baselines: the difference is to the mean of their scores.

    Differences: captum's default is 50 Gauss-Legendre steps whatever the gap. Tutorials often use the left rule
    and leave out the factor: `IntegratedGradients(steps=10, rule="left", multiply=False)`.

    Reference: Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017, arXiv 1703.01365,
    eq. 1; Sturmfels, Lundberg, Lee, Distill 2020, for the baselines.
    """

    baseline: BaselineSpec | None = None
    steps: int | None = None
    rule: str = "midpoint"
    tolerance: float = 0.01
    max_steps: int = 512
    multiply: bool = True

    info: ClassVar[MethodInfo] = MethodInfo(
        name="integrated-gradients",
        family="gradient",
        title="Integrated gradients",
        reduce="sum",
        signed=True,
        units="score",
        needs=frozenset({"gradient"}),
        cost="16 to 512 gradients, until the gap is below 1 %",
        reference="Sundararajan et al. 2017, arXiv 1703.01365",
        avoid="What equals the baseline gets nothing: a black baseline cannot see black objects; compare baselines.",
    )

    def __post_init__(self) -> None:
        check_choice("rule", self.rule, RULES)
        check_positive("tolerance", self.tolerance)
        check_count("max_steps", self.max_steps, PANELS * NODES)
        if self.baseline is not None:
            check_baseline(self.baseline)
        if self.steps is not None:
            quadrature(self.rule, self.steps)
        if not isinstance(self.multiply, bool):
            raise SettingError(f"multiply must be True or False; given {self.multiply!r}.")

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields points on the paths and returns the attribution with its gap."""
        target = yield from resolve(case, target)
        path = Path(case, target, absences(self.baseline, case))
        ends = path.ends()
        if self.steps is not None:
            nodes, weights = quadrature(self.rule, self.steps)
            panels = [Panel(b, 0.0, 1.0) for b in range(path.count)]
            at_ends, reply = yield from ask_all(ends, path.query(panels, nodes, weights))
            total = Total.start(path)
            total.keep(panels, reply)
        else:
            at_ends = yield from ask(ends)
            total = yield from refine(Goal(self.rule, self.tolerance, self.max_steps), path, at_ends)
        return self._result(case, path, total, at_ends)

    def _result(self, case: Case, path: Path, total: Total, at_ends: Tensor) -> Attribution:
        difference = float(at_ends[0] - at_ends[1:].mean())
        gap = completeness_gap(total.explained / path.count, difference)
        values = total.product if self.multiply else total.mean
        diagnostics: dict[str, Any] = {
            "completeness_gap": gap,
            "gradient_evaluations": total.evaluations,
            "score_difference": difference,
            "baselines": path.count,
        }
        if self.steps is None:
            diagnostics["converged"] = gap <= self.tolerance
            diagnostics["local_gap"] = completeness_gap(total.local_gap / path.count + difference, difference)
        return attribution(
            self,
            case,
            tuple(part[None] / path.count for part in values),
            (path.target, at_ends[0]),
            diagnostics=diagnostics,
        )
