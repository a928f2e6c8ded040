"""HiResCAM: gradient times activation at every place, so that nothing is smeared by averaging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..core.attribution import Attribution
from ..core.method import Method, MethodInfo
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Target
from .cam_layer import Reshape, cam, check_cam_settings, place_view


@dataclass(frozen=True, slots=True)
class HiResCam(Method):
    """Map of gradient times activation, place by place, summed over the channels; (N, *places).

    map = sum_k dS/dA_k * A_k, then ReLU. In front of pooling and one linear layer its sum over the places is the
    score without its bias.

    layer, reshape: as for Grad-CAM. relu=False gives the signed map.

    Differences: the paper's sum is signed; the ReLU, which the usual implementations apply to be compared with
    Grad-CAM, is the default here too.

    Reference: Draelos, Carin, "Use HiResCAM instead of Grad-CAM", 2020, arXiv 2011.08891.
    """

    layer: Any = None
    reshape: Reshape = None
    relu: bool = True

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
    )

    def __post_init__(self) -> None:
        check_cam_settings(self.layer, self.reshape, self.relu)

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields one query for the layer and returns the weighted map."""
        placed = yield from place_view(case, target, self.layer, self.reshape)
        activation, gradient = placed.activation, placed.gradient
        signed = (gradient * activation).sum(1)
        return cam(self, case, placed, signed, self.relu)
