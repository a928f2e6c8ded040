"""XGrad-CAM: channel weights chosen so that the map keeps the layer's first-order evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..core.method import MethodInfo
from .class_activation import LayerMap, LayerMethod, PlacedView


@dataclass(frozen=True, slots=True)
class XGradCam(LayerMethod):
    """Map of a layer's channels, weighted by their activation-weighted mean gradient, then ReLU; (N, *places).

    w_k = sum over places of dS/dA_k * A_k / sum over places of A_k,  map = relu(sum_k w_k A_k). The weights are
    chosen so that the map's sum keeps what gradient times activation says. A channel whose activations sum to
    zero gets the weight zero.

    layer, reshape, relu, channels, neurons, combine, augment: as for every class activation method (`LayerMethod`).

    Differences: the usual implementations add 1e-7 to the denominator; here it is exact.

    Reference: Fu et al., "Axiom-based Grad-CAM", BMVC 2020, arXiv 2008.02312, eq. 8.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="xgrad-cam",
        family="class activation",
        title="XGrad-CAM",
        reduce="none",
        signed=False,
        units="score per unit of activation, times activation",
        needs=frozenset({"gradient", "layer"}),
        cost="1 forward, 1 backward from the layer on",
        reference="Fu et al. 2020, arXiv 2008.02312",
        avoid="A channel whose activations nearly cancel gets a huge weight: not before an activation function.",
    )

    def layer_map(self, placed: PlacedView) -> LayerMap:
        """Returns the channels' weighted sum."""
        total = placed.activation.sum(placed.axes, keepdim=True)
        shares = (placed.gradient * placed.activation).sum(placed.axes, keepdim=True)
        weights = torch.where(total == 0, torch.zeros_like(total), shares / total)
        return LayerMap((weights * placed.activation).sum(1))
