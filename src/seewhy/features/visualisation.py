"""Feature visualisation: gradient ascent on pictures, one flow for each feature, so that features share rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.errors import SeewhyError
from ..core.queries import Gradient, gradient, scores
from ..core.query import Flow, Query, ask, ask_all
from ..core.rows import Case, Rows
from ..core.targets import Target, describe
from ..core.visualization import Status, Visualization
from ..ops.jitter import STILL, Jitter, jittered
from .ascent import Adam, Ascent, prior
from .canvas import Canvas, Paper, Pixels, Spectrum, to_levels
from .diversity import Crowd

CONTRASTS = (1.0, 4.0, 16.0, 64.0, 256.0)
"""Contrast of the noise that is begun with: the others where the feature does not react to the first."""
WAKING = 32
"""Steps in which a picture without a gradient may find one, by another rule for rectifiers."""
APART = 0.1
"""Of several pictures the newest within this share of the highest value is kept: it is furthest from the others."""
NAPS = 4
"""How often a feature that falls asleep before it has gained anything is woken again."""
GAIN = 0.01
"""What the best value has to gain, as a share of itself, to count as a gain."""


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What is to be visualised and how.

    image: (1, C, H, W) to start from, or None for noise. apart: the layer at which several pictures are kept apart, and
    the axis of its channels. on_frame: called with the best pictures so far, after each look.
    """

    target: Target
    name: str
    ascent: Ascent
    count: int = 1
    image: Tensor | None = None
    apart: tuple[str, Literal[1, -1]] | None = None
    on_frame: Callable[[Visualization], None] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def recording() -> Iterator[None]:
    """Lets autograd work whatever mode the caller is in."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@dataclass(slots=True, eq=False)
class _Work:
    """A visualisation under way: the numbers, and the best 8-bit pictures so far."""

    case: Case
    task: Task
    paper: Paper
    canvas: Canvas
    numbers: Tensor
    levels: Tensor
    best: Tensor
    first: Tensor
    peak: Tensor
    gained: float = 0.0
    idle: int = 0
    steps: list[int] = field(default_factory=list)
    activation: list[float] = field(default_factory=list)

    @staticmethod
    def of(case: Case, task: Task) -> _Work:
        paper = Paper.of(case)
        canvas = Spectrum(paper) if task.ascent.fourier and task.image is None else Pixels(paper, task.image)
        empty = torch.empty(0, device="cpu")
        work = _Work(case, task, paper, canvas, empty, empty, empty, empty, empty)
        work.numbers = work.begun(0)
        work.levels = to_levels(canvas.picture(work.numbers))
        work.best = work.peak = torch.full((task.count,), -torch.inf, dtype=torch.float64, device="cpu")
        return work

    def begun(self, attempt: int) -> Tensor:
        """Returns the numbers that an attempt starts from."""
        seed = (self.case.seed, "start", self.task.name, attempt)
        return self.canvas.start(self.task.count, CONTRASTS[attempt], *seed)

    def quantised(self) -> tuple[Tensor, Query[Tensor]]:
        """Returns the pictures as a PNG would hold them, and the question how much they excite the feature."""
        levels = to_levels(self.canvas.picture(self.numbers))
        return levels, scores(self.rows(self.as_input(levels)), self.task.target)

    def as_input(self, levels: Tensor) -> Tensor:
        return self.paper.to_input(levels.to(self.numbers.dtype) / 255)

    def rows(self, x: Tensor) -> Rows:
        return self.case.vary(len(x), lambda s: (x[s],))

    def looked(self, step: int, levels: Tensor, values: Tensor) -> None:
        """Keeps each picture's best, and tells who listens."""
        slack = APART if self.task.apart is not None else 0.0
        self.peak = torch.maximum(self.peak, values)
        better = (values > self.best) | (values >= self.peak - slack * self.peak.abs()) & (slack > 0)
        self.levels = torch.where(better.to(levels.device)[:, None, None, None], levels, self.levels)
        self.best = torch.where(better, values, self.best)
        top, total = float(self.best.max()), float(self.best.mean())
        if not self.steps:
            self.first, self.gained = values, total
        self.idle = 0 if total > self.gained + GAIN * abs(self.gained) else self.idle + 1
        self.gained = total if self.idle == 0 else self.gained
        self.steps.append(step)
        self.activation.append(top)
        if self.task.on_frame is not None:
            self.task.on_frame(self.record("running"))

    def record(self, status: Status, notes: tuple[str, ...] = ()) -> Visualization:
        pictures = self.levels.to("cpu").expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().numpy()
        settings = {**self.task.settings, "count": self.task.count, "seed": self.case.seed, **asdict(self.task.ascent)}
        return Visualization(
            self.task.name,
            self.task.target,
            pictures,
            self.as_input(self.levels).cpu(),
            self.best.clone(),
            float(self.first[0]),
            tuple(self.steps),
            tuple(self.activation),
            status,
            settings,
            (*self.paper.notes, *notes),
        )


