"""The linear layers that may be a network's last word: what class activation mapping takes its weights from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Weights = tuple[Tensor, Tensor]


def is_linear(part: nn.Module) -> bool:
    """True for a linear layer, or a convolution of a single place, that lets its output be watched."""
    if isinstance(part, torch.jit.ScriptModule):
        return False
    if isinstance(part, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return set(part.kernel_size) == {1} and part.groups == 1
    return isinstance(part, nn.Linear)


def weights_of(part: nn.Module) -> Weights | None:
    """Returns weight (K, C) and bias (K,) of a linear layer; None where it keeps none as real numbers.

    A parametrised weight is computed anew when it is read, and may learn from that in training mode: read it where
    the network is in evaluation mode.
    """
    weight, bias = part.weight, part.bias
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        return None
    flat = weight.detach().flatten(1)
    return flat, bias.detach() if isinstance(bias, Tensor) else flat.new_zeros(len(flat))
