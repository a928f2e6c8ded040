"""Eigen-CAM: the pattern that most of a layer's channels share, whatever the class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.method import MethodInfo
from .class_activation import LayerMap, LayerMethod, PlacedView

NOTE = "The same map for every class: it shows what stands out in the layer, not why this class was chosen."


@dataclass(frozen=True, slots=True)
class EigenCam(LayerMethod):
    """Map of a layer's places along the first principal axis of their channels; signed, (N, *places).

    With the activations as a matrix X (places x channels), each column centred, and v the first right singular
    vector of X:  map = X v. A principal axis has no sign of its own; the place of largest magnitude is made positive.

    No class enters: the map shows what stands out in the layer, not why this class was chosen.

    layer, reshape, channels, neurons, combine, augment: as for every class activation method. relu=True keeps the
    positive side only.

    Differences: the paper does not centre X, so its first axis is mostly the mean activation; pytorch-grad-cam centres
    as here, leaves the sign to the linear algebra library, and cuts the negative side away.

    Reference: Muhammad, Yeasin, "Eigen-CAM", IJCNN 2020, arXiv 2008.00299, sec. III.
    """

    relu: bool = False

    takes_gradient: ClassVar[bool] = False
    info: ClassVar[MethodInfo] = MethodInfo(
        name="eigen-cam",
        family="class activation",
        title="Eigen-CAM",
        reduce="none",
        signed=True,
        units="activation, along the first principal axis",
        needs=frozenset({"layer"}),
        cost="1 forward",
        reference="Muhammad and Yeasin 2020, arXiv 2008.00299",
        avoid="It is the same for every class: no answer to why this class rather than that.",
    )

    def layer_map(self, placed: PlacedView) -> LayerMap:
        """Returns each row's projection."""
        grid = placed.activation.shape[2:]
        rows = [first_axis(row.flatten(1).T).reshape(grid) for row in placed.activation]
        return LayerMap(torch.stack(rows), facts={"notes": (NOTE,)})


def first_axis(values: Tensor) -> Tensor:
    """Returns the rows (P, C) along their first principal axis, (P,), the largest magnitude positive."""
    wide = values.detach().to("cpu", torch.float64)
    centred = wide - wide.mean(0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    along: Tensor = centred @ axes[0]
    sign = -1.0 if len(along) and bool(along[along.abs().argmax()] < 0) else 1.0
    return (sign * along).to(values.device, values.dtype)
