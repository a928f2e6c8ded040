"""ROAD: remove and debias. Removed places are imputed from their neighbours, so that holes give nothing away."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from ..core.errors import InputError, SettingError
from ..core.metric import Claim, Measurement, Metric, MetricInfo
from ..core.queries import scores
from ..core.query import Flow, ask_all
from ..core.rows import Case, Rows
from ..core.targets import Of, Target
from ..methods.common import check_choice, check_positive
from ..methods.hiding import fingerprint
from ..ops.imputation import linear_imputation
from ..ops.noise import gaussian_rows
from ..ops.segments import spatial
from .common import TIES, check_scale, explained, measurement, on_scale
from .places import Ordered

Order: TypeAlias = Literal["combined", "most-relevant-first", "least-relevant-first"]
MOST, LEAST = "most-relevant-first", "least-relevant-first"


@dataclass(frozen=True, slots=True)
class Road(Metric):
    """How much more the score falls without the highest places than without the lowest, halved; high is good.

    Mean over percentiles p of (S(x without its lowest 100 - p %) - S(x without its highest 100 - p %)) / 2, in units of
    the score. Removed places become the weighted mean of their neighbours, with some noise.

    percentiles: of the map, above which places are removed, each between 0 and 100; of its negative for the lowest.
    order: "combined" as above; "most-relevant-first": the mean of S(x) - S(x without the highest); or
        "least-relevant-first": the mean of S(x without the lowest) - S(x), seldom above 0. High is good in all.
    noise: standard deviation of the noise on imputed values, in units of the network's input.
    of: the scale of the score; where the output has no probability, the model's own score.

    Equal values are removed in random order. Pictures, signals and volumes; several inputs are ranked together.

    Differences: equal to pytorch-grad-cam's ROADCombined without noise and ties, whose percentiles are 10, 20, ..., 90
    and whose noise has no seed; with ties it removes all places at the threshold, be it the whole map. Its
    ROADMostRelevantFirst is S(x without) - S(x), the other way round.

    Reference: Rong, Leemann, Borisov, Kasneci, Kasneci, "A Consistent and Efficient Evaluation Strategy for
    Attribution Methods", ICML 2022, arXiv 2202.00449.
    """

    percentiles: tuple[float, ...] = (20, 40, 60, 80)
    order: Order = "combined"
    noise: float = 0.01
    of: Of = "probability"

    info: ClassVar[MetricInfo] = MetricInfo(
        name="road",
        title="ROAD",
        better="higher",
        units="score",
        cost="9 forward (percentiles of both orders, and the picture), and as many sparse systems",
        reference="Rong et al. 2022, arXiv 2202.00449",
        stochastic=True,
        avoid="Not for vectors, whose features have no neighbours; smooth parts are imputed so well that removing them "
        "costs nothing.",
    )

    def __post_init__(self) -> None:
        good = isinstance(self.percentiles, tuple) and self.percentiles
        if not good or not all(isinstance(p, (int, float)) and 0 < p < 100 for p in self.percentiles):
            raise SettingError(
                f"percentiles takes a tuple of numbers between 0 and 100, both excluded; given {self.percentiles!r}."
            )
        check_choice("order", self.order, ("combined", MOST, LEAST))
        check_positive("noise", self.noise, zero=True)
        check_scale(self.of)

    def flow(self, case: Case, target: Target, claim: Claim) -> Flow[Measurement]:
        """Yields the input and its copies with imputed places, and returns how their scores differ."""
        places = Ordered.of(case, claim)
        if any(leaf.dim() < 3 for leaf in case.x[: len(places.cells)]):
            raise InputError(
                "road fills in removed places from their neighbours, so it needs (N, C, *spatial); the features of a "
                "vector have none. Use deletion."
            )
        orders = (MOST, LEAST) if self.order == "combined" else (self.order,)

        def run(scored: Target) -> Flow[tuple[Tensor, ...]]:
            rows = [case.rows(), *(self._rows(places, order) for order in orders)]
            return (yield from ask_all(*(scores(part, scored) for part in rows)))

        (whole, *found), scored = yield from on_scale(explained(target, claim), self.of, run)
        details = {"score": float(whole)}
        for order, values in zip(orders, found, strict=True):
            details |= {f"{order} {p:g}": float(value) for p, value in zip(self.percentiles, values, strict=True)}
        gains = {order: float((values - whole).mean()) for order, values in zip(orders, found, strict=True)}
        value = (gains.get(LEAST, 0.0) - gains.get(MOST, 0.0)) / len(orders)
        protocol = {
            "baseline": "noisy linear imputation",
            "noise": self.noise,
            "order": self.order,
            "percentiles": self.percentiles,
            "unit": "place",
            "ties": TIES,
        }
        return measurement(self, value, scored, protocol, details=details)

    def _rows(self, places: Ordered, order: str) -> Rows:
        """Rows without the places beyond each percentile."""
        case, total = places.case, places.places
        removed = [removed_at(p, total) for p in self.percentiles]
        rank = places.rank if order == MOST else total - 1 - places.rank

        def build(rows: slice) -> tuple[Tensor, ...]:
            numbers = range(len(removed))[rows]
            built = [self._without(case, rank, places, removed[number], (order, number)) for number in numbers]
            return tuple(torch.cat(leaf) for leaf in zip(*built, strict=True))

        key = ("road", fingerprint(rank), places.cells, tuple(removed), order, self.noise, case.seed)
        return case.vary(len(removed), build, key)

    def _without(
        self, case: Case, rank: Tensor, places: Ordered, removed: int, row: tuple[str, int]
    ) -> tuple[Tensor, ...]:
        parts = torch.split(rank, [math.prod(cells) for cells in places.cells])
        new = list(case.x)
        for place, part in enumerate(parts):
            leaf = case.x[place]
            gone = (part < removed).reshape(spatial(leaf))
            if not bool(gone.any()):
                continue
            filled = linear_imputation(leaf, gone)
            if self.noise:
                purpose, rows = f"road {row[0]} {case.leaves[place]}", range(row[1], row[1] + 1)
                drawn = gaussian_rows(leaf.shape[1:], rows, seed=case.seed, case_id=case.id, purpose=purpose)
                filled = filled + self.noise * drawn.to(leaf.device, leaf.dtype) * gone.to(leaf.device)
            new[place] = filled
        return tuple(new)


def removed_at(percentile: float, places: int) -> int:
    """Returns how many of so many different values are at or above a percentile (by linear interpolation)."""
    return places - math.ceil(percentile * (places - 1) / 100 - 1e-9)
