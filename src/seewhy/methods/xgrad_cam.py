"""XGrad-CAM: channel weights chosen so that the map keeps the layer's first-order evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from ..core.attribution import Attribution
from ..core.method import Method, MethodInfo
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Target
from .cam_layer import Reshape, cam, check_cam_settings, place_axes, place_view


@dataclass(frozen=True, slots=True)
class XGradCam(Method):
    """Map of a layer's channels, weighted by their activation-weighted mean gradient, then ReLU; (N, *places).

    w_k = sum over places of dS/dA_k * A_k / sum over places of A_k,  map = relu(sum_k w_k A_k). The weights are
    chosen so that the map's sum keeps what gradient times activation says. A channel whose activations sum to
    zero gets the weight zero.

    layer, reshape: as for Grad-CAM. relu=False gives the signed map.

    Differences: the usual implementations add 1e-7 to the denominator; here it is exact.

    Reference: Fu et al., "Axiom-based Grad-CAM", BMVC 2020, arXiv 2008.02312, eq. 8.
    """

    layer: Any = None
    reshape: Reshape = None
    relu: bool = True

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
    )

    def __post_init__(self) -> None:
        check_cam_settings(self.layer, self.reshape, self.relu)

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields one query for the layer and returns the weighted map."""
        placed = yield from place_view(case, target, self.layer, self.reshape)
        activation, gradient = placed.activation, placed.gradient
        axes = place_axes(gradient)
        total = activation.sum(axes, keepdim=True)
        shares = (gradient * activation).sum(axes, keepdim=True)
        weights = torch.where(total == 0, torch.zeros_like(total), shares / total)
        signed = (weights * activation).sum(1)
        return cam(self, case, placed, signed, self.relu)
