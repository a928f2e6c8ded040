"""Expected gradients: integrated gradients averaged over baselines drawn from data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core.attribution import Attribution
from ..core.method import Method, MethodInfo
from ..core.queries import anchor, running, scores
from ..core.query import Chunk, Flow, Query, Record, ask_all
from ..core.rows import Case
from ..core.targets import Target
from ..ops.baselines import BaselineSpec, check_baseline
from ..ops.seeds import generator
from ..ops.statistics import relative_error
from ..ops.successive import Successive
from .common import absences, attribution, check_count, check_limit, standard_errors
from .path_integral import Path, completeness_gap

PURPOSE = "expected-gradients"
STAND_INS = 20
"""Draws of noise that stand in for data."""


@dataclass(frozen=True, slots=True)
class ExpectedGradients(Method):
    """Signed attributions that share out the score's difference to its mean over a background; (N, C, *spatial).

    E of (x - x') * dS/dx at x' + a (x - x'), over x' of the background and a uniform in (0, 1); in units of the
    score.

    background: examples (B, C, *spatial) as the network is fed, typical of the data; or, as for integrated
        gradients, names, numbers, or a list of these. None draws noise uniform in the model's range, and a note
        says so.
    samples: gradient evaluations. A background of up to `samples` examples is used evenly, `samples` being rounded
        up to a multiple of B; of a larger one a random subset, each example at most once.
    tolerance: keep drawing blocks of `samples` until the completeness gap, a share of the score difference, and the
        relative error, the error's norm as a share of the values' norm, are both at most this, or another block
        would exceed `max_samples`; None draws one block.

    The positions a of each example are one in each of its equal parts of (0, 1), at random inside (all examples
    share the parts where each has one position only). The standard error is taken from neighbouring positions, so
    that it does not count how much the examples differ: the background is what it is. Where each example has one
    position only it does count that, and is too large rather than too small.
    The gap |sum of attributions - score difference| / |score difference|, to the mean score of the examples used,
    is always in the diagnostics.

    Differences: the paper draws examples and positions independently; shap's GradientExplainer, too. Stratified
    positions have the same mean and a smaller error.

    Reference: Erion, Janizek, Sturmfels, Lundberg, Lee, "Improving performance of deep learning models with
    axiomatic attribution priors and expected gradients", Nature Machine Intelligence 3, 2021, arXiv 1906.10670.
    """

    background: BaselineSpec | None = None
    samples: int = 100
    tolerance: float | None = None
    max_samples: int = 1000

    info: ClassVar[MethodInfo] = MethodInfo(
        name="expected-gradients",
        family="gradient",
        title="Expected gradients",
        reduce="sum",
        signed=True,
        units="score",
        needs=frozenset({"gradient"}),
        cost="100 gradients (samples), and one forward for each background example",
        reference="Erion et al. 2021, arXiv 1906.10670",
        stochastic=True,
        avoid="Do not use it without examples of your data as background: the map answers 'compared to what?' with "
        "whatever the background holds.",
    )

    def __post_init__(self) -> None:
        if self.background is not None:
            check_baseline(self.background)
        check_count("samples", self.samples, 2)
        check_count("max_samples", self.max_samples, 2)
        check_limit(self.tolerance, "samples", self.samples, self.max_samples)

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields blocks of points between background and input until enough are drawn; returns the attribution."""
        target, score = yield from anchor(case, target)
        spec = ["uniform"] * STAND_INS if self.background is None else self.background
        path = Path(case, target, absences(spec, case))
        total = _Total(path, float(score))
        number = 0
        while True:
            block = _block(path, self.samples, number)
            new = [b for b in dict.fromkeys(block.which.tolist()) if b not in total.scores]
            asked = path.rows(torch.tensor(new, dtype=torch.long, device="cpu"), torch.zeros(len(new), device="cpu"))
            kept, known = yield from ask_all(_query(path, block), scores(asked, target))
            total.add(block, kept, dict(zip(new, known.tolist(), strict=True)))
            number += 1
            if self.tolerance is None or total.reached(self.tolerance):
                break
            if total.count + len(block.which) > self.max_samples:
                break
        return self._result(case, total, (target, score))

    def _result(self, case: Case, total: _Total, scored: tuple[Target, Tensor]) -> Attribution:
        diagnostics: dict[str, Any] = {
            "completeness_gap": total.gap,
            "relative_error": total.relative_error,
            "gradient_evaluations": total.count,
            "samples": total.count,
            "background": len(total.scores),
            "score_difference": total.difference,
        }
        if self.tolerance is not None:
            diagnostics["converged"] = total.reached(self.tolerance)
        if self.background is None:
            known = "the model's range" if case.facts.value_range else "the range of this input's own values"
            diagnostics["notes"] = (
                f"No background was given: {STAND_INS} draws of noise uniform in {known} stood in for it. Give "
                "examples of your data, as the network is fed: background=tensor (B, ...).",
            )
        values = tuple(part.mean[None] for part in total.kept)
        error = standard_errors(case, [part.standard_error for part in total.kept])
        return attribution(self, case, values, scored, error=error, diagnostics=diagnostics)


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Points to evaluate: numbers of background examples and positions (n,), each example's `each` in a row."""

    which: Tensor
    alphas: Tensor
    each: int


def _block(path: Path, samples: int, number: int) -> _Block:
    """Returns the points of one block; equal seeds give equal points."""
    examples = path.count
    draw = generator(path.case.seed, path.case.id, PURPOSE, number)
    if examples < samples:
        each = -(-samples // examples)
        which = torch.arange(examples, device="cpu").repeat_interleave(each)
        strata = torch.arange(each, device="cpu").repeat(examples)
    else:
        each = 1
        order = torch.randperm(
            examples, generator=generator(path.case.seed, path.case.id, PURPOSE, "background"), device="cpu"
        )
        which = order[torch.arange(number * samples, (number + 1) * samples, device="cpu") % examples]
        strata = torch.randperm(samples, generator=draw, device="cpu")
    jitter = torch.rand(len(which), generator=draw, dtype=torch.float64, device="cpu")
    return _Block(which, (strata + jitter) / (each if each > 1 else len(which)), each)


def _query(path: Path, block: _Block) -> Query[tuple[Successive, ...]]:
    """Asks for the moments of (x - x') times the gradient at the points, for each leaf."""

    def step(state: tuple[Successive, ...], rows: slice, chunk: Chunk) -> tuple[Successive, ...]:
        return tuple(
            kept.update(_distance(path, place, block.which[rows], gradient) * gradient)
            for place, (kept, gradient) in enumerate(zip(state, chunk.input_gradient, strict=True))
        )

    fold = running(lambda: tuple(Successive.empty(block.each) for _ in path.case.leaves), step)
    return Query(path.rows(block.which, block.alphas), path.target, fold, Record(input_gradient=True))


def _distance(path: Path, leaf: int, which: Tensor, like: Tensor) -> Tensor:
    """Returns x - x' (n, ...) of a leaf, on the device of `like`, in float64 where that device has it."""
    wide = torch.float32 if like.device.type == "mps" else torch.float64
    return path.case.x[leaf].to(like.device, wide) - path.start(leaf, which).to(like.device, wide)


@dataclass(slots=True)
class _Total:
    """What all blocks so far come to."""

    path: Path
    score: float
    kept: tuple[Successive, ...] = ()
    scores: dict[int, float] = field(default_factory=dict)
    uses: Counter[int] = field(default_factory=Counter)

    def add(self, block: _Block, kept: tuple[Successive, ...], scores: dict[int, float]) -> None:
        """Adds a block's moments and the scores of examples that were not known before."""
        self.kept = tuple(old.merge(new) for old, new in zip(self.kept, kept, strict=True)) if self.kept else kept
        self.scores |= scores
        self.uses.update(block.which.tolist())

    @property
    def count(self) -> int:
        """Points evaluated."""
        return self.kept[0].count

    @property
    def difference(self) -> float:
        """The score less the mean score of the examples, each as often as it was used."""
        used = sum(self.scores[number] * uses for number, uses in self.uses.items())
        return self.score - used / self.uses.total()

    @property
    def gap(self) -> float:
        """How far the attributions are from adding up, as a share of the score difference."""
        return completeness_gap(float(sum(part.mean.sum() for part in self.kept)), self.difference)

    @property
    def relative_error(self) -> float:
        """The error's norm as a share of the values' norm."""
        return relative_error((part.mean, part.standard_error) for part in self.kept)

    def reached(self, tolerance: float) -> bool:
        """True when both are at most the tolerance."""
        return self.gap <= tolerance and self.relative_error <= tolerance
