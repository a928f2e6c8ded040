"""What a text's attribution is worth: the score as its best words are removed, or left alone, beside random orders."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Target
from ..methods.coalitions import Pieces
from ..ops.seeds import generator
from .fitting import Fit

BINS = (0.01, 0.05, 0.1, 0.2, 0.5)
"""The shares of a text that ERASER removes and leaves."""
STEPS = 10
"""Points of a curve behind the first; fewer where there are fewer words."""
PURPOSE = "random-orders"


@dataclass(frozen=True, slots=True)
class Course:
    """How the score went along one order of the pieces.

    fractions: shares of the text, (k,). insertion: with only that share of the best pieces left; deletion: with it
    removed; (k,) each. comprehensiveness, sufficiency: ERASER's, means over its shares.
    """

    fractions: Tensor
    insertion: Tensor
    deletion: Tensor
    comprehensiveness: float
    sufficiency: float

    @property
    def areas(self) -> tuple[float, float]:
        """The areas under the curves of insertion and of deletion."""
        first, second = (float(torch.trapezoid(curve, self.fractions)) for curve in (self.insertion, self.deletion))
        return first, second


def ranked(values: Tensor) -> tuple[int, ...]:
    """Returns pieces by value, the largest first; of equals the earlier one."""
    return tuple(values.argsort(descending=True, stable=True).tolist())


def random_orders(pieces: int, count: int, seed: int, case_id: str) -> list[tuple[int, ...]]:
    """Returns orders of the pieces drawn evenly; each depends on the seed, the case and its number only."""
    return [
        tuple(torch.randperm(pieces, generator=generator(seed, case_id, PURPOSE, number), device="cpu").tolist())
        for number in range(count)
    ]


def courses(
    case: Case, target: Target, fit: Fit, orders: Mapping[str, Sequence[int]]
) -> Flow[tuple[dict[str, Course], int]]:
    """Returns the course of each order, and how many different inputs that took.

    comprehensiveness = mean over shares q of S(x) - S(x without its best q), sufficiency that of S(x) - S(its best q
    alone), both with 0 for q = 0 among them; q is rounded up to whole pieces. An absent piece is the fit's baseline.

    Reference: DeYoung et al., "ERASER", ACL 2020, arXiv 1911.03429, sec. 4 and its appendix on aggregates (AOPC);
    Petsiuk et al., "RISE", BMVC 2018, arXiv 1806.07421, for the curves.
    """
    count = int(fit.numbers.max()) + 1
    points = _points(count)
    asked = sorted({*points, *(_share(q, count) for q in BINS)})
    rows: dict[frozenset[int], int] = {}
    for order in orders.values():
        for size in asked:
            rows.setdefault(frozenset(order[:size]), len(rows))
            rows.setdefault(frozenset(order[size:]), len(rows))
    keep = torch.zeros(len(rows), count, dtype=torch.bool, device="cpu")
    for kept, row in rows.items():
        keep[row, list(kept)] = True
    labels = fit.numbers.clamp(min=0)
    pieces = Pieces(case, (labels,), (fit.absent.to(case.x[0].dtype),), count)
    scores = yield from pieces.worth(keep, target)
    whole = float(scores[rows[frozenset(range(count))]])

    def course(order: Sequence[int]) -> Course:
        left = {size: float(scores[rows[frozenset(order[:size])]]) for size in asked}
        gone = {size: float(scores[rows[frozenset(order[size:])]]) for size in asked}
        sizes = [_share(q, count) for q in BINS]
        return Course(
            torch.tensor(points, dtype=torch.float64) / count,
            torch.tensor([left[size] for size in points], dtype=torch.float64),
            torch.tensor([gone[size] for size in points], dtype=torch.float64),
            sum(whole - gone[size] for size in sizes) / (len(sizes) + 1),
            sum(whole - left[size] for size in sizes) / (len(sizes) + 1),
        )

    return {name: course(order) for name, order in orders.items()}, len(rows)


def _points(count: int) -> list[int]:
    steps = min(STEPS, count)
    return sorted({round(count * step / steps) for step in range(steps + 1)})


def _share(share: float, count: int) -> int:
    return min(count, math.ceil(share * count))
