"""The weights of Keras layers that may be a network's last word."""

from __future__ import annotations

import sys
from typing import Any

from torch import Tensor, nn

from .keras_tail import layer_kind


def keras_head(layer: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Returns weight (K, C) and bias (K,) of a Keras Dense layer or 1 x 1 convolution; None for any other module.

    Its output is channels-last: (N, K), or (N, *places, K). Layers with another activation than a last softmax or
    sigmoid say something else than a sum of products and are left out, as are quantised ones.
    """
    keras = sys.modules.get("keras")
    layers: Any = getattr(keras, "layers", None)
    if layers is None or not isinstance(layer, (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D)):
        return None
    part: Any = layer
    if not part.built or layer_kind(part) is None or getattr(part, "quantization_mode", None) is not None:
        return None
    if not isinstance(part, layers.Dense) and (set(part.kernel_size) != {1} or part.groups != 1):
        return None
    kernel = _value(part.kernel)
    if not isinstance(kernel, Tensor) or not kernel.is_floating_point():
        return None
    weight = kernel.reshape(kernel.shape[-2], kernel.shape[-1]).T.contiguous()
    bias = None if part.bias is None else _value(part.bias)
    return weight, weight.new_zeros(len(weight)) if bias is None else bias


def _value(variable: Any) -> Any:
    found = getattr(variable, "value", variable)
    return found.detach() if isinstance(found, Tensor) else found
