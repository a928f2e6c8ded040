"""Smooth Grad-CAM++: Grad-CAM++ with its derivatives averaged over noisy copies of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.errors import SettingError
from ..core.method import MethodInfo
from ..core.queries import LayerView, layer_view, running
from ..core.query import Chunk, Flow, Query, Record, ask, ask_all
from ..core.rows import Case
from ..core.targets import Target
from .class_activation import LayerMap, LayerMethod, PlacedView
from .common import check_count, check_positive
from .noisy import noisy_rows

GROUPS = 5
"""Groups of samples that are left out in turn to find the standard error."""


@dataclass(frozen=True, slots=True)
class SmoothGradCamPlusPlus(LayerMethod):
    """Grad-CAM++ from derivatives averaged over noisy copies of the input, with its standard error; (N, *places).

    With g = dS/dA_k at x + e, and the bar for the mean over the copies:
    alpha = bar(g^2) / (2 bar(g^2) + bar(g^3) * sum over places of A_k),
    w_k = sum over places of alpha * relu(bar(g)),  map = relu(sum_k w_k A_k). A is the activation at x itself.

    samples, noise: as for SmoothGrad, with which it shares its passes where these and the seed are equal.
    channels, neurons: the paper's choice of feature maps, and of neurons within them.
    layer, reshape, relu, combine: as for every class activation method. augment is refused: noise takes its place.

    The standard error is the jackknife's, over five groups of samples.

    Differences: as for Grad-CAM++, the factor exp(S) is dropped and nothing is added to the denominator. The paper
    does not say which A is meant; torchcam takes that of the last noisy copy, which makes the map depend on its order.

    Reference: Omeiza et al., "Smooth Grad-CAM++", 2019, arXiv 1908.01224, eq. 6 to 9.
    """

    samples: int = 50
    noise: float = 0.15

    info: ClassVar[MethodInfo] = MethodInfo(
        name="smooth-grad-cam++",
        family="class activation",
        title="Smooth Grad-CAM++",
        reduce="none",
        signed=False,
        units="score per unit of activation, times activation",
        needs=frozenset({"gradient", "layer"}),
        cost="51 forward, 50 backward from the layer on (samples)",
        reference="Omeiza et al. 2019, arXiv 1908.01224",
        stochastic=True,
        avoid="Fifty times the price of grad-cam++ for a map that late layers hardly change.",
    )

    def __post_init__(self) -> None:
        LayerMethod.__post_init__(self)
        check_count("samples", self.samples, 2)
        check_positive("noise", self.noise, zero=True)
        if self.augment:
            raise SettingError(
                "augment=True does not go with Smooth Grad-CAM++, which averages over noisy copies already. Leave it "
                "out, or use 'grad-cam++'."
            )

    def views(self, case: Case, target: Target) -> Flow[list[PlacedView]]:
        """Asks for every layer at the picture itself, then for the derivatives at its noisy copies."""
        views = yield from ask_all(*(layer_view(case, target, layer, gradient=False) for layer in self.layers))
        names = [view.layer for view in views]
        sums = yield from ask(self._sums(case, views[0].target, names))
        return [self._averaged(case, view, sums[view.layer]) for view in views]

    def _sums(self, case: Case, target: Target, names: Sequence[str]) -> Query[dict[str, Tensor]]:
        """Asks for sums of g, g^2 and g^3 over each group of samples: (groups, 3, 1, ...) for each layer."""
        groups = min(GROUPS, self.samples)

        def step(state: dict[str, Tensor], rows: slice, chunk: Chunk) -> dict[str, Tensor]:
            for name in names:
                gradient = chunk.gradients[name].detach().to("cpu", torch.float64)
                if name not in state:
                    state[name] = gradient.new_zeros(groups, 3, 1, *gradient.shape[1:])
                for row, one in zip(range(self.samples)[rows], gradient, strict=True):
                    state[name][row % groups, :, 0] += torch.stack([one, one.square(), one.pow(3)])
            return state

        rows = noisy_rows(case, self.noise, 0, self.samples)
        return Query(rows, target, running(dict, step), Record(gradients=tuple(sorted(set(names)))))

    def _averaged(self, case: Case, view: LayerView, sums: Tensor) -> PlacedView:
        """Returns the layer's view with sums per group in `powers`, and the activation at the picture itself."""
        groups = [part.to(view.activation.device) for part in sums.flatten(0, 1)]
        return self.placed(case, view, groups)

    def layer_map(self, placed: PlacedView) -> LayerMap:
        """Returns the map from all samples, and its error from leaving each group out."""
        powers = torch.stack([torch.stack(placed.powers[i : i + 3]) for i in range(0, len(placed.powers), 3)])
        sizes = [len(range(group, self.samples, len(powers))) for group in range(len(powers))]
        total, count = powers.sum(0), self.samples
        signed = _weighted(placed, total / count)
        left = [_weighted(placed, (total - part) / (count - size)) for part, size in zip(powers, sizes, strict=True)]
        spread = torch.stack(left)
        error = ((spread - spread.mean(0)).square().sum(0) * (len(left) - 1) / len(left)).sqrt()
        negated = torch.stack([-total[0], total[1], -total[2]]) / count
        largest = float(signed.norm())
        facts = {"samples": count, "relative_error": float(error.norm()) / largest if largest else 0.0}
        return LayerMap(signed, _weighted(placed, negated), error, facts)


def _weighted(placed: PlacedView, means: Tensor) -> Tensor:
    """Returns sum_k w_k A_k (1, *places) from the means of g, g^2 and g^3, (3, 1, C, *places)."""
    first, second, third = means
    activation = placed.activation.to(means.dtype)
    bottom = 2 * second + third * activation.sum(placed.axes, keepdim=True)
    none = (second == 0) | (bottom == 0)
    alpha = torch.where(none, torch.zeros_like(second), second / torch.where(none, torch.ones_like(bottom), bottom))
    weights = (alpha * first.relu()).sum(placed.axes, keepdim=True)
    signed: Tensor = (weights * activation).sum(1)
    return signed
