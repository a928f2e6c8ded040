"""The linear layers that may be a network's last word: what class activation mapping takes its weights from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..core.query import Head
from .keras_heads import keras_head
from .tracing import first_tensor


def is_linear(part: nn.Module) -> bool:
    """True for a linear layer, or a convolution of a single place, that lets its output be watched."""
    if isinstance(part, torch.jit.ScriptModule):
        return False
    if isinstance(part, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return set(part.kernel_size) == {1} and part.groups == 1
    return isinstance(part, nn.Linear) or keras_head(part) is not None


def head_of(name: str, part: nn.Module, inputs: Any, output: Any) -> Head | None:
    """Returns what a linear layer said in a pass; None where it keeps no weights that are real numbers.

    A parametrised weight is computed anew when it is read, and may learn from that in training mode: read it where
    the network is in evaluation mode.
    """
    of_keras = keras_head(part)
    if of_keras is not None:  # its output may have gone through softmax already
        given = first_tensor(inputs)
        if given is None or given.dim() != 2:
            return None
        return Head(name, *of_keras, given.detach() @ of_keras[0].T + of_keras[1])
    weight: Any = part.weight
    bias: Any = part.bias
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        return None
    flat = weight.detach().flatten(1)
    kept = bias.detach() if isinstance(bias, Tensor) else flat.new_zeros(len(flat))
    return Head(name, flat, kept, output.detach().clone())
