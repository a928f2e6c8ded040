"""Meaningful perturbation: the smallest smooth mask that takes the target away, learned with Adam."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from ..core.attribution import Attribution
from ..core.errors import SettingError
from ..core.method import Method, MethodInfo
from ..core.queries import scores
from ..core.query import Flow, ask
from ..core.rows import Case
from ..core.targets import Target
from ..ops.baselines import BaselineSpec, check_baseline
from ..ops.seeds import generator
from .common import attribution, check_count, check_positive
from .mask_optimisation import Found, Start, centred, diagnosis, hidden_by, maps, start, stretches
from .mask_problem import Masks, Penalty, Problem

RADII = 12
"""Centred balls that are tried as a start."""
SUPPRESSED = 0.01
"""The start is the smallest ball that leaves no more than this share of the score's drop at the baseline."""
MOMENTS = (0.9, 0.999)
TINY = 1e-8


@dataclass(frozen=True, slots=True)
class MeaningfulPerturbation(Method):
    """What the learned mask hides, 1 - m from 0 to 1 (high matters), at the input's size; (N, *spatial).

    m minimises the mean over small shifts of S(x m + b (1 - m)) + l1 mean(1 - m) + tv TV(m), by Adam; m starts with
    the smallest of 12 centred balls hidden that takes 99 % of the score's drop at b away, and stays within 0 and 1.
    S is the target's probability; where it has none, the score divided by its difference between x and b
    (`diagnostics["optimised"]`).

    size: cells of the mask along each axis, at most the input's own; linear interpolation between them, and a blur.
        Each feature of a vector is a cell, and all start visible. Several inputs have a mask each.
    iterations: steps of Adam, one gradient each. learning_rate: of Adam.
    l1, tv, beta: the weights of what is hidden and of roughness, sum over axes of mean |difference|^beta, as means
        over cells, so that they hold for any size.
    smooth: sigma of the blur over the stretched mask, in cells. jitter: the mask is shifted by up to this many places
        less one along each axis, drawn for each step.
    baseline: what hides: a name ("black", "zero", "white", "blur", "maximum-distance", "uniform", "gaussian"), a
        number, a tensor, or a list of these, over which scores are averaged. None is "blur" in pictures and volumes;
        in other inputs black where the model's value range is known, else zero.

    Differences: the paper's weights are of sums, 1e-4 and 1e-2, which are the defaults here for 28 x 28 cells; its
    blurs have a sigma of 5 pixels for the mask, which is the default here for 224 pixels, and of 10 for the baseline;
    "blur" is 15 there. Well-known code leaves out shifts, blur and the ball, and takes means with the paper's weights.

    Reference: Fong, Vedaldi, "Interpretable Explanations of Black Boxes by Meaningful Perturbation", ICCV 2017, arXiv
    1704.03296, eq. 4 and sec. 4.3.
    """

    size: int = 28
    iterations: int = 300
    l1: float = 0.08
    tv: float = 7.5
    beta: float = 3.0
    smooth: float = 0.625
    jitter: int = 4
    baseline: BaselineSpec | None = None
    learning_rate: float = 0.1

    info: ClassVar[MethodInfo] = MethodInfo(
        name="meaningful-perturbation",
        family="optimised mask",
        title="Meaningful perturbation",
        reduce="none",
        signed=False,
        units="mask",
        needs=frozenset({"gradient"}),
        cost="300 gradients (iterations), 12 forward, and the picture",
        reference="Fong and Vedaldi 2017, arXiv 1704.03296",
        stochastic=True,
        avoid="Not for amounts: it shows one region that suffices to take the answer away. Where it starts and how "
        "strongly it is smoothed shape it: compare with i-gos.",
    )

    def __post_init__(self) -> None:
        for name in ("size", "iterations", "jitter"):
            check_count(name, getattr(self, name))
        for name in ("l1", "tv", "smooth"):
            check_positive(name, getattr(self, name), zero=True)
        check_positive("learning_rate", self.learning_rate)
        check_positive("beta", self.beta)
        if self.beta < 1:
            raise SettingError(f"beta must be at least 1; given {self.beta!r}.")
        if self.baseline is not None:
            check_baseline(self.baseline)

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields the balls, then one masked input at a time, and returns what the mask hides."""
        baselines = hidden_by(self.baseline, case)
        begun = yield from start(case, target, baselines)
        ways = stretches(case, self.size, self.smooth)
        penalty = Penalty(self.l1, self.tv, self.beta)
        problem = Problem(case, begun.optimised, begun.scale, baselines, ways, penalty)
        masks = yield from _ball(problem, begun)
        masks = yield from self._adam(problem, masks)
        found = Found(maps(problem, masks), (), self.iterations)
        return attribution(self, case, found.maps, (begun.target, begun.score), diagnostics=diagnosis(begun, found))

    def _adam(self, problem: Problem, masks: Masks) -> Flow[Masks]:
        """Returns the masks after all steps."""
        drawn = generator(problem.case.seed, problem.case.id, "mask-jitter")
        first = [torch.zeros_like(mask) for mask in masks]
        second = [torch.zeros_like(mask) for mask in masks]
        for turn in range(1, self.iterations + 1):
            ways = [
                way if leaf.dim() == 2 else way.shifted(_offsets(self.jitter, len(way.places), drawn))
                for way, leaf in zip(problem.stretches, problem.case.x, strict=True)
            ]
            slope = yield from replace(problem, stretches=ways).gradient(masks, turn)
            first = [MOMENTS[0] * old + (1 - MOMENTS[0]) * new for old, new in zip(first, slope, strict=True)]
            second = [MOMENTS[1] * old + (1 - MOMENTS[1]) * new**2 for old, new in zip(second, slope, strict=True)]
            means = [part / (1 - MOMENTS[0] ** turn) for part in first]
            spreads = [(part / (1 - MOMENTS[1] ** turn)).sqrt() + TINY for part in second]
            masks = [
                (mask - self.learning_rate * mean / spread).clamp(0, 1)
                for mask, mean, spread in zip(masks, means, spreads, strict=True)
            ]
        return masks


def _offsets(jitter: int, axes: int, drawn: torch.Generator) -> Sequence[int]:
    """Returns how far the mask is shifted along each axis, from 0 to jitter - 1."""
    return torch.randint(0, jitter, (axes,), generator=drawn, device="cpu").tolist()


def _ball(problem: Problem, begun: Start) -> Flow[Masks]:
    """Returns masks with the smallest centred ball hidden that takes the score away; whole ones where none does."""
    balls = [centred(problem, radius / RADII) for radius in range(1, RADII + 1)]
    kept = yield from ask(scores(problem.candidates(balls), problem.target))
    allowed = begun.at_baseline + SUPPRESSED * (begun.at_input - begun.at_baseline)
    enough = (kept.reshape(RADII, -1).mean(1) <= allowed).nonzero().flatten().tolist()
    return balls[enough[0]] if enough and begun.at_input > begun.at_baseline else problem.whole()
