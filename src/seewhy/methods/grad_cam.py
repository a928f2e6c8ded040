"""Grad-CAM: a layer's channels weighted by how the score reacts to each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..core.attribution import Attribution
from ..core.method import Method, MethodInfo
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Target
from .cam_layer import Reshape, cam, check_cam_settings, place_axes, place_view


@dataclass(frozen=True, slots=True)
class GradCam(Method):
    """Map of a layer's channels, each weighted by its mean gradient, then ReLU; (N, *places).

    w_k = mean over places of dS/dA_k,  map = relu(sum_k w_k A_k).

    layer: name or module; None takes the model's default layer. reshape: for token layers, a function from
    (N, T, D) to (N, D, h, w) or (rows, columns). relu=False gives the signed map.

    Reference: Selvaraju et al., "Grad-CAM", ICCV 2017, arXiv 1610.02391, eq. 1 and 2.
    """

    layer: Any = None
    reshape: Reshape = None
    relu: bool = True

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
    )

    def __post_init__(self) -> None:
        check_cam_settings(self.layer, self.reshape, self.relu)

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields one query for the layer and returns the weighted map."""
        placed = yield from place_view(case, target, self.layer, self.reshape)
        activation, gradient = placed.activation, placed.gradient
        weights = gradient.mean(place_axes(gradient), keepdim=True)
        signed = (weights * activation).sum(1)
        return cam(self, case, placed, signed, self.relu)
