"""HiResCAM: gradient times activation at every place, so that nothing is smeared by averaging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core.method import MethodInfo
from .class_activation import LayerMap, LayerMethod, PlacedView


@dataclass(frozen=True, slots=True)
class HiResCam(LayerMethod):
    """Map of gradient times activation, place by place, summed over the channels; (N, *places).

    map = sum_k dS/dA_k * A_k, then ReLU. In front of pooling and one linear layer its sum over the places is the
    score without its bias.

    layer, reshape, relu, channels, neurons, combine, augment: as for every class activation method (`LayerMethod`).

    Differences: the paper's sum is signed; the ReLU, which the usual implementations apply to be compared with
    Grad-CAM, is the default here too.

    Reference: Draelos, Carin, "Use HiResCAM instead of Grad-CAM", 2020, arXiv 2011.08891.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="hires-cam",
        family="class activation",
        title="HiResCAM",
        reduce="none",
        signed=False,
        units="score per unit of activation, times activation",
        needs=frozenset({"gradient", "layer"}),
        cost="1 forward, 1 backward from the layer on",
        reference="Draelos and Carin 2020, arXiv 2011.08891",
        avoid="Far from the head the gradient of single places is noisy: prefer a late layer.",
    )

    def layer_map(self, placed: PlacedView) -> LayerMap:
        """Returns the channels' sum of gradient times activation."""
        return LayerMap((placed.gradient * placed.activation).sum(1))
