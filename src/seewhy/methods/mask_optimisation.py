"""What optimised masks share: where they start, and ways to descend."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from ..core.errors import InputError, SettingError, TargetError
from ..core.queries import anchor, scores
from ..core.query import Flow, ask, together
from ..core.rows import Case
from ..core.targets import Combination, Function, Inner, Target, Turn
from ..ops.baselines import BaselineSpec, check_baseline
from ..ops.segments import spatial
from ..ops.stretch import Stretch
from ..ops.variation import edge_weights
from .common import absences, check_choice, check_count, check_positive
from .mask_problem import Masks, Problem

ARMIJO = 1e-4
"""The share of the decrease that a linear objective would have which a step has to bring."""


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """What the optimisation starts from: the target asked for and its score, and what is optimised at both ends."""

    target: Target
    score: Tensor
    optimised: Target
    at_input: float
    at_baseline: float
    of: str

    @property
    def scale(self) -> float:
        """What scores are divided by: 1 for probabilities, else the difference between input and baseline."""
        span = abs(self.at_input - self.at_baseline)
        return 1.0 if self.of == "probability" or span == 0 else span


def start(case: Case, target: Target, baselines: Sequence[Tensor]) -> Flow[Start]:
    """Returns the target's probability at the input and at the baselines, or its score where there is no probability.

    A target that asks for something else than the model's own output, or is no class, keeps what it asks for.
    """
    open_ = not isinstance(target, (Inner, Turn, Combination, Function)) and target.of == "score"
    if open_:
        wished = replace(target, of="probability")  # type: ignore[arg-type]
        try:
            asked, meant = yield from together(anchor(case, target), anchor(case, wished))
        except TargetError:
            open_ = False  # the model's output has no probabilities
    if not open_:
        asked = meant = yield from anchor(case, target)
    hidden = case.vary(len(baselines[0]), lambda rows: tuple(part[rows] for part in baselines))
    at_baseline = yield from ask(scores(hidden, meant[0]))
    of = "probability" if open_ or getattr(target, "of", "") == "probability" else "score"
    return Start(asked[0], asked[1], meant[0], float(meant[1]), float(at_baseline.mean()), of)


def hidden_by(spec: BaselineSpec | None, case: Case) -> list[Tensor]:
    """Returns the baselines of each leaf; None is the blur in pictures and volumes, else black or zero."""
    for leaf in case.x:
        if leaf.dim() < 2 or not leaf.numel():
            raise InputError(
                f"A mask needs inputs (N, C, *spatial) or (N, F) with at least one value; given {tuple(leaf.shape)}."
            )
    if spec is not None:
        found = absences(spec, case)
    else:
        plain, blurred = absences(None, case), [leaf.dim() > 3 for leaf in case.x]
        found = [
            absences("blur", replace(case, leaves=(path,)))[0] if soft else part
            for path, soft, part in zip(case.leaves, blurred, plain, strict=True)
        ]
    most = max(len(part) for part in found)
    return [part.expand(most, *part.shape[1:]) if len(part) == 1 else part for part in found]


def stretches(case: Case, size: int, smooth: float = 0.0) -> list[Stretch]:
    """Returns each leaf's way from a mask of at most `size` cells along each axis; a cell for each feature."""
    made = []
    for leaf in case.x:
        places = spatial(leaf)
        cells = places if leaf.dim() == 2 else tuple(min(size, place) for place in places)
        made.append(Stretch.of(places, cells, 0.0 if leaf.dim() == 2 else smooth))
    return made


def path(steps: int) -> tuple[float, ...]:
    """Returns `steps` even places on the way from the baseline to the masked input, whose end is the last."""
    return tuple(point / steps for point in range(1, steps + 1))


def bilateral(case: Case, sigma: float | None) -> tuple[tuple[Tensor, ...], ...]:
    """Returns each leaf's edge weights, none where sigma is None."""
    return () if sigma is None else tuple(edge_weights(leaf, sigma) if leaf.dim() > 2 else () for leaf in case.x)


Optimizer = Literal["line-search", "nesterov"]


@dataclass(frozen=True, slots=True)
class Descent:
    """How to go down: at most `iterations` steps of `rate` times the gradient of the mean over cells.

    Line search: the first of `trials` rates, each `decay` times the one before, that lowers the objective enough.
    """

    optimizer: Optimizer
    iterations: int
    rate: float
    decay: float
    trials: int
    average: bool

    def report(self, old: tuple[Tensor, ...], new: tuple[Tensor, ...], turn: int) -> tuple[Tensor, ...]:
        """Returns the mean of the maps after each step so far, or the newest."""
        if not self.average:
            return new
        return tuple(a + (b - a) / (turn + 1) for a, b in zip(old, new, strict=True))


class Settings(Protocol):
    """The settings that I-GOS and I-GOS++ have in common."""

    @property
    def baseline(self) -> BaselineSpec | None: ...  # noqa: D102
    @property
    def optimizer(self) -> Optimizer: ...  # noqa: D102

    def settings(self) -> Mapping[str, Any]: ...  # noqa: D102


