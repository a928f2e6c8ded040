"""LayerCAM: positive gradients weight each place of a layer on its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..core.attribution import Attribution
from ..core.method import Method, MethodInfo
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Target
from .cam_layer import Reshape, cam, check_cam_settings, place_view, with_counter


@dataclass(frozen=True, slots=True)
class LayerCam(Method):
    """Map of positive gradient times activation, place by place, summed over the channels; (N, *places).

    map = relu(sum_k relu(dS/dA_k) * A_k). Works at early layers too, where mean weights say little.

    layer, reshape: as for Grad-CAM. relu=False leaves the last ReLU out.

    Reference: Jiang et al., "LayerCAM", IEEE TIP 2021, eq. 5 and 6.
    """

    layer: Any = None
    reshape: Reshape = None
    relu: bool = True

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
    )

    def __post_init__(self) -> None:
        check_cam_settings(self.layer, self.reshape, self.relu)

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields one query for the layer and returns the weighted map."""
        placed = yield from place_view(case, target, self.layer, self.reshape)
        activation, gradient = placed.activation, placed.gradient
        signed = (gradient.relu() * activation).sum(1)
        made = cam(self, case, placed, signed, self.relu)
        return with_counter(made, ((-gradient).relu() * activation).sum(1))
