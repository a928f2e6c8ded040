"""Leaderboard: how methods fared on many pictures, with intervals, ranks that these bear out, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import late
from .errors import UnknownNameError, nearest

LEAST = 6
"""Pictures that a difference needs: of five with the same sign, one time in sixteen all agree by chance."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `count` pictures with its 95% bootstrap interval; NaN where there is none."""

    mean: float
    low: float
    high: float
    count: int

    @property
    def few(self) -> bool:
        """Whether there are fewer than six pictures, too few to rank anything."""
        return self.count < LEAST

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies wholly on one side of zero, else 0; with fewer than six pictures always 0."""
        if self.few:
            return 0
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


@dataclass(frozen=True, slots=True)
class Cost:
    """What one map costs on average, without its measurement.

    forward, backward: rows that went through the model, and those that came back; each counts once, however many share
    a batch. seconds: the median over the pictures of the map's share of the time; see `Leaderboard`. memory: bytes
    that tensors of one row of its dearest kind of pass take at their peak, which is what the map needs at least; None
    where nothing was measured (a single picture, a fixed batch size, a GPU, a model outside torch).
    """

    forward: float
    backward: float
    seconds: float
    memory: float | None = None

    @property
    def megabytes(self) -> float:
        """The memory in millions of bytes; NaN where it is not known."""
        return math.nan if self.memory is None else self.memory / 1e6


@dataclass(frozen=True, slots=True)
class Band:
    """The mean of many curves with its 95% interval at each point."""

    fractions: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric that was asked for: `better` is "higher" or "lower"; protocol: how it measured, in its own words."""

    name: str
    title: str
    better: str
    units: str
    avoid: str = ""
    protocol: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """One method, at one layer, by one metric.

    entrant: its name in the table. control: True for maps that never saw the network. rank: None where nothing could
    be measured. behind: how far the leader of its rank is ahead, paired over the pictures that both have, positive
    means that the leader is better. gap: the same for the line above. chance: how far it is ahead of random maps.
    failed: pictures on which the map or its measurement failed.
    """

    entrant: str
    title: str
    layer: str | None
    metric: str
    rank: int | None
    value: Estimate
    failed: int
    control: bool = False
    cost: Cost | None = None
    behind: Estimate | None = None
    gap: Estimate | None = None
    chance: Estimate | None = None
    band: Band | None = None

    def against_random(self, words: tuple[str, str, str]) -> str:
        """Returns which of the words for better, no different and worse is true; none where there is no comparison."""
        if self.chance is None or not self.chance.count:
            return ""
        return words[1 - self.chance.sign]


@dataclass(frozen=True, slots=True)
class Score:
    """One number: what a metric says about one entrant's map of one picture; `error` in its place where it failed."""

    picture: str
    entrant: str
    metric: str
    value: float | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture that could not be opened, or an entrant's or metric's error on a picture; empty names mean all."""

    picture: str
    entrant: str
    metric: str
    error: str


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Methods x metrics over pictures, the best first for each metric.

    Ranks: lines are ordered by their means. The first has rank 1 and leads it. Each following line shares the rank as
    long as the 95% interval of its paired difference to the rank's leader includes zero, or fewer than six pictures
    have both; the first one for which this is not so leads the next rank, which is its place in the order. So lines
    share a rank where the pictures cannot tell them from its leader; the last of a rank may well differ from the last
    but one.
    Intervals hold for each comparison alone, not for all of them at once.

    Times: batches are shared by methods and pictures; each batch's time is divided among the rows in it, a row's among
    those who asked for it, and a method's own arithmetic is added. Memory is left out: within shared batches no method
    has a peak of its own.

    standings: by metric in the order asked for, then by place. pictures: names of those that were evaluated.
    """

    model: str
    measures: tuple[Measure, ...]
    standings: tuple[Standing, ...]
    scores: tuple[Score, ...]
    pictures: tuple[str, ...]
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, as they were asked for."""
        return tuple(measure.name for measure in self.measures)

    def __getitem__(self, metric: str) -> tuple[Standing, ...]:
        """Returns the lines of one metric, the best first."""
        if metric not in self.metrics:
            raise UnknownNameError(
                f"This leaderboard's metrics are {', '.join(self.metrics)}; given {metric!r}."
                + nearest(metric, self.metrics)
            )
        return tuple(line for line in self.standings if line.metric == metric)

    def plot(self, **options: Any) -> Any:
        """Returns a matplotlib figure of all means with their intervals; see `seewhy.render`."""
        return late.call("plot_leaderboard", self, **options)

    def save(self, path: str | Path) -> Path:
        """Writes the leaderboard and returns the path; the suffix says the form: .csv, .parquet, .json, .html or .png.

        .csv and .parquet hold the standings, one a line; .json everything, for `seewhy.load_leaderboard`.
        """
        written: Path = late.call("save_leaderboard", self, path)
        return written

    def _repr_html_(self) -> str:
        html: str = late.call("leaderboard_html", self)
        return html
