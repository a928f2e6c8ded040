"""CAM: the linear layer's own weights, laid over the feature maps that it averages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core.attribution import Attribution
from ..core.errors import LayerError
from ..core.method import Method, MethodInfo
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Target
from .cam_layer import Reshape, cam, check_cam_settings, place_axes, place_view


@dataclass(frozen=True, slots=True)
class Cam(Method):
    """Map of the last feature maps, weighted by the linear layer's weights for the class; signed, (N, *places).

    map = sum_k w_k A_k, where S = sum_k w_k mean(A_k) + b. Its mean over the places plus the bias is the score.

    The weights are read off the pass itself: in front of global average pooling and a linear layer the gradient
    of the score is the same at every place, w_k / (number of places). Where it is not, the network has no such
    head behind this layer, and LayerError says so. For a difference of two classes the weights are subtracted.

    layer: None takes the layer that feeds the pooling. relu: the paper has none.

    Reference: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, arXiv 1512.04150,
    eq. 1 and 2.
    """

    layer: Any = None
    reshape: Reshape = None
    relu: bool = False

    info: ClassVar[MethodInfo] = MethodInfo(
        name="cam",
        family="class activation",
        title="CAM",
        reduce="none",
        signed=True,
        units="score, times the number of places",
        needs=frozenset({"gradient", "layer"}),
        cost="1 forward, 1 backward from the layer on",
        reference="Zhou et al. 2016, arXiv 1512.04150",
    )

    def __post_init__(self) -> None:
        check_cam_settings(self.layer, self.reshape, self.relu)

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields one query for the layer and returns the weighted map."""
        placed = yield from place_view(case, target, self.layer, self.reshape)
        activation, gradient = placed.activation, placed.gradient
        axes = place_axes(gradient)
        places = math.prod(gradient.shape[2:])
        weights = gradient.mean(axes, keepdim=True)
        check_pooled(gradient, weights, placed.view.layer)
        signed = (weights * places * activation).sum(1)
        return cam(self, case, placed, signed, self.relu)


def check_pooled(gradient: Tensor, mean: Tensor, layer: str) -> None:
    """Raises LayerError unless the gradient (1, C, *places) is the same at every place."""
    scale = gradient.abs().max()
    tolerance = {torch.float64: 1e-8, torch.float32: 1e-4}.get(gradient.dtype, 2e-2)
    if bool((gradient - mean).abs().max() > tolerance * scale):
        raise LayerError(
            f"CAM needs global average pooling and one linear layer right behind layer {layer!r}; what follows here "
            "weights the places differently. Use 'grad-cam', which generalises CAM, or name the layer that is "
            "pooled."
        )
