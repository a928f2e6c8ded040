"""Evidence: how maps fare at the deletion and insertion test, beside what chance gives on the same picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from . import late
from .metric import Curve, Measurement

Verdict: TypeAlias = Literal["holds", "weak", "no better than chance"]


@dataclass(frozen=True, slots=True)
class Randomization:
    """Rank correlation of a method's map with its map on networks whose weights were shuffled, by stage.

    insensitive: the stages whose weights the map does not depend on. skipped: why the check was not made, or empty.
    """

    correlations: Mapping[str, float] = field(default_factory=dict)
    insensitive: tuple[str, ...] = ()
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class MapEvidence:
    """What was found about one map.

    score: insertion minus deletion. percentile: the share of random maps that score lower, from 0 to 1. why: the
    verdict in one sentence. title: the method's name in prose.
    """

    score: float
    percentile: float
    verdict: Verdict
    why: str
    insertion: Measurement
    deletion: Measurement
    randomization: Randomization = field(default_factory=Randomization)
    title: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found about all maps of one picture and target.

    maps: by the method's name. chance: the scores of random smooth maps. edges: the score of a map that never saw the
    network. chance_insertion, chance_deletion: the mean curves of the random maps. agreement: rank correlations of
    pairs of maps. trusted: the method whose map holds and scores highest, None where none holds; `summary` says it in
    words.
    rows, budget: the passes that this took, and might take. notes: what was left out, and why.
    """

    maps: Mapping[str, MapEvidence]
    chance: tuple[float, ...]
    edges: float
    chance_insertion: Curve | None
    chance_deletion: Curve | None
    agreement: Mapping[tuple[str, str], float]
    trusted: str | None
    summary: str
    protocol: Mapping[str, Any]
    rows: int
    budget: int
    notes: tuple[str, ...] = ()

    @property
    def ranked(self) -> tuple[str, ...]:
        """The methods' names, the highest score first."""
        return tuple(sorted(self.maps, key=lambda name: -self.maps[name].score))

    def plot(self, **options: Any) -> Any:
        """Returns a matplotlib figure of the scores and the curves; see `seewhy.render`."""
        return late.call("plot_evidence", self, **options)

    def save(self, path: str | Path) -> Path:
        """Writes the figure and returns the path: .png, .svg or .pdf."""
        written: Path = late.call("save_evidence", self, path)
        return written
