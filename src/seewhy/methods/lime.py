"""LIME: the weights of a linear model of the score in which pieces of the input are there or hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from ..core.attribution import Attribution
from ..core.method import Method, MethodInfo
from ..core.queries import resolve
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Target
from ..ops.baselines import BaselineSpec, check_baseline
from ..ops.ridge import Fit, ridge
from ..ops.seeds import generator
from ..ops.segments import PIECES, SegmentSpec, check_segments
from .coalitions import Pieces
from .common import attribution, check_choice, check_count, check_positive, standard_errors

PURPOSE = "lime"
ALPHA = 1.0
"""The ridge of the model that is reported."""
CHOOSING = 0.01
"""The ridge of the model that the strongest pieces are chosen by."""
LOOSE = 0.3
"""Below this R^2 the linear model says little about the network."""
PIXELS = 16
"""The least pixels that a piece has by default: the mean colour of fewer hides little."""

Signs = Literal["both", "positive", "negative"]


@dataclass(frozen=True, slots=True)
class Lime(Method):
    """Weight of each piece in a linear model of the score around the input, signed; (N, *spatial), one value a piece.

    b and c minimise sum_i w_i (S_i - c - z_i b)^2 + |b|^2 over samples z_i of pieces left (1) or hidden (0), each
    hidden with probability 1/2 (the first sample is the input itself); w = exp(-d^2 / (2 kernel_width^2)) with the
    cosine distance d of z to all ones. In units of the score; of="probability" explains the probability.
    `segment_values` beside the map has the weight of every piece, `segments` says which piece each pixel lies in.

    segments: which elements are hidden together. None: pieces of like colour in pictures (SLIC asked for 200, with
        compactness 1 and sigma 1; it joins small ones, so that photographs have 30 to 150), fewer in small ones, so
        that a piece has about 16 pixels or more; single features in vectors. A number asks for so many. A label map of
        the spatial shape, or a function from the picture (H, W, C) in 0..1.
    baseline: what hides a piece. "mean": its own mean colour. Or a name ("black", "zero", "white", "blur",
        "maximum-distance", "uniform", "gaussian"), a number, a tensor, or a list of these, over which scores are
        averaged. None is "mean" in pictures and volumes, and in other inputs black where the model's value range is
        known, else zero.
    samples: inputs evaluated, for each baseline. kernel_width: how fast samples with more hidden count less.
    num_features: keep that many pieces, those of the largest weights in a first fit with a ridge of 0.01, and fit
        again on them; None keeps all. min_weight: pieces with a smaller magnitude are left out of the map.
    signs: which pieces the map shows, "both", "positive" or "negative".

    The errors, and 95 % intervals in the diagnostics, are the sandwich estimator's of the ridge estimate (HC3): they
    say how far another seed would lead away, and allow for a score that is no linear function of the pieces. They are
    0 where the map shows nothing. `r2` is the weighted share of the spread that the linear model explains,
    `local_prediction` what it predicts for the input, to be compared with `score`.

    Differences: the lime package draws by a global generator, takes probabilities and has no errors; given its pieces
    and samples the weights are equal. The paper hides by grey, the package by the mean colour.

    Reference: Ribeiro, Singh, Guestrin, "'Why should I trust you?' Explaining the predictions of any classifier",
    KDD 2016, arXiv 1602.04938; SLIC: Achanta et al., IEEE PAMI 34, 2012.
    """

    segments: SegmentSpec = None
    baseline: BaselineSpec | None = None
    samples: int = 1000
    kernel_width: float = 0.25
    num_features: int | None = None
    min_weight: float = 0.0
    signs: Signs = "both"

    info: ClassVar[MethodInfo] = MethodInfo(
        name="lime",
        family="perturbation",
        title="LIME",
        reduce="none",
        signed=True,
        units="score",
        needs=frozenset(),
        cost="1,000 forward (samples x baselines)",
        reference="Ribeiro et al. 2016, arXiv 1602.04938",
        stochastic=True,
        avoid="Not where R² is low: then no linear model of the pieces describes the network, and the weights are "
        "those of a wrong one. Other pieces or another fill give another answer.",
    )

    def __post_init__(self) -> None:
        check_segments(self.segments)
        if self.baseline is not None and not (isinstance(self.baseline, str) and self.baseline == "mean"):
            check_baseline(self.baseline)
        check_count("samples", self.samples, 2)
        check_positive("kernel_width", self.kernel_width)
        if self.num_features is not None:
            check_count("num_features", self.num_features)
        check_positive("min_weight", self.min_weight, zero=True)
        check_choice("signs", self.signs, get_args(Signs))

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields the samples and returns the weights of the linear model."""
        target = yield from resolve(case, target)
        pictures = all(leaf.dim() > 3 for leaf in case.x)
        fill = "mean" if self.baseline is None and pictures else self.baseline
        pieces = Pieces.of(case, self.segments, fill, PIECES, PIXELS)
        keep = draw(pieces.count, self.samples, case.seed, case.id)
        worth = yield from pieces.worth(keep, target)
        return self._result(pieces, target, self._fit(keep, worth))

    def _fit(self, keep: Tensor, worth: Tensor) -> _Model:
        weights = proximity(keep, self.kernel_width)
        used = torch.arange(keep.shape[1], device="cpu")
        if self.num_features is not None and self.num_features < len(used):
            first = ridge(keep, worth, weights, CHOOSING).coefficients.abs()
            used = first.argsort(descending=True, stable=True)[: self.num_features].sort().values
        fit = ridge(keep[:, used], worth, weights, ALPHA)
        nothing = torch.zeros(keep.shape[1], dtype=torch.float64, device="cpu")
        model, errors = (nothing.index_copy(0, used, part) for part in (fit.coefficients, fit.errors))
        return _Model(model, errors, fit, worth[0], float(fit.predict(keep[:1, used])))

    def _result(self, pieces: Pieces, target: Target, model: _Model) -> Attribution:
        case, shown, fit = pieces.case, self._shown(model.weights), model.fit
        about = pieces.fields(model.weights, model.errors)
        notes = pieces.notes(self.samples)
        if fit.r2 < LOOSE:
            notes.append(
                f"warning: R² is {fit.r2:.2f}: the linear model explains little of what the network does around this "
                "input. Do not rely on the weights; try fewer segments, another baseline, or another method."
            )
        found: dict[str, Any] = {
            **about["diagnostics"],
            "samples": self.samples,
            "r2": fit.r2,
            "intercept": fit.intercept,
            "local_prediction": model.predicted,
            "score": float(model.score),
            "pieces_shown": int(shown.sum()),
            "notes": tuple(notes),
        }
        values, errors = (pieces.spread(torch.where(shown, part, 0.0)) for part in (model.weights, model.errors))
        return attribution(
            self,
            case,
            values,
            (target, model.score),
            error=standard_errors(case, [part[0] for part in errors]),
            **{**about, "diagnostics": found},
        )

    def _shown(self, weights: Tensor) -> Tensor:
        """Returns which pieces the map shows."""
        sided = {"both": weights != 0, "positive": weights > 0, "negative": weights < 0}[self.signs]
        return sided & (weights.abs() >= self.min_weight)


@dataclass(frozen=True, slots=True, eq=False)
class _Model:
    """Weights and errors (pieces,), 0 for pieces not in the fit; the input's score, and what is predicted for it."""

    weights: Tensor
    errors: Tensor
    fit: Fit
    score: Tensor
    predicted: float


def draw(pieces: int, samples: int, seed: int, case_id: str) -> Tensor:
    """Returns which pieces are left in each sample, bool (samples, pieces): all in the first, else half of them."""
    source = generator(seed, case_id, PURPOSE)
    keep = torch.randint(0, 2, (samples, pieces), generator=source, dtype=torch.uint8, device="cpu").bool()
    keep[0] = True
    return keep


def proximity(keep: Tensor, width: float) -> Tensor:
    """Returns exp(-d^2 / (2 width^2)) with the cosine distance d of each row to all ones; with none left d is 1."""
    distance = 1 - keep.double().mean(1).sqrt()
    weights: Tensor = torch.exp(-((distance / width) ** 2) / 2)
    return weights
