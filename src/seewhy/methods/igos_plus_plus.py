"""I-GOS++: two masks, one that takes the target away and one that suffices for it, found together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core.attribution import Attribution
from ..core.method import Method, MethodInfo
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Target
from ..ops.baselines import BaselineSpec
from .common import attribution, check_positive
from .mask_optimisation import (
    Optimizer,
    bilateral,
    check_settings,
    descend,
    diagnosis,
    hidden_by,
    path,
    start,
    stretches,
)
from .mask_problem import Penalty, Problem, Term

DELETES, INSERTS = 0, 1
TERMS = (
    Term((DELETES,), inserts=False, weight=0.5),
    Term((INSERTS,), inserts=True, weight=0.5),
    Term((DELETES, INSERTS), inserts=False, weight=0.5),
    Term((DELETES, INSERTS), inserts=True, weight=0.5),
)


@dataclass(frozen=True, slots=True)
class IgosPlusPlus(Method):
    """What two learned masks hide together, 1 - m from 0 to 1 (high matters), at the input's size; (N, *spatial).

    m = d i; d deletes, i inserts. They minimise 1/2 [S(d) - T(i) + S(d i) - T(d i)] + l1 mean(1 - d i) + tv BTV(d i),
    where S(m) scores x m + b (1 - m) and T(m) scores b m + x (1 - m). Steps follow the gradients of the scores
    integrated over a in (0, 1] with a m for m. The score is the target's probability; where it has none, the score
    divided by its difference between x and b (`diagnostics["optimised"]`).

    size: cells of a mask along each axis, at most the input's own; linear interpolation between them. Each feature
        of a vector is a cell. Several inputs have two masks each.
    steps: points of each of the four paths, each a gradient. iterations: the most that are made; fewer where nothing
        lowers the objective any more.
    l1, tv: the weights of what is hidden and of roughness, as means over cells, so that they hold for any size.
    bilateral: half of the roughness is the bilateral one at the input's size, where an edge of the input may be an
        edge of the mask; this is the step that counts as an edge, in standard deviations of the input. None: plain.
    baseline: what hides: a name ("black", "zero", "white", "blur", "maximum-distance", "uniform", "gaussian"), a
        number, a tensor, or a list of these, over which scores are averaged. None is "blur" in pictures and volumes;
        in other inputs black where the model's value range is known, else zero.
    noise: of normal noise added along the paths, as a share of the input's range.
    optimizer: "nesterov" takes steps of the learning rate, with momentum. "line-search" takes the first of `trials`
        rates, `learning_rate` times powers of `decay`, that meets Armijo's condition at the masked inputs; all are
        tried in one round, and a search that finds none ends. The rate is for the gradient of the mean over cells:
        times size^2 it is the paper's. With momentum, keep learning_rate x tv below 0.08: above, chequers appear.
    average: report the mean of what is hidden after each step, in which places hidden early and always stand highest;
        False reports the last step, where most places are 0 or 1 and have no order.

    Differences: the paper reports the last masks. The released code's settings for ImageNet are
    optimizer="line-search", learning_rate=0.02 (1,000 a cell), average=False, l1=10, tv=20, noise=0.05, size=224,
    steps=20 and iterations=20. Its line search compares noisy means over the paths, without the 1/2 that its steps
    have; here it compares the objective above, without noise. There, edges count by the mean difference of channels
    along one axis and by the mean of squares along the other; here by the latter.
    The defaults here ask for a twentieth of its gradients; insertion less deletion on ten photographs chose them.

    Reference: Khorram, Lawson, Li, "iGOS++: Integrated Gradient Optimized Saliency by Bilateral Perturbations", CHIL
    2021, arXiv 2012.15783.
    """

    size: int = 28
    steps: int = 2
    iterations: int = 10
    l1: float = 0.3
    tv: float = 1.5
    bilateral: float | None = 0.1
    baseline: BaselineSpec | None = None
    noise: float = 0.0
    optimizer: Optimizer = "nesterov"
    learning_rate: float = 0.05
    decay: float = 0.2
    trials: int = 6
    average: bool = True

    info: ClassVar[MethodInfo] = MethodInfo(
        name="i-gos++",
        family="optimised mask",
        title="I-GOS++",
        reduce="none",
        signed=False,
        units="mask",
        needs=frozenset({"gradient"}),
        cost="80 gradients (4 x iterations x steps); with line search 28 forward (4 x (trials + 1)) a step; picture",
        reference="Khorram et al. 2021, arXiv 2012.15783",
        avoid="Not for amounts: it shows one region that is needed and suffices, and others may do as well.",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.bilateral is not None:
            check_positive("bilateral", self.bilateral)

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields paths and line searches in turn, and returns what the masks hide together."""
        baselines = hidden_by(self.baseline, case)
        begun = yield from start(case, target, baselines)
        problem = Problem(
            case,
            begun.optimised,
            begun.scale,
            baselines,
            stretches(case, self.size),
            Penalty(self.l1, self.tv, edges=bilateral(case, self.bilateral)),
            TERMS,
            path(self.steps),
            self.noise,
        )
        found = yield from descend(self, problem)
        return attribution(self, case, found.maps, (begun.target, begun.score), diagnostics=diagnosis(begun, found))
