"""Filters: what each channel of one layer answers to, by pictures, by statistics, and by the classes it speaks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import late
from .errors import UnknownNameError
from .explanation import Answer

Picture: TypeAlias = NDArray[np.uint8]
Numbers: TypeAlias = NDArray[np.float32]
Box: TypeAlias = tuple[int, int, int, int]
State: TypeAlias = Literal["", "dead", "constant"]


@dataclass(frozen=True, slots=True, eq=False)
class Excerpt:
    """One picture as a channel answers to it.

    mean, maximum: of the channel's map; both are the value itself where the layer has no map. place: (row, column) of
    the largest value, None without a map. box: (top, left, bottom, right) of what the unit there sees, in pixels of
    the upright photograph, or of the tensor. crop: that part, (h, w, 3), None where it was not kept. mark: where in
    the crop the unit's gradient lies, as shares of height and width; None where the crop is no more than that.
    """

    picture: str
    mean: float
    maximum: float
    place: tuple[int, int] | None = None
    box: Box | None = None
    crop: Picture | None = None
    mark: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """The pictures that excite a channel most, the strongest first, and least, the weakest first."""

    most: tuple[Excerpt, ...]
    least: tuple[Excerpt, ...]


@dataclass(frozen=True, slots=True)
class Statistics:
    """A channel over all pictures.

    mean: of its values. maximum: mean of the maps' maxima. low, high: its smallest and largest value. active: share of
    its values above zero.
    """

    mean: float
    maximum: float
    low: float
    high: float
    active: float


@dataclass(frozen=True, slots=True, eq=False)
class Filter:
    """One channel. state: "dead" if it is 0 everywhere, "constant" if it never changes.

    image: what drives it, (H, W, 3), where that was made; driven: the mean of its map there.
    """

    index: int
    statistics: Statistics
    state: State
    by_maximum: Ranked
    by_mean: Ranked
    image: Picture | None = None
    driven: float | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """What a unit sees of the model's input, as (down, across) in the input's pixels.

    start: the first pixel that the unit in row 0 and column 0 sees; below 0 in the padding. size: how many it sees.
    stride: pixels from one unit to the next. inner_start, inner_size: the middle 90% of its gradient. whole: the unit
    was seen to reach both borders, so that size is no more than a lower bound.
    """

    start: tuple[float, float]
    size: tuple[float, float]
    stride: tuple[float, float]
    inner_start: tuple[float, float]
    inner_size: tuple[float, float]
    whole: tuple[bool, bool]

    def box(self, place: tuple[int, int], size: tuple[int, int], *, inner: bool = False) -> tuple[float, ...]:
        """Returns (top, left, bottom, right) of what a unit sees of an input of this (height, width)."""
        starts, lengths = (self.inner_start, self.inner_size) if inner else (self.start, self.size)
        low, high = [0.0, 0.0], [float(size[0]), float(size[1])]
        for axis in (0, 1):
            if inner or not self.whole[axis]:
                first = starts[axis] + place[axis] * self.stride[axis]
                low[axis] = min(max(first, 0.0), size[axis] - 1.0)
                high[axis] = max(min(first + lengths[axis], float(size[axis])), low[axis] + 1.0)
        return (*low, *high)


@dataclass(frozen=True, slots=True)
class Voice:
    """One class that a channel speaks for, or against: weight, and weight times the channel's mean pooled value."""

    index: int
    label: str
    weight: float
    contribution: float


@dataclass(frozen=True, slots=True, eq=False)
class Speech:
    """The linear layer behind the pooled layer: score = sum over channels of weight times pooled value, plus bias.

    pooling: "average", "maximum", "sum", or "none" where the layer is pooled already. weights: (classes, channels of
    this record). pooled: (channels,), the mean over the pictures. labels: of all classes.
    """

    head: str
    pooling: str
    weights: Numbers
    bias: Numbers
    pooled: Numbers
    labels: tuple[str, ...]

    def voices(self, place: int, count: int = 5, *, against: bool = False) -> tuple[Voice, ...]:
        """Returns the classes with the largest weights for the channel at this place of the record; only positive ones.

        against: those with the most negative weights.
        """
        column = self.weights[:, place]
        signed = -column if against else column
        best = np.argsort(-signed, kind="stable")[:count]
        return tuple(
            Voice(int(one), self.labels[one], float(column[one]), float(column[one] * self.pooled[place]))
            for one in best
            if signed[one] > 0
        )


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """The layer on one picture: the first that could be read.

    view: what the model saw. maps: (channels, rows, columns), one cell where the layer has no places. mean, maximum:
    (channels,). answer: the model's top class and its score. contributions: (channels,) to that score, weight times
    pooled value; with `bias` and the channels that were left out they are the score.
    """

    picture: str
    view: Picture | None
    maps: Numbers
    mean: Numbers
    maximum: Numbers
    answer: Answer | None = None
    contributions: Numbers | None = None
    bias: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Filters:
    """What the channels of one layer answer to.

    size: the layer's output for one picture. channels: how many the layer has. mapped: False where it has no places.
    receptive: what a unit sees, None where that is the whole picture or not known; receptive_words says which, and how
    it was found. speech: what the channels say to the classes; silence: why that is not known. pictures: how many were
    read; failures: (name, reason) of the others.
    """

    model: str
    layer: str
    size: tuple[int, ...]
    channels: int
    mapped: bool
    filters: tuple[Filter, ...]
    example: Example
    pictures: int
    receptive: Field | None = None
    receptive_words: str = ""
    speech: Speech | None = None
    silence: str = ""
    failures: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, channel: int) -> Filter:
        """Returns the filter with this channel number; raises UnknownNameError where it was not asked for."""
        for one in self.filters:
            if one.index == channel:
                return one
        held = ", ".join(str(one.index) for one in self.filters[:8]) + (", …" if len(self.filters) > 8 else "")
        raise UnknownNameError(f"These filters are channels {held} of layer {self.layer!r}; given {channel!r}.")

    def __len__(self) -> int:
        return len(self.filters)

    def plot(self, **options: Any) -> Any:
        """Returns a matplotlib figure: each channel's map on the example, of few channels with their pictures."""
        return late.call("plot_filters", self, **options)

    def save(self, path: str | Path) -> Path:
        """Writes the filters and returns the path.

        .html: an atlas to browse offline. .png: the sheet. .csv: a line a channel. .npz, .json: all, to load again.
        """
        written: Path = late.call("save_filters", self, path)
        return written

    def _repr_html_(self) -> str:
        html: str = late.call("filters_html", self)
        return html
