"""Grad-CAM++: pixel-wise weights, so that several objects of a class are all found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core.attribution import Attribution
from ..core.method import Method, MethodInfo
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Target
from .cam_layer import Reshape, cam, check_cam_settings, place_axes, place_view, with_counter


@dataclass(frozen=True, slots=True)
class GradCamPlusPlus(Method):
    """Map of a layer's channels, weighted by pixel-wise weighted positive gradients, then ReLU; (N, *places).

    With g = dS/dA_k:  alpha = g^2 / (2 g^2 + g^3 * sum over places of A_k),
    w_k = sum over places of alpha * relu(g),  map = relu(sum_k w_k A_k). Where the denominator is zero, alpha is.

    layer, reshape: as for Grad-CAM. relu=False gives the signed map.

    Differences: the paper scores exp(S), whose derivatives bring a common factor exp(S) into w_k; it is dropped,
    as everyone does, so values are in units of S. The usual implementations add 1e-6 to the denominator, which
    at small gradients is not small; here it is exact.

    Reference: Chattopadhay et al., "Grad-CAM++", WACV 2018, arXiv 1710.11063, eq. 11, 14 and 19.
    """

    layer: Any = None
    reshape: Reshape = None
    relu: bool = True

    info: ClassVar[MethodInfo] = MethodInfo(
        name="grad-cam++",
        family="class activation",
        title="Grad-CAM++",
        reduce="none",
        signed=False,
        units="score per unit of activation, times activation",
        needs=frozenset({"gradient", "layer"}),
        cost="1 forward, 1 backward from the layer on",
        reference="Chattopadhay et al. 2018, arXiv 1710.11063",
    )

    def __post_init__(self) -> None:
        check_cam_settings(self.layer, self.reshape, self.relu)

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields one query for the layer and returns the weighted map."""
        placed = yield from place_view(case, target, self.layer, self.reshape)
        activation, gradient = placed.activation, placed.gradient
        g = gradient.double() if gradient.device.type != "mps" else gradient.float()
        signed = _weighted(activation, g)
        made = cam(self, case, placed, signed, self.relu)
        return with_counter(made, _weighted(activation, -g))


def _weighted(activation: Tensor, g: Tensor) -> Tensor:
    """Returns sum_k w_k A_k (1, *places) for an activation and a gradient (1, C, *places)."""
    axes = place_axes(g)
    total = activation.to(g.dtype).sum(axes, keepdim=True)
    denominator = 2 + g * total  # alpha's fraction, shortened by g^2
    alpha = torch.where((g == 0) | (denominator == 0), torch.zeros_like(g), 1 / denominator)
    weights = (alpha * g.relu()).sum(axes, keepdim=True)
    return (weights * activation).sum(1)
