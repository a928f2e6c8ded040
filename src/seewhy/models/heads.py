"""The linear layers that may be a network's last word: what class activation mapping takes its weights from."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from ..core.rows import Head


def linear_heads(module: nn.Module) -> tuple[Head, ...]:
    """Returns the network's linear layers and 1 x 1 convolutions with their present weights, the last one first.

    Weights are float tensors as they are; quantised and scripted layers keep theirs elsewhere and are left out.
    """
    found = []
    for name, part in module.named_modules():
        if _is_linear(part):
            weight, bias = part.weight, part.bias
            if isinstance(weight, Tensor) and weight.is_floating_point():
                kept = bias.detach() if isinstance(bias, Tensor) else weight.detach().new_zeros(len(weight))
                found.append(Head(name, weight.detach().flatten(1), kept))
    return tuple(reversed(found))


def reading_changes_state(module: nn.Module) -> bool:
    """True if a linear layer computes its weight anew each time it is read, and in training mode may learn from it."""
    return any(part.training and is_parametrized(part) for part in module.modules() if _is_linear(part))


def _is_linear(part: nn.Module) -> bool:
    if isinstance(part, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return set(part.kernel_size) == {1} and part.groups == 1
    return isinstance(part, nn.Linear)
