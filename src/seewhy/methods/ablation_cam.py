"""Ablation-CAM: a layer's channels weighted by how far the score falls without each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core.attribution import Attribution
from ..core.errors import SettingError, TargetError
from ..core.method import MethodInfo
from ..core.queries import scores
from ..core.query import Flow, ask
from ..core.rows import Case, Rows
from ..core.targets import Target
from .class_activation import LayerMap, LayerMethod, PlacedView, finish
from .common import check_count
from .layer_places import place
from .pooled_head import POOLINGS, UNKNOWN, class_shares, read_head


@dataclass(frozen=True, slots=True)
class AblationCam(LayerMethod):
    """Map of a layer's channels, weighted by the share of the score that is lost without each, then ReLU; (N, *places).

    w_k = (S - S without A_k) / S,  map = relu(sum_k w_k A_k), where A_k is set to zero. No gradient is taken.

    strongest: only the channels of the largest magnitude, so many; None takes all.
    layer, reshape, relu, channels, neurons, combine: as for every class activation method. augment is refused.

    Where pooling and a linear head follow the layer, which arithmetic proves, S without A_k is known without any
    pass: S - w_k pool(A_k). Elsewhere each channel is a row that enters at the layer, and runs what follows it; where
    the network cannot be cut there, it runs the whole. Channels that are zero already cost none.
    `diagnostics["closed_form"]` and `["notes"]` say which it was. With a score below zero the shares change their
    sign; they are taken of its magnitude.

    Differences: the paper divides by S, so that a negative score turns the map round; here by |S|. pytorch-grad-cam
    ablates to zero only where a layer's smallest value is zero, and elsewhere to a number far below all others.

    Reference: Desai, Ramaswamy, "Ablation-CAM", WACV 2020, eq. 3 and 4.
    """

    strongest: int | None = None

    takes_gradient: ClassVar[bool] = False
    takes_head: ClassVar[bool] = True
    info: ClassVar[MethodInfo] = MethodInfo(
        name="ablation-cam",
        family="class activation",
        title="Ablation-CAM",
        reduce="none",
        signed=False,
        units="share of the score, times activation",
        needs=frozenset({"layer"}),
        cost="1 forward, and 1 for each channel unless the layer is pooled",
        reference="Desai and Ramaswamy 2020, WACV",
        avoid="Where channels stand in for each other, losing one costs nothing: joint evidence is missed.",
    )

    def __post_init__(self) -> None:
        LayerMethod.__post_init__(self)
        if self.strongest is not None:
            check_count("strongest", self.strongest)
        if self.augment:
            raise SettingError(
                "augment=True does not go with Ablation-CAM: it would cost six times hundreds of passes. Leave it out."
            )

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields the layers, then each channel's absence where that is not known already, and returns the map."""
        placed = yield from self.views(case, target)
        maps = []
        for one in placed:
            which = self._chosen(one.activation)
            without = closed_form(one)
            if without is None:
                found = yield from ask(scores(_ablated(case, one, self.reshape, which), one.view.target))
                without = one.view.score[0].to("cpu", torch.float64).expand(one.whole.shape[1]).clone()
                without[_real_channels(one, which)] = found
                note = f"Each of {len(which)} channels took a row entering at the layer: no pooled linear head follows."
                how: Mapping[str, Any] = {"closed_form": False, "channels_run": len(which), "notes": (note,)}
            else:
                how = {"closed_form": True, "channels_run": 0}
            maps.append(self._weighted(one, which, without, how))
        return finish(self, placed, maps)

    def _chosen(self, activation: Tensor) -> Tensor:
        """Returns the channels that are not zero, the strongest of them where only some are wanted."""
        size = activation[0].flatten(1).abs().amax(1)
        live = size.nonzero()[:, 0]
        if self.strongest is None:
            return live
        return live[size[live].sort(descending=True, stable=True).indices[: self.strongest]].sort().values

    def _weighted(self, placed: PlacedView, which: Tensor, without: Tensor, how: Mapping[str, Any]) -> LayerMap:
        score = float(placed.view.score[0])
        lost = (score - without[_real_channels(placed, which)]) / (abs(score) or 1.0)
        used = placed.activation[:, which]
        weights = lost.to(used.device, used.dtype).reshape(1, -1, *(1,) * (used.dim() - 2))
        return LayerMap((weights * used).sum(1), facts=how)


def _real_channels(placed: PlacedView, which: Tensor) -> Tensor:
    """Returns the layer's own numbers of channels that are numbered within the part asked for."""
    part = placed.part.channels
    return which.cpu() if part is None else part[which.cpu()]


def closed_form(placed: PlacedView) -> Tensor | None:
    """Returns the score without each channel, (C,) float64 on the CPU, where the head tells it; None elsewhere."""
    view = placed.view
    try:
        shares = class_shares(view.target)
    except TargetError:
        return None
    read = read_head(placed.whole, view.head, shares, view.score)
    if read is None or read.pooling == UNKNOWN or not read.plain:
        return None
    pooled = POOLINGS[read.pooling](placed.whole)[0]
    return (view.score[0] - read.weights.to(pooled.dtype) * pooled).to("cpu", torch.float64)


def _ablated(case: Case, placed: PlacedView, reshape: Any, which: Tensor) -> Rows:
    """Returns the layer's output with one channel at zero, for each of the chosen ones."""
    own = placed.view.activation
    axis, numbers = _own_channels(own, case, reshape, placed)
    numbers = numbers[_real_channels(placed, which)]

    def build(part: slice) -> Tensor:
        chosen = numbers[part]
        rows = own.expand(len(chosen), *own.shape[1:]).clone()
        rows.movedim(axis, 1)[torch.arange(len(chosen), device="cpu"), chosen] = 0
        return rows

    return case.enter(placed.view.layer, len(numbers), build)


def _own_channels(own: Tensor, case: Case, reshape: Any, placed: PlacedView) -> tuple[int, Tensor]:
    """Returns which axis of the layer's own output holds the channels, and each channel's number on it, (C,).

    Found by placing each axis's numbers: a channel's places must have one number in common, and no other channel's.
    """
    fitting = []
    for axis in range(1, own.dim()):
        size = own.shape[axis]
        numbers = torch.arange(size, device="cpu", dtype=torch.float64)
        spread = numbers.reshape(-1, *(1,) * (own.dim() - axis - 1)).expand(own.shape)
        found = place(spread, case.x[0].shape, reshape, placed.view.layer)[0][0].flatten(1)
        first = found[:, 0].round()
        if bool((found == first[:, None]).all()) and len(set(first.tolist())) == len(found) and 0 <= first.max() < size:
            fitting.append((size, axis, first.long()))
    if not fitting:
        raise SettingError(
            "Ablation-CAM sets one channel of the layer to zero at a time, so reshape must take each channel from one "
            f"place on one axis of the layer's output {tuple(own.shape)}; it mixes or splits axes to give "
            f"{tuple(placed.whole.shape)}. Let it turn, choose or reorder axes only, or use 'grad-cam'."
        )
    _, axis, own_numbers = max(fitting, key=lambda one: one[0])  # an axis of length 1 fits a single channel, too
    return axis, own_numbers
