"""Guided Grad-CAM: guided backprop's detail where Grad-CAM sees the class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from ..core.attribution import Attribution
from ..core.method import MethodInfo
from ..core.query import Flow, together
from ..core.rows import Case
from ..core.targets import Target
from ..core.upsample import resize_map
from .class_activation import LayerMap, LayerMethod, PlacedView
from .common import attribution
from .grad_cam import GradCam
from .guided_backprop import GuidedBackprop


@dataclass(frozen=True, slots=True)
class GuidedGradCam(LayerMethod):
    """Guided gradient of the score times the enlarged Grad-CAM map; signed, (N, C, *spatial).

    guided(x) * up(relu(sum_k w_k A_k)), with `up` linear interpolation to the input's size. Of several inputs the
    first is explained, which class activation maps are laid over.

    layer, reshape, relu, channels, neurons, combine, augment: those of the Grad-CAM map (`LayerMethod`).

    In half precision the product of two small numbers is no number any more: there values are float32.

    Differences: captum enlarges by nearest neighbour unless told otherwise; the paper interpolates, as here.

    Reference: Selvaraju et al., "Grad-CAM", ICCV 2017, arXiv 1610.02391, sec. 3.2.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="guided-grad-cam",
        family="gradient",
        title="Guided Grad-CAM",
        reduce="absmax",
        signed=True,
        units="guided score per unit of input, times the Grad-CAM map",
        needs=frozenset({"gradient", "layer", "activations"}),
        cost="2 forward, 2 backward",
        reference="Selvaraju et al. 2017, arXiv 1610.02391",
        avoid="Its detail is guided backprop's, which hardly depends on the class: believe the place, not the strokes.",
    )

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields both methods' queries in one round and returns their product."""
        guided, coarse = yield from together(
            GuidedBackprop().flow(case, target), GradCam(**self.settings()).flow(case, target)
        )
        fine = guided.values[0] if isinstance(guided.values, tuple) else guided.values
        wide = torch.promote_types(fine.dtype, torch.float32)
        product = fine * resize_map(coarse.values.to(wide), fine.shape[2:])[:, None]
        made = attribution(
            self,
            case,
            (product,),
            (coarse.targets[0], coarse.scores),
            layer=coarse.layer,
            counter=coarse.counter,
            diagnostics=coarse.diagnostics,
        )
        return replace(made, values=product, input_shapes=made.input_shapes[:1])

    def layer_map(self, placed: PlacedView) -> LayerMap:
        """Returns Grad-CAM's map."""
        return GradCam().layer_map(placed)
