"""Grad-CAM: a layer's channels weighted by how the score reacts to each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core.method import MethodInfo
from .class_activation import LayerMap, LayerMethod, PlacedView


@dataclass(frozen=True, slots=True)
class GradCam(LayerMethod):
    """Map of a layer's channels, each weighted by its mean gradient, then ReLU; (N, *places).

    w_k = mean over places of dS/dA_k,  map = relu(sum_k w_k A_k).

    layer, reshape, relu, channels, neurons, combine, augment: as for every class activation method (`LayerMethod`).

    Differences: none from the paper. Usual implementations stretch each map to 0..1, so that maps cannot be compared;
    here it keeps its unit. pytorch-grad-cam behind an in-place ReLU takes the activation after it, not the layer's.

    Reference: Selvaraju et al., "Grad-CAM", ICCV 2017, arXiv 1610.02391, eq. 1 and 2.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="grad-cam",
        family="class activation",
        title="Grad-CAM",
        reduce="none",
        signed=False,
        units="score per unit of activation, times activation",
        needs=frozenset({"gradient", "layer"}),
        cost="1 forward, 1 backward from the layer on",
        reference="Selvaraju et al. 2017, arXiv 1610.02391",
        avoid="The map is as coarse as the layer, and channel means blur it at early layers: there use layer-cam.",
    )

    def layer_map(self, placed: PlacedView) -> LayerMap:
        """Returns the channels' weighted sum."""
        weights = placed.gradient.mean(placed.axes, keepdim=True)
        return LayerMap((weights * placed.activation).sum(1))
