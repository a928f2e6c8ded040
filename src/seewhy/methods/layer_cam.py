"""LayerCAM: positive gradients weight each place of a layer on its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core.method import MethodInfo
from .class_activation import LayerMap, LayerMethod, PlacedView


@dataclass(frozen=True, slots=True)
class LayerCam(LayerMethod):
    """Map of positive gradient times activation, place by place, summed over the channels; (N, *places).

    map = relu(sum_k relu(dS/dA_k) * A_k). Works at early layers too, where mean weights say little.

    layer, reshape, relu, channels, neurons, combine, augment: as for every class activation method (`LayerMethod`).

    Differences: the paper passes maps of early layers through tanh(2 M / max M) to show them beside late ones; that is
    a matter of display and left out. torchcam does it in its fusion of layers.

    Reference: Jiang et al., "LayerCAM", IEEE TIP 2021, eq. 5 and 6.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="layer-cam",
        family="class activation",
        title="LayerCAM",
        reduce="none",
        signed=False,
        units="score per unit of activation, times activation",
        needs=frozenset({"gradient", "layer"}),
        cost="1 forward, 1 backward from the layer on",
        reference="Jiang et al. 2021, IEEE TIP 30",
        avoid="Negative gradients are dropped, so it cannot say what speaks against the target.",
    )

    def layer_map(self, placed: PlacedView) -> LayerMap:
        """Returns the channels' sum, weighted place by place."""
        activation, gradient = placed.activation, placed.gradient
        return LayerMap((gradient.relu() * activation).sum(1), ((-gradient).relu() * activation).sum(1))