def visualisation(case: Case, task: Task) -> Flow[Visualization]:
    """Returns the pictures that excite the task's target, and how they were found.

    One gradient row a step and picture, and one forward row for every look at the 8-bit picture. Where the feature has
    no gradient at the first start, others of higher contrast are tried in one round.
    """
    work = _Work.of(case, task)
    ended = yield from _begin(work)
    if ended is not None:
        return work.record(*ended)
    ascent, adam = task.ascent, Adam.of(work.numbers)
    crowd = Crowd(task.target, *task.apart, ascent.diversity) if task.apart is not None and task.count > 1 else None
    status: Status = "steps"
    naps = NAPS
    for step in range(ascent.steps):
        slope, looked = yield from _slope(work, step, crowd)
        if looked and ascent.patience and work.idle >= ascent.patience:
            status = "settled"
            break
        if not bool(slope.any()):
            if naps and bool((work.best <= work.first).all()):  # it fell asleep again before it gained anything
                naps -= 1
                yield from _woken(work, torch.zeros(task.count, dtype=torch.bool, device="cpu"))
                continue
            status = "ceiling"
            break
        work.numbers = work.canvas.settle(adam.step(work.numbers, slope, ascent.rate_at(step)))
    levels, query = work.quantised()
    (values,) = yield from ask_all(query)
    work.looked(ascent.steps if status == "steps" else step, levels, values)
    return work.record(status)


def _slope(work: _Work, step: int, crowd: Crowd | None) -> Flow[tuple[Tensor, bool]]:
    """Returns the gradient of the objective with respect to the numbers, and whether the 8-bit picture was seen."""
    ascent = work.task.ascent
    with recording():
        leaf = work.numbers.detach().requires_grad_()
        picture = work.canvas.picture(leaf)
        moves: Jitter = ascent.jitter_at(step) if step else STILL
        x = work.paper.to_input(jittered(picture, moves, work.case.seed, "jitter", work.task.name, step))
    values = x.detach()
    asked: list[Query[Any]] = (
        [gradient(work.rows(values), work.task.target)]
        if crowd is None
        else [crowd.query(work.rows(values[place : place + 1]), place) for place in range(len(values))]
    )
    look = step > 0 and step % ascent.every == 0
    levels, query = work.quantised() if look else (work.levels, None)
    replies = yield from ask_all(*asked, *([query] if query is not None else []))
    if query is not None:
        work.looked(step, levels, replies[-1])
    found: Gradient = replies[0] if crowd is None else crowd.met(replies[: len(asked)])
    return _pulled_back(work, leaf, (picture, x), found), look


