"""I-GOS: the smallest smooth mask that takes the target away, found by integrated-gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core.attribution import Attribution
from ..core.method import Method, MethodInfo
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Target
from ..ops.baselines import BaselineSpec
from .common import attribution
from .mask_optimisation import Optimizer, check_settings, descend, diagnosis, hidden_by, path, start, stretches
from .mask_problem import Penalty, Problem


@dataclass(frozen=True, slots=True)
class Igos(Method):
    """What the learned mask hides, 1 - m from 0 to 1 (high matters), at the input's size; (N, *spatial).

    m minimises S(x m + b (1 - m)) + l1 mean(1 - m) + tv TV(m); its steps follow the gradient of S integrated over
    a in (0, 1] of x a m + b (1 - a m). S is the target's probability; where it has none, the score divided by its
    difference between x and b (`diagnostics["optimised"]`).

    size: cells of the mask along each axis, at most the input's own; linear interpolation between them. Each feature
        of a vector is a cell. Several inputs have a mask each.
    steps: points of the path, each a gradient. iterations: the most that are made; fewer where nothing lowers the
        objective any more.
    l1, tv: the weights of what is hidden and of roughness, as means over cells, so that they hold for any size.
    baseline: what hides: a name ("black", "zero", "white", "blur", "maximum-distance", "uniform", "gaussian"), a
        number, a tensor, or a list of these, over which scores are averaged. None is "blur" in pictures and volumes;
        in other inputs black where the model's value range is known, else zero.
    noise: of normal noise added along the path, as a share of the input's range.
    optimizer: "nesterov" takes steps of the learning rate, with momentum. "line-search" takes the first of `trials`
        rates, `learning_rate` times powers of `decay`, that meets Armijo's condition at the masked input; all are
        tried in one round, and a search that finds none ends. The rate is for the gradient of the mean over cells:
        times size^2 it is the paper's. With momentum, keep learning_rate x tv below 0.08: above, chequers appear.
    average: report the mean of what is hidden after each step, in which places hidden early and always stand highest;
        False reports the last step, where most places are 0 or 1 and have no order.

    Differences: the paper searches lines and reports the last mask: optimizer="line-search", learning_rate=0.016 (200
    a cell), average=False, with l1=3, tv=60, noise=0.05, size=112, steps=20 and iterations=15. It weakens l1 half-way
    where the score has not moved, and takes the smallest step where none meets the condition; here the mask stays.
    The defaults here ask for a fifth of its gradients, and were chosen by insertion less deletion on ten photographs.

    Reference: Qi, Khorram, Li, "Visualizing Deep Networks by Optimizing with Integrated Gradients", AAAI 2020,
    arXiv 1905.00954.
    """

    size: int = 28
    steps: int = 6
    iterations: int = 10
    l1: float = 0.3
    tv: float = 1.5
    baseline: BaselineSpec | None = None
    noise: float = 0.0
    optimizer: Optimizer = "nesterov"
    learning_rate: float = 0.05
    decay: float = 0.2
    trials: int = 6
    average: bool = True

    info: ClassVar[MethodInfo] = MethodInfo(
        name="i-gos",
        family="optimised mask",
        title="I-GOS",
        reduce="none",
        signed=False,
        units="mask",
        needs=frozenset({"gradient"}),
        cost="60 gradients (iterations x steps); with line search 7 forward (trials + 1) an iteration; and the picture",
        reference="Qi et al. 2020, arXiv 1905.00954",
        avoid="Not for amounts: it shows one region that suffices to take the answer away, and others may do as well.",
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields paths and line searches in turn, and returns what the mask hides."""
        baselines = hidden_by(self.baseline, case)
        begun = yield from start(case, target, baselines)
        problem = Problem(
            case,
            begun.optimised,
            begun.scale,
            baselines,
            stretches(case, self.size),
            Penalty(self.l1, self.tv),
            alphas=path(self.steps),
            noise=self.noise,
        )
        found = yield from descend(self, problem)
        return attribution(self, case, found.maps, (begun.target, begun.score), diagnostics=diagnosis(begun, found))
