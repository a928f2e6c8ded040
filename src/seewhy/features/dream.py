"""DeepDream: a photograph redrawn, from small sizes to its own, until chosen layers respond strongly."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.errors import SettingError
from ..core.query import Chunk, Flow, Fold, Query, Record, ask
from ..core.rows import Case
from ..core.targets import Target
from ..core.visualization import Dream
from ..ops.seeds import generator
from ..ops.tiling import Tiling
from .canvas import Paper, to_levels


@dataclass(frozen=True, slots=True)
class Dreaming:
    """How to dream.

    octaves: sizes worked through, each `scale` times the one before, the last the photograph's own. steps: of each.
    rate: a step's mean change as a share of white less black. tile: the longest side of what is given to the network
    at once; margin: of each tile, whose gradient is left to its neighbours.
    """

    octaves: int = 4
    scale: float = 1.4
    steps: int = 10
    rate: float = 0.01
    tile: int = 512
    margin: int = 16

    def __post_init__(self) -> None:
        for name, least in (("octaves", 1), ("steps", 1), ("tile", 1), ("margin", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise SettingError(f"{name} must be a whole number of {least} or more; given {value!r}.")
        if self.tile <= 2 * self.margin:
            raise SettingError(f"tile must be larger than twice the margin of {self.margin}; given {self.tile}.")
        for name, above in (("scale", 1.0), ("rate", 0.0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not above < value < math.inf:
                raise SettingError(f"{name} must be a number above {above:g}; given {value!r}.")

    def sizes(self, size: tuple[int, int], least: int) -> list[tuple[int, int]]:
        """Returns the size of each octave, smallest first; those with a side below `least` pixels are left out."""
        factors = [self.scale**-back for back in reversed(range(self.octaves))]
        found = [(max(1, round(size[0] * factor)), max(1, round(size[1] * factor))) for factor in factors]
        return [item for item in found if min(item) >= least] or [size]


@dataclass(frozen=True, slots=True, eq=False)
class Wish:
    """What a dream is of. least: the smallest side of a picture that the network takes. on_frame: after each octave."""

    target: Target
    name: str
    how: Dreaming
    least: int = 1
    on_frame: Callable[[Dream], None] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Slope:
    """A gradient put together from tiles, (1, C, H, W), and the mean score of the tiles."""

    values: Tensor
    score: float


def dreaming(case: Case, wish: Wish) -> Flow[Dream]:
    """Returns the dream of a case's one picture.

    At each size the detail drawn so far, enlarged, is laid over the photograph shrunk to that size. Each step goes up
    the gradient divided by its mean absolute value. Tiles begin elsewhere in each step, so that no seam stays.

    Reference: Mordvintsev, Olah, Tyka, "Inceptionism: Going Deeper into Neural Networks", 2015.
    """
    paper, how = Paper.of(case), wish.how
    wish = replace(wish, notes=(*wish.notes, *paper.notes))
    original = paper.from_input(case.x[0])
    sizes = how.sizes((paper.shape[1], paper.shape[2]), wish.least)
    detail = torch.zeros_like(original)
    heard: list[float] = []
    dream = original
    for octave, size in enumerate(sizes):
        base = resized(original, size)
        dream = (base + resized(detail, size)).clamp(0, 1)
        for step in range(how.steps):
            draws = torch.rand(2, generator=generator(case.seed, "dream", octave, step), device="cpu").tolist()
            tiling = Tiling.of(size, how.tile, how.margin, (draws[0], draws[1]))
            slope = yield from ask(_slope(case, paper, dream, tiling, wish.target))
            heard.append(slope.score)
            size_of_slope = slope.values.abs().mean()
            if float(size_of_slope) > 0:
                dream = (dream + how.rate * slope.values / size_of_slope).clamp(0, 1)
        detail = dream - base
        made = _record(wish, (original, dream), (octave + 1, len(sizes)), heard)
        if wish.on_frame is not None:
            wish.on_frame(made)
    return made


def resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns a picture (1, C, H, W) at another size; averaged where it shrinks, linear where it grows."""
    if picture.shape[2:] == size:
        return picture
    return F.interpolate(picture, size, mode="bilinear", align_corners=False, antialias=True)


def _slope(case: Case, paper: Paper, picture: Tensor, tiling: Tiling, target: Target) -> Query[_Slope]:
    """Asks for the gradient at the picture, tile by tile; tiles are cut as a batch needs them, and added up at once."""
    rows = case.vary(len(tiling.starts), lambda s: (paper.to_input(tiling.cut(picture, s)),))

    def start() -> tuple[Tensor, Tensor, list[float]]:
        return torch.zeros_like(picture), picture.new_zeros(tiling.size), []

    def add(state: tuple[Tensor, Tensor, list[float]], s: slice, chunk: Chunk) -> tuple[Tensor, Tensor, list[float]]:
        assert chunk.score is not None
        tiling.join(chunk.input_gradient[0].to(picture), state[0], state[1], s)
        state[2].extend(chunk.score.tolist())
        return state

    def finish(state: tuple[Tensor, Tensor, list[float]]) -> _Slope:
        total, weight, heard = state
        return _Slope(total / weight.clamp(min=1) * (paper.high - paper.low), sum(heard) / len(heard))

    return Query(rows, target, Fold(start, add, finish), Record(input_gradient=True))


def _record(wish: Wish, pictures: tuple[Tensor, Tensor], octaves: tuple[int, int], heard: list[float]) -> Dream:
    """Returns the photograph and the dream so far; octaves: those done, and all."""
    original, drawn = (
        to_levels(picture)[0].cpu().expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy() for picture in pictures
    )
    settings = {**wish.settings, **asdict(wish.how)}
    done = octaves[0] == octaves[1]
    return Dream(drawn, original, wish.name, *octaves, tuple(heard), done, settings, wish.notes)