def _pulled_back(work: _Work, leaf: Tensor, drawn: tuple[Tensor, Tensor], found: Gradient) -> Tensor:
    """Returns the gradient at the numbers, less that of the priors, which count beside the feature's relative gain."""
    picture, x = drawn
    slope = found.values[0].to(x)
    with recording():
        penalty = prior(picture, work.task.ascent)
        if penalty is None:
            (back,) = torch.autograd.grad(x, leaf, slope)
        else:
            size = torch.maximum(found.score.detach().abs().cpu().double(), work.best.abs()).clamp(min=1e-12)
            slope = slope / size.to(slope)[:, None, None, None]
            (back,) = torch.autograd.grad([x, penalty.sum()], leaf, [slope, -torch.ones_like(penalty.sum())])
    return back.detach()


def _begin(work: _Work) -> Flow[tuple[Status, tuple[str, ...]] | None]:
    """Finds a start at which each picture has a gradient; returns how it ended where there is none for any.

    An ordinary feature pays for the first start alone.
    """
    levels, query = work.quantised()
    values, found = yield from ask_all(query, gradient(work.rows(work.as_input(levels)), work.task.target))
    awake, seen = _awake(found), [values]
    if not bool(awake.all()):
        awake = yield from _woken(work, awake)
        seen.extend((yield from _other_starts(work, awake)))
        levels, query = work.quantised()
        (values,) = yield from ask_all(query)
    work.looked(0, levels, values)
    if bool(awake.any()):
        return None
    everything, what = torch.cat(seen), describe(work.task.target)
    if bool((everything == 0).all()):
        return "dead", (f"{what} is 0 and has no gradient at any of {len(everything)} starts",)
    if bool((everything == everything[0]).all()):
        return "constant", (f"{what} is {float(everything[0]):.6g} at each of {len(everything)} starts",)
    return "ceiling", (f"{what} has no gradient at any of {len(everything)} starts",)


def _woken(work: _Work, awake: Tensor) -> Flow[Tensor]:
    """Moves pictures without a gradient until they have one, and returns which have; `awake` are those that had.

    A rectifier that is off lets no gradient through. Another rule, which lets it through where a whole layer is off,
    says where to go until the first unit is on; in a network in which no rule can be exchanged nothing moves.
    """
    adam, ascent = Adam.of(work.numbers), work.task.ascent
    for turn in range(WAKING):
        with recording():
            leaf = work.numbers.detach().requires_grad_()
            picture = work.canvas.picture(leaf)
            x = work.paper.to_input(picture)
        rows = work.rows(x.detach())
        try:
            found, rule = yield from ask_all(
                gradient(rows, work.task.target), gradient(rows, work.task.target, "redirected")
            )
        except SeewhyError:
            return awake
        awake = _awake(found) if turn else awake | _awake(found)
        with recording():
            (slope,) = torch.autograd.grad(x, leaf, rule.values[0].to(x))
        slope = slope * (~awake).to(slope)[(...,) + (None,) * (slope.dim() - 1)]
        if not bool(slope.any()):
            return awake
        work.numbers = work.canvas.settle(adam.step(work.numbers, slope.detach(), ascent.rate))
    return awake


def _other_starts(work: _Work, awake: Tensor) -> Flow[list[Tensor]]:
    """Begins pictures that have no gradient from noise of higher contrast; returns the scores that this met.

    `awake` is brought up to date.
    """
    seen: list[Tensor] = []
    for attempt in range(1, len(CONTRASTS)):
        if bool(awake.all()):
            break
        numbers = work.begun(attempt)
        found = yield from ask(
            gradient(work.rows(work.as_input(to_levels(work.canvas.picture(numbers)))), work.task.target)
        )
        seen.append(found.score.detach().to("cpu", torch.float64))
        good = _awake(found) & ~awake
        work.numbers = torch.where(
            good.to(numbers.device)[(...,) + (None,) * (numbers.dim() - 1)], numbers, work.numbers
        )
        awake |= good
    return seen


def _awake(found: Gradient) -> Tensor:
    """Returns which rows have a gradient, (n,) on the CPU."""
    return found.values[0].flatten(1).any(1).cpu()
