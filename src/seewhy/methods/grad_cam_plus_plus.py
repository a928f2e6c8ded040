"""Grad-CAM++: pixel-wise weights, so that several objects of a class are all found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.method import MethodInfo
from .class_activation import LayerMap, LayerMethod, PlacedView


@dataclass(frozen=True, slots=True)
class GradCamPlusPlus(LayerMethod):
    """Map of a layer's channels, weighted by pixel-wise weighted positive gradients, then ReLU; (N, *places).

    With g = dS/dA_k:  alpha = g^2 / (2 g^2 + g^3 * sum over places of A_k),
    w_k = sum over places of alpha * relu(g),  map = relu(sum_k w_k A_k). Where the denominator is zero, alpha is.

    layer, reshape, relu, channels, neurons, combine, augment: as for every class activation method (`LayerMethod`).

    Differences: the paper scores exp(S), whose derivatives bring a common factor exp(S) into w_k; it is dropped,
    as everyone does, so values are in units of S. The usual implementations add 1e-6 to the denominator, which
    at small gradients is not small; here it is exact.

    Reference: Chattopadhay et al., "Grad-CAM++", WACV 2018, arXiv 1710.11063, eq. 11, 14 and 19.
    """

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
        avoid="Its weights are never negative, so maps of different classes look alike: compare with grad-cam.",
    )

    def layer_map(self, placed: PlacedView) -> LayerMap:
        """Returns the channels' weighted sum."""
        gradient = widened(placed.gradient)
        return LayerMap(_weighted(placed, gradient), _weighted(placed, -gradient))


def widened(gradient: Tensor) -> Tensor:
    """Returns float64 where the device has it: squares and cubes of small gradients vanish in less."""
    return gradient.double() if gradient.device.type != "mps" else gradient.float()


def _weighted(placed: PlacedView, g: Tensor) -> Tensor:
    """Returns sum_k w_k A_k (n, *places) for a gradient (n, C, *places)."""
    total = placed.activation.to(g.dtype).sum(placed.axes, keepdim=True)
    denominator = 2 + g * total  # alpha's fraction, shortened by g^2
    alpha = torch.where((g == 0) | (denominator == 0), torch.zeros_like(g), 1 / denominator)
    weights = (alpha * g.relu()).sum(placed.axes, keepdim=True)
    return (weights * placed.activation).sum(1)
