"""Infidelity: how well the map foretells what changes of the input do to the score."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from ..core.errors import SettingError
from ..core.metric import Claim, Measurement, Metric, MetricInfo
from ..core.queries import scores
from ..core.query import Flow, ask_all
from ..core.rows import Case
from ..core.targets import Target
from ..methods.common import check_choice, check_count, check_positive
from ..ops.noise import gaussian_rows, uniform_rows
from ..ops.segments import spatial
from .common import explained, finite_maps, measurement
from .substitutes import Substitutes, SubstituteSpec, check_substitute, substitutes

Perturbation: TypeAlias = Literal["square", "noise"]
PER_INPUT = "score per unit of input"
PORTION = 32


@dataclass(frozen=True, slots=True)
class Infidelity(Metric):
    """Mean squared error with which the map foretells how the score changes, in (units of the score)²; low is good.

    E over changes I of (beta sum_i I_i phi_i - (S(x) - S(x - I)))². Details have its standard error, the factor beta
    and the share of the score changes' mean square that the map does not explain.

    perturbation: "square" puts the baseline into one random square (box, segment) of each input, or into random
        features of a vector; "noise" takes normal noise away from all elements.
    side: of the square, as a share of each axis; of a vector, the share of features.
    deviation: of the noise, in units of the network's input.
    baseline: as of `Deletion`.
    samples: changes drawn.
    scale: whether beta is the factor that makes the error least, E(a d) / E(a²), a and d being the foretold and the
        real change; else 1. Without it only values in units of the score can be compared.

    phi is a gradient in the paper. Where values are scores (integrated gradients, occlusion) or weights of places
    (class activation), what they foretell for a square is their sum over it; noise then foretells nothing, and is
    refused.

    Differences: equal to captum.metrics.infidelity (normalize=scale) with the same changes; the mean square here has an
    error beside it. Quantus' Infidelity puts one patch after another into the same copy and never takes them out.

    Raises:
        SettingError: "noise" with values that are not per unit of input and element.

    Reference: Yeh, Hsieh, Suggala, Inouye, Ravikumar, "On the (In)fidelity and Sensitivity of Explanations", NeurIPS
    2019, arXiv 1901.09392.
    """

    perturbation: Perturbation = "square"
    side: float = 0.25
    deviation: float = 0.2
    baseline: SubstituteSpec = None
    samples: int = 64
    scale: bool = True

    info: ClassVar[MetricInfo] = MetricInfo(
        name="infidelity",
        title="Infidelity",
        better="lower",
        units="score²",
        cost="65 forward (samples, and the picture)",
        reference="Yeh et al. 2019, arXiv 1901.09392",
        stochastic=True,
        avoid="Its size goes with the score's: compare maps of one picture, or the unexplained share.",
    )

    def __post_init__(self) -> None:
        check_choice("perturbation", self.perturbation, ("square", "noise"))
        check_positive("side", self.side)
        check_positive("deviation", self.deviation)
        check_count("samples", self.samples, 2)
        check_substitute(self.baseline)
        if self.side > 1:
            raise SettingError(f"side is a share of each axis, at most 1; given {self.side!r}.")

    def flow(self, case: Case, target: Target, claim: Claim) -> Flow[Measurement]:
        """Yields the input and its changed copies, and returns the error of what the map foretells."""
        target = explained(target, claim)
        changes = self._changes(case, claim)
        rows = case.vary(self.samples, changes.rows, changes.key)
        parts = [range(start, min(start + PORTION, self.samples)) for start in range(0, self.samples, PORTION)]
        foretold = torch.cat([changes.foretold(part) for part in parts])
        whole, found = yield from ask_all(scores(case.rows(), target), scores(rows, target))
        real = whole - found
        square = float((foretold * foretold).mean())
        factor = float((foretold * real).mean()) / square if self.scale and square > 0 else float(not self.scale)
        errors = (factor * foretold - real).square()
        value, total = float(errors.mean()), float(real.square().mean())
        details = {
            "standard_error": float(errors.std()) / math.sqrt(self.samples),
            "scale": factor,
            "unexplained_share": value / total if total > 0 else float("nan"),
        }
        return measurement(self, value, target, self._protocol(changes), details=details)

    def _changes(self, case: Case, claim: Claim) -> _Changes:
        maps = finite_maps(case, claim)
        values = claim.attribution.values
        leaves = values if isinstance(values, tuple) else (values,)
        per_input = claim.attribution.units.startswith(PER_INPUT)
        elements = [
            part.detach().to("cpu", torch.float64) if part.shape == leaf.shape else None
            for part, leaf in zip(leaves, case.x, strict=False)
        ]
        if self.perturbation == "noise":
            if not per_input or any(part is None for part in elements):
                raise SettingError(
                    "perturbation='noise' needs values per unit of input for each element, such as saliency's; "
                    f"{claim.attribution.method}'s are {claim.attribution.units or 'of no known unit'}. Use "
                    "perturbation='square'."
                )
            return _Noise(case, [part for part in elements if part is not None], self.deviation)
        substitute = substitutes(self.baseline, case)
        weights = []
        for place, (leaf, whole, element) in enumerate(zip(case.x, maps, elements, strict=False)):
            if element is None:
                weights.append(whole)
                continue
            if per_input:
                gone = substitute.values[place].detach().to("cpu", torch.float64).mean(0, keepdim=True)
                element = element * (leaf.detach().to("cpu", torch.float64) - gone)
            weights.append(element[0].sum(0) if leaf.dim() > 2 else element[0])
        return _Squares(case, weights, substitute, self.side)

    def _protocol(self, changes: _Changes) -> dict[str, Any]:
        size = {"side": self.side} if self.perturbation == "square" else {"deviation": self.deviation}
        return {
            "perturbation": self.perturbation,
            **size,
            "baseline": changes.baseline,
            "samples": self.samples,
            "scale": "optimal" if self.scale else "1",
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Noise:
    """Normal noise on all elements; values: (1, ...) of each explained leaf."""

    case: Case
    values: list[Tensor]
    deviation: float
    baseline: str = "noise"

    @property
    def key(self) -> tuple[Any, ...]:
        return "infidelity-noise", self.deviation, len(self.values), self.case.seed

    def drawn(self, place: int, rows: slice | range) -> Tensor:
        path, leaf = self.case.leaves[place], self.case.x[place]
        purpose = f"infidelity-noise {path}"
        return self.deviation * gaussian_rows(
            leaf.shape[1:], rows, seed=self.case.seed, case_id=self.case.id, purpose=purpose
        )

    def rows(self, rows: slice) -> tuple[Tensor, ...]:
        count = rows.stop - (rows.start or 0)
        new = [leaf.expand(count, *leaf.shape[1:]) for leaf in self.case.x]
        for place in range(len(self.values)):
            leaf = self.case.x[place]
            new[place] = leaf - self.drawn(place, rows).to(leaf.device, leaf.dtype)
        return tuple(new)

    def foretold(self, rows: range) -> Tensor:
        parts = [
            (self.drawn(place, rows).double() * values).flatten(1).sum(1) for place, values in enumerate(self.values)
        ]
        return torch.stack(parts).sum(0)


@dataclass(frozen=True, slots=True, eq=False)
class _Squares:
    """The baseline in one box of each explained leaf; weights: what each place (*spatial) is worth."""

    case: Case
    weights: list[Tensor]
    substitute: Substitutes
    side: float

    @property
    def baseline(self) -> str:
        return self.substitute.name

    @property
    def key(self) -> tuple[Any, ...]:
        return "infidelity-square", self.side, self.substitute.key, len(self.weights), self.case.seed

    def covers(self, place: int, rows: slice | range) -> Tensor:
        """Returns where the boxes are, bool (n, *spatial)."""
        leaf = self.case.x[place]
        places = spatial(leaf)
        sides = [max(1, round(self.side * size)) for size in places]
        draw: Callable[..., Tensor] = uniform_rows
        about = {"seed": self.case.seed, "case_id": self.case.id, "purpose": f"infidelity {self.case.leaves[place]}"}
        if leaf.dim() == 2:
            order = draw(places, rows, **about).argsort(1)
            return torch.zeros(order.shape, dtype=torch.bool, device="cpu").scatter_(1, order[:, : sides[0]], True)
        numbers = draw((len(places),), rows, **about)
        found = torch.ones((len(numbers), *[1] * len(places)), dtype=torch.bool, device="cpu")
        for axis, (size, side) in enumerate(zip(places, sides, strict=True)):
            start = (numbers[:, axis] * (size - side + 1)).long().clamp(max=size - side)[:, None]
            at = torch.arange(size, device="cpu")
            inside = (at >= start) & (at < start + side)
            shape = [len(numbers), *[size if other == axis else 1 for other in range(len(places))]]
            found = found & inside.reshape(shape)
        return found

    def rows(self, rows: slice) -> tuple[Tensor, ...]:
        count = rows.stop - (rows.start or 0)
        new = [leaf.expand(count, *leaf.shape[1:]) for leaf in self.case.x]
        several = self.substitute.count
        for place in range(len(self.weights)):
            leaf = self.case.x[place]
            gone = self.covers(place, rows).to(leaf.device)
            which = torch.arange(rows.start or 0, rows.stop, device=leaf.device) % several
            new[place] = torch.where(
                gone.unsqueeze(1) if leaf.dim() > 2 else gone, self.substitute.values[place][which], leaf
            )
        return tuple(new)

    def foretold(self, rows: range) -> Tensor:
        parts = [(self.covers(place, rows) * part).flatten(1).sum(1) for place, part in enumerate(self.weights)]
        return torch.stack(parts).sum(0)


_Changes: TypeAlias = "_Noise | _Squares"
