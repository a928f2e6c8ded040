"""Feature visualisation: gradient ascent on pictures, one flow for each feature, so that features share rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.queries import Gradient, gradient
from ..core.query import Flow, Query, ask_all
from ..core.rows import Case
from ..core.visualization import Visualization
from ..ops.jitter import jittered
from .ascent import Adam, prior
from .canvas import to_levels
from .diversity import Crowd
from .waking import Ended, awakened, begin, last_word
from .work import Task, Work, recording

__all__ = ["Task", "visualisation"]


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """The way from the numbers to what the network is given, with its graph.

    levels: the 8-bit pictures, in steps that look at them. values: what the network is given, without a graph.
    """

    leaf: Tensor
    picture: Tensor
    x: Tensor
    levels: Tensor | None
    values: Tensor


def visualisation(case: Case, task: Task) -> Flow[Visualization]:
    """Returns the pictures that excite the task's target, and how they were found.

    One gradient row a step and picture, and one forward row in the end. Pictures that are not moved at random are
    looked at beside their steps, with a forward row each time. Where the feature has no gradient see `waking`.
    """
    work = Work.of(case, task)
    begun = yield from begin(work)
    if isinstance(begun, Ended):
        return work.record(begun.status, begun.notes)
    ascent, adam = task.ascent, Adam.of(work.numbers)
    crowd = Crowd(task.target, *task.apart, ascent.diversity) if task.apart is not None and task.count > 1 else None
    ended = Ended("steps")
    step = 0
    for step in range(ascent.steps):
        slope = yield from _slope(work, step, crowd, begun if step == 0 else None)
        if step and step % ascent.every == 0 and ascent.patience and work.idle >= ascent.patience:
            ended = Ended("settled")
            break
        if bool(slope.any()):
            work.numbers = work.canvas.settle(adam.step(work.numbers, slope, ascent.rate_at(step)))
            continue
        last = yield from last_word(work)
        if last is not None:
            ended = last
            break
    levels = work.quantised()
    (values,) = yield from ask_all(work.value_of(levels))
    work.looked(ascent.steps if ended.status == "steps" else step, levels, values)
    return work.record(ended.status, ended.notes)


def _slope(work: Work, step: int, crowd: Crowd | None, known: Gradient | None) -> Flow[Tensor]:
    """Returns the gradient of the objective with respect to the numbers; `known` is that at the inputs, if it is."""
    drawn = _drawn(work, step)
    target, levels = work.task.target, drawn.levels
    asked: list[Query[Any]] = []
    if crowd is not None:
        asked = [crowd.query(work.rows(drawn.values[at : at + 1]), at) for at in range(len(drawn.values))]
    elif known is None:
        asked = [gradient(work.rows(drawn.values), target)]
    beside = [work.value_of(levels)] if levels is not None and work.exact else []
    replies = yield from ask_all(*asked, *beside)
    found: Gradient = known if known is not None and crowd is None else _joined(replies[: len(asked)], crowd)
    if levels is not None:
        work.looked(step, levels, replies[-1] if beside else found.score)
    slope = yield from awakened(work, drawn.values, found)
    return _pulled_back(work, drawn, found.score, slope)


def _joined(replies: tuple[Any, ...], crowd: Crowd | None) -> Gradient:
    found: Gradient = replies[0] if crowd is None else crowd.met(replies)
    return found


def _drawn(work: Work, step: int) -> _Drawn:
    """Draws the pictures of a step. Every few steps they are as they are, in 8 bits: what a look would ask for, too."""
    ascent = work.task.ascent
    still = step % ascent.every == 0
    with recording():
        leaf = work.numbers.detach().requires_grad_()
        picture = work.canvas.picture(leaf)
        moves = ascent.jitter_at(step)
        moved = picture if still else jittered(picture, moves, work.case.seed, "jitter", work.task.name, step)
        x = work.paper.to_input(moved)
    if not still:
        return _Drawn(leaf, picture, x, None, x.detach())
    levels = to_levels(picture)
    values = x.detach() if work.exact else work.as_input(levels)
    return _Drawn(leaf, picture, x, levels if step else None, values)  # the start was looked at before


def _pulled_back(work: Work, drawn: _Drawn, score: Tensor, slope: Tensor) -> Tensor:
    """Returns the gradient at the numbers, less that of the priors, which count beside the feature's relative gain."""
    slope = slope.to(drawn.x)
    with recording():
        penalty = prior(drawn.picture, work.task.ascent)
        if penalty is None:
            (back,) = torch.autograd.grad(drawn.x, drawn.leaf, slope)
        else:
            size = torch.maximum(score.detach().to("cpu", torch.float64).abs(), work.best.abs()).clamp(min=1e-12)
            slope = slope / size.to(slope)[:, None, None, None]
            (back,) = torch.autograd.grad(
                [drawn.x, penalty.sum()], drawn.leaf, [slope, -torch.ones_like(penalty.sum())]
            )
    return back.detach()
