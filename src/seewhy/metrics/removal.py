"""Deletion and insertion: one score curve while places are exchanged in the order of the map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor

from ..core.errors import SettingError, UnknownNameError, nearest
from ..core.metric import Claim, Curve, Measurement, Metric
from ..core.queries import scores
from ..core.query import Flow, ask_all
from ..core.rows import Case
from ..core.targets import Of, Target
from ..methods.common import check_choice, check_count
from .common import TIES, check_scale, explained, measurement, on_scale
from .places import Grid, Ordered, step_counts, whole
from .substitutes import Substitutes, SubstituteSpec, check_substitute, substitutes

Area: TypeAlias = Literal["trapezoid", "even", "right"]
R = TypeVar("R", bound="Removal")

AT = 0.064
"""Share of the places at which the score is looked up, too."""

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "rise": {"steps": 224, "area": "even", "grid": "chunks-up", "baseline": ("zero", "rise-blur")},
    "i-gos": {
        "steps": 50,
        "area": "right",
        "grid": "chunks-down",
        "resolution": 28,
        "baseline": ("i-gos-blur", "i-gos-blur"),
    },
    "torchcam": {"steps": 20, "grid": "chunks-up", "baseline": ("zero", "zero")},
    "xplique": {"steps": 10, "area": "even", "grid": "down", "baseline": ("zero", "zero")},
}
"""Protocols in use, by name; of the two baselines one is deletion's and one insertion's."""


@dataclass(frozen=True, slots=True)
class Removal(Metric):
    """What deletion and insertion share; see there."""

    steps: int = 28
    baseline: SubstituteSpec = None
    of: Of = "probability"
    area: Area = "trapezoid"
    resolution: int | None = None
    grid: Grid = "nearest"

    inserts: ClassVar[bool]

    def __post_init__(self) -> None:
        check_count("steps", self.steps)
        check_scale(self.of)
        check_choice("area", self.area, ("trapezoid", "even", "right"))
        check_choice("grid", self.grid, ("nearest", "down", "chunks-up", "chunks-down"))
        check_substitute(self.baseline)
        if self.resolution is not None:
            check_count("resolution", self.resolution)

    @classmethod
    def preset(cls: type[R], name: str) -> R:
        """Returns the settings of a protocol in use: "rise", "i-gos", "torchcam" or "xplique".

        "rise": 224 steps (one row of 224 x 224 pixels each) to 0 in the network's input, or from a blur of 11 x 11;
            area by equal steps. "i-gos": ranked on 28 x 28 cells, about 50 steps against a blur of 51 x 51, mixed
            softly at the cells' borders; the area is the mean of the scores after each step. "torchcam": 20 steps,
            zero for both, trapezoids. "xplique": 10 steps, 0 for both, area by equal steps.

        Differences: scores are probabilities everywhere, while torchcam and xplique take what the model returns
        unless told otherwise, and equal values are exchanged in random order, not in raster order or its reverse.
        RISE's code is for 224 x 224 pixels; other sizes have 224 steps here, too. I-GOS's published code adds the
        number of remaining cells in the place of the last chunk's score (at 28 x 28 up to 0.005); its plots show
        another area, divided by one point too many. Both are what they were meant to be here. For I-GOS's other
        resolutions use dataclasses.replace(..., resolution=224).

        Raises UnknownNameError for other names.
        """
        if name not in PRESETS:
            raise UnknownNameError(
                f"A protocol is one of {', '.join(PRESETS)}; given {name!r}." + nearest(name, PRESETS)
            )
        chosen = dict(PRESETS[name])
        chosen["baseline"] = chosen["baseline"][cls.inserts]
        return cls(**chosen)

    def flow(self, case: Case, target: Target, claim: Claim) -> Flow[Measurement]:
        """Yields the input, its copies along the way and the substitute, and returns the area under their scores."""
        places = Ordered.of(case, claim, self.resolution)
        substitute = substitutes(self.baseline, case, blurred=self.inserts)
        counts = step_counts(places.places, self.steps, self.grid)

        def run(scored: Target) -> Flow[Tensor]:
            return (yield from self._scores(places, substitute, counts, scored))

        found, scored = yield from on_scale(explained(target, claim), self.of, run)
        curve = Curve(torch.tensor(counts, dtype=torch.float64, device="cpu") / places.places, found)
        details = {
            f"score_at_{AT:g}": curve.at(AT),
            "start": float(found[0]),
            "end": float(found[-1]),
        }
        protocol = self._protocol(places, substitute, len(counts) - 1)
        return measurement(self, area(curve, self.area), scored, protocol, curve=curve, details=details)

    def _scores(self, places: Ordered, substitute: Substitutes, counts: list[int], target: Target) -> Flow[Tensor]:
        """Returns the score at each point, (points,); the mean over several substitutes."""
        ends = (substitute, None) if self.inserts else (None, substitute)
        between = places.rows(counts[1:-1], *ends)
        asked = [places.case.rows(), whole(places.case, substitute), *([between] if between.count else [])]
        own, empty, *rest = yield from ask_all(*(scores(rows, target) for rows in asked))
        middle = [part.reshape(-1, substitute.count).mean(1) for part in rest]
        first, last = (empty.mean()[None], own) if self.inserts else (own, empty.mean()[None])
        return torch.cat([first, *middle, last])

    def _protocol(self, places: Ordered, substitute: Substitutes, steps: int) -> dict[str, Any]:
        unit = "place" if self.resolution is None else f"cell of {' and '.join(_product(c) for c in places.cells)}"
        protocol: dict[str, Any] = {
            "baseline": substitute.name,
            "unit": unit,
            "units": places.places,
            "steps": steps,
            "grid": self.grid,
            "area": self.area,
            "order": "highest first",
            "ties": TIES,
        }
        left = len(places.case.x) - len(places.cells)
        return protocol | ({"inputs_left_whole": left} if left else {})


def area(curve: Curve, rule: Area) -> float:
    """Returns the area under a curve: by trapezoids over the true fractions, by trapezoids of equal width ("even"),
    or as the mean of the scores after each step, weighted by the step ("right"). One point is its own area.
    """
    if len(curve.scores) < 2:
        return float(curve.scores[0])
    widths = curve.fractions.diff()
    if rule == "right":
        return float((curve.scores[1:] * widths).sum())
    heights = (curve.scores[1:] + curve.scores[:-1]) / 2
    return float(heights.mean() if rule == "even" else (heights * widths).sum())


def _product(cells: tuple[int, ...]) -> str:
    return " x ".join(map(str, cells))


def check_removal(name: str, value: object, kind: type[Removal]) -> None:
    """Raises SettingError unless a setting is a measure of this kind."""
    if not isinstance(value, kind):
        raise SettingError(f"{name} takes a {kind.__name__}(...); given {value!r}.")
