"""KernelSHAP: the score's difference to a baseline, shared out fairly among the pieces of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core.attribution import Attribution
from ..core.method import Method, MethodInfo
from ..core.queries import resolve
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Target
from ..ops.baselines import BaselineSpec, check_baseline
from ..ops.seeds import generator
from ..ops.segments import SegmentSpec, check_segments
from ..ops.shapley import coalitions, draw_pairs, estimate, exact
from ..ops.statistics import relative_error
from .coalitions import Pieces
from .common import attribution, check_count, check_limit, standard_errors
from .path_integral import completeness_gap

PURPOSE = "kernel-shap"
ENUMERATED = 12
"""Up to so many pieces all coalitions are evaluated."""
PIECES = 50
"""Pieces of a picture where nothing is asked for."""
PIXELS = 4
"""The least pixels that a piece has by default."""


@dataclass(frozen=True, slots=True)
class KernelShap(Method):
    """Shapley value of each piece, signed; (N, *spatial), one value a piece.

    phi_i = sum over sets S of other pieces of |S|! (n - |S| - 1)! / n! (v(S and i) - v(S)), v(S) being the score with
    the pieces of S left and the others at the baseline; in units of the score. `segment_values` beside the map has
    the value of every piece; they sum to S(x) - S(baseline). `segments` says which piece each pixel lies in.

    segments: which elements are hidden together. None: pieces of like colour in pictures (SLIC asked for 50,
        which makes 10 to 40 of photographs); single features in vectors. A number asks for so many. A label map of the
        spatial shape, or a function from the picture (H, W, C) in 0..1 to one.
    baseline: what hides a piece: a name ("black", "zero", "white", "blur", "maximum-distance", "uniform",
        "gaussian"), "mean", which is the piece's own mean, a number, a tensor, or a list of these or a tensor
        (B, C, *spatial) of examples, over which the scores are averaged. None is black where the model's value range
        is known, else zero.
    samples: coalitions evaluated, for each baseline, rounded up to pairs. Up to 12 pieces all 2^n are evaluated
        instead, and the values are exact.
    tolerance: keep drawing blocks of `samples` until the errors' norm is below this share of the values' norm, or
        `max_samples` are drawn; None draws one block.

    Coalitions are drawn from Shapley's kernel with their complements, and the values fitted by least squares under
    the constraint of the sum, so that completeness holds whatever was drawn. The errors, and 95 % intervals in the
    diagnostics, are the sandwich estimator's over pairs (HC3); they are 0 where all coalitions were evaluated and
    infinite where fewer pairs were drawn than determine the values.

    Differences: shap.KernelExplainer evaluates the smallest and largest coalitions all, draws the rest, and has no
    errors; its default is a lasso that drops weak features. Up to 12 pieces both are exact.

    Reference: Lundberg, Lee, "A unified approach to interpreting model predictions", NeurIPS 2017, arXiv 1705.07874;
    Covert, Lee, "Improving KernelSHAP", AISTATS 2021, arXiv 2012.01536.
    """

    segments: SegmentSpec = None
    baseline: BaselineSpec | None = None
    samples: int = 2000
    tolerance: float | None = None
    max_samples: int = 20000

    info: ClassVar[MethodInfo] = MethodInfo(
        name="kernel-shap",
        family="perturbation",
        title="KernelSHAP",
        reduce="none",
        signed=True,
        units="score",
        needs=frozenset(),
        cost="2,000 forward (samples x baselines), and 2; up to 12 pieces 2 to the power of their number",
        reference="Lundberg and Lee 2017, arXiv 1705.07874",
        stochastic=True,
        avoid="Not with more pieces than a few hundred, nor without asking 'compared to what?': hidden pieces make "
        "inputs that nobody ever saw, and their scores enter.",
    )

    def __post_init__(self) -> None:
        check_segments(self.segments)
        if self.baseline is not None and not (isinstance(self.baseline, str) and self.baseline == "mean"):
            check_baseline(self.baseline)
        check_count("samples", self.samples, 2)
        check_count("max_samples", self.max_samples, 2)
        check_limit(self.tolerance, "samples", self.samples, self.max_samples)

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields coalitions until there are enough, and returns the values of the pieces."""
        target = yield from resolve(case, target)
        pieces = Pieces.of(case, self.segments, self.baseline, PIECES, PIXELS)
        if pieces.count <= ENUMERATED:
            worth = yield from pieces.worth(coalitions(pieces.count), target)
            shares = _Shares(exact(worth), torch.zeros_like(worth[: pieces.count]), worth[[0, -1]], len(worth))
        else:
            shares = yield from self._drawn(pieces, target)
        return self._result(pieces, target, shares)

    def _drawn(self, pieces: Pieces, target: Target) -> Flow[_Shares]:
        case, goal = pieces.case, self.tolerance
        last = self.samples if goal is None else self.max_samples
        both = torch.tensor([[False], [True]], device="cpu").expand(2, pieces.count)
        drawn, worth = both[:0], torch.zeros(0, dtype=torch.float64, device="cpu")
        ends = worth
        while True:
            block = min(self.samples, last - len(drawn))
            source = generator(case.seed, case.id, PURPOSE, len(drawn))
            new = draw_pairs(pieces.count, -(-block // 2), source)
            found = yield from pieces.worth(new if len(ends) else torch.cat([both, new]), target)
            if not len(ends):
                ends, found = found[:2], found[2:]
            drawn, worth = torch.cat([drawn, new]), torch.cat([worth, found])
            values, errors = estimate(drawn, worth, (float(ends[0]), float(ends[1])))
            shares = _Shares(values, errors, ends, len(drawn) + 2, len(drawn))
            if goal is None or shares.relative_error <= goal or len(drawn) >= last:
                return shares

    def _result(self, pieces: Pieces, target: Target, shares: _Shares) -> Attribution:
        difference = float(shares.ends[1] - shares.ends[0])
        about = pieces.fields(shares.values, shares.errors)
        found: dict[str, Any] = {
            **about["diagnostics"],
            "coalitions": shares.evaluated,
            "exact": shares.samples is None,
            "completeness_gap": completeness_gap(float(shares.values.sum()), difference),
            "score_difference": difference,
            "relative_error": shares.relative_error,
            "notes": tuple(pieces.notes(shares.samples)),
        }
        if shares.samples is not None:
            found["samples"] = shares.samples
        if self.tolerance is not None:
            found["converged"] = shares.relative_error <= self.tolerance
        return attribution(
            self,
            pieces.case,
            pieces.spread(shares.values),
            (target, shares.ends[1]),
            error=standard_errors(pieces.case, [part[0] for part in pieces.spread(shares.errors)]),
            **{**about, "diagnostics": found},
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Shares:
    """Values and errors (pieces,), the scores of baseline and input, and the coalitions evaluated and drawn.

    samples: None where nothing was left to chance.
    """

    values: Tensor
    errors: Tensor
    ends: Tensor
    evaluated: int
    samples: int | None = None

    @property
    def relative_error(self) -> float:
        """The errors' norm as a share of the values' norm."""
        return relative_error([(self.values, self.errors)])