def check_settings(method: Settings) -> None:
    """Raises SettingError unless the settings make sense."""
    given = method.settings()
    for name in ("size", "steps", "iterations", "trials"):
        check_count(name, given[name])
    for name in ("l1", "tv", "noise"):
        check_positive(name, given[name], zero=True)
    for name in ("learning_rate", "decay"):
        check_positive(name, given[name])
    if given["decay"] >= 1:
        raise SettingError(f"decay must be between 0 and 1, both excluded; given {given['decay']!r}.")
    if not isinstance(given["average"], bool):
        raise SettingError(f"average must be True or False; given {given['average']!r}.")
    check_choice("optimizer", method.optimizer, get_args(Optimizer))
    if method.baseline is not None:
        check_baseline(method.baseline)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The maps, the objective after each step taken (line search only), and the iterations."""

    maps: tuple[Tensor, ...]
    objective: tuple[float, ...]
    iterations: int


def descend(method: Settings, problem: Problem) -> Flow[Found]:
    """Returns the maps that the settings lead to."""
    given = method.settings()
    names = ("iterations", "learning_rate", "decay", "trials", "average")
    descent = Descent(method.optimizer, *(given[name] for name in names))
    return (yield from (line_search if descent.optimizer == "line-search" else nesterov)(problem, descent))


def line_search(problem: Problem, descent: Descent) -> Flow[Found]:
    """Descends along the integrated gradient with Armijo's condition; all rates are tried in one round.

    The objective never rises. Where no rate lowers it the search ends; with noise the next draw gets its chance.
    """
    masks, history = problem.whole(), list[float]()
    shown = maps(problem, masks)
    rates = [descent.rate * descent.decay**trial for trial in range(descent.trials)]
    for turn in range(descent.iterations):
        slope = yield from problem.gradient(masks, turn)
        square = sum(float(part.square().sum()) * part[0].numel() for part in slope)
        moved = [stepped(masks, slope, rate) for rate in rates]
        now, *found = (yield from problem.objectives([masks, *moved])).tolist()
        history = history or [now]
        good = [place for place, rate in enumerate(rates) if found[place] < now - ARMIJO * rate * square]
        if not good and not problem.noise:
            return Found(shown, tuple(history), turn + 1)
        if good:
            masks = moved[good[0]]
            history.append(found[good[0]])
        shown = descent.report(shown, maps(problem, masks), turn)
    return Found(shown, tuple(history), descent.iterations)


def nesterov(problem: Problem, descent: Descent) -> Flow[Found]:
    """Descends along the integrated gradient, within 0 and 1, with Nesterov's momentum t / (t + 3)."""
    masks = ahead = problem.whole()
    shown = maps(problem, masks)
    for turn in range(descent.iterations):
        slope = yield from problem.gradient(ahead, turn)
        before, masks = masks, stepped(ahead, slope, descent.rate)
        momentum = turn / (turn + 3)
        ahead = [(m + momentum * (m - b)).clamp(0, 1) for m, b in zip(masks, before, strict=True)]
        shown = descent.report(shown, maps(problem, masks), turn)
    return Found(shown, (), descent.iterations)


def stepped(masks: Masks, slope: Masks, rate: float) -> Masks:
    """Returns masks a step further down, kept within 0 and 1; slopes are those of means over a mask's cells."""
    return [(mask - rate * mask[0].numel() * part).clamp(0, 1) for mask, part in zip(masks, slope, strict=True)]


def maps(problem: Problem, masks: Masks) -> tuple[Tensor, ...]:
    """Returns for each leaf what its masks hide together, 1 - their product, (1, *spatial)."""
    full = [stretch.up(mask).prod(0) for stretch, mask in zip(problem.stretches, masks, strict=True)]
    return tuple((1 - part).clamp(0, 1)[None] for part in full)


def diagnosis(begun: Start, found: Found) -> dict[str, Any]:
    """Returns what to know about an optimised mask."""
    notes: dict[str, Any] = {
        "optimised": begun.of,
        "at_input": begun.at_input,
        "at_baseline": begun.at_baseline,
        "iterations": found.iterations,
    }
    if found.objective:
        notes["objective"] = found.objective
    if begun.of != "probability":
        notes["notes"] = ("the mask lowers the score, as a share of its drop at the baseline: it has no probability",)
    return notes


def centred(problem: Problem, share: float) -> Masks:
    """Returns masks that hide a centred ball, `share` of the way to the corner; vectors, without a centre, are kept."""
    made = problem.whole()
    for mask, stretch, leaf in zip(made, problem.stretches, problem.case.x, strict=True):
        if leaf.dim() == 2:
            continue
        axes = [
            ((torch.arange(cells, dtype=torch.float64, device="cpu") + 0.5) / cells - 0.5) * places
            for cells, places in zip(stretch.cells, stretch.places, strict=True)
        ]
        distance = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0).sqrt()
        mask[:, distance <= share * math.hypot(*stretch.places) / 2] = 0.0
    return made
