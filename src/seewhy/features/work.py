"""What feature visualisation is asked for, and its state between two steps: numbers, and the best pictures so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.queries import scores
from ..core.query import Query
from ..core.rows import Case, Rows
from ..core.targets import Target
from ..core.visualization import Status, Visualization
from ..ops.jitter import STILL
from .ascent import Ascent
from .canvas import Canvas, Paper, Pixels, Spectrum, to_levels

CONTRASTS = (1.0, 4.0, 16.0, 64.0, 256.0)
"""Contrast of the noise that is begun with: the others where the feature does not react to the first."""
APART = 0.1
"""Of several pictures the newest within this share of the highest value is kept: it is furthest from the others."""
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


def by_row(values: Tensor, like: Tensor) -> Tensor:
    """Returns values (n,) shaped so that they count for each row of `like` (n, ...)."""
    return values.to(like.device).reshape(-1, *[1] * (like.dim() - 1))


@dataclass(slots=True, eq=False)
class Work:
    """A visualisation under way: the numbers, and the best 8-bit pictures so far.

    wakings: steps by the other rule for rectifiers since the last gain. moves: how often a picture was moved to a
    shaken copy. other_rule: False once that rule was found not to apply to the network.
    """

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
    wakings: int = 0
    moves: int = 0
    other_rule: bool = True
    steps: list[int] = field(default_factory=list)
    activation: list[float] = field(default_factory=list)

    @staticmethod
    def of(case: Case, task: Task) -> Work:
        """Returns the work before its first step."""
        paper, ascent = Paper.of(case), task.ascent
        spectral = ascent.fourier and task.image is None
        canvas = Spectrum(paper) if spectral else Pixels(paper, task.image, ascent.bounded)
        empty = torch.empty(0, device="cpu")
        work = Work(case, task, paper, canvas, empty, empty, empty, empty, empty)
        work.numbers = work.begun(0)
        work.levels = to_levels(canvas.picture(work.numbers))
        work.best = work.peak = torch.full((task.count,), -torch.inf, dtype=torch.float64, device="cpu")
        return work

    @property
    def exact(self) -> bool:
        """Whether each step goes up the gradient at the pictures themselves: they are neither moved nor rounded."""
        return self.task.ascent.jitter == STILL

    def begun(self, attempt: int) -> Tensor:
        """Returns the numbers that an attempt starts from."""
        seed = (self.case.seed, "start", self.task.name, attempt)
        return self.canvas.start(self.task.count, CONTRASTS[attempt], *seed)

    def quantised(self, numbers: Tensor | None = None) -> Tensor:
        """Returns the pictures as a PNG would hold them."""
        return to_levels(self.canvas.picture(self.numbers if numbers is None else numbers))

    def value_of(self, levels: Tensor) -> Query[Tensor]:
        """Asks how much 8-bit pictures excite the feature."""
        return scores(self.rows(self.as_input(levels)), self.task.target)

    def as_input(self, levels: Tensor) -> Tensor:
        """Returns 8-bit pictures as the network's input."""
        return self.paper.to_input(levels.to(self.numbers.dtype) / 255)

    def rows(self, x: Tensor) -> Rows:
        """Returns inputs as rows of the case."""
        return self.case.vary(len(x), lambda s: (x[s],))

    def looked(self, step: int, levels: Tensor, values: Tensor) -> None:
        """Keeps each picture's best, and tells who listens."""
        values = values.detach().to("cpu", torch.float64)
        slack = APART if self.task.apart is not None else 0.0
        self.peak = torch.maximum(self.peak, values)
        better = (values > self.best) | (values >= self.peak - slack * self.peak.abs()) & (slack > 0)
        self.levels = torch.where(by_row(better, levels), levels, self.levels)
        self.best = torch.where(better, values, self.best)
        top, total = float(self.best.max()), float(self.best.mean())
        if not self.steps:
            self.gained = total
        self.idle = 0 if total > self.gained + GAIN * abs(self.gained) else self.idle + 1
        if self.idle == 0:
            self.gained, self.wakings = total, 0
        self.steps.append(step)
        self.activation.append(top)
        if self.task.on_frame is not None:
            self.task.on_frame(self.record("running"))

    def record(self, status: Status, notes: tuple[str, ...] = ()) -> Visualization:
        """Returns the best pictures so far."""
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
