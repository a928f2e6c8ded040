"""The linear layers that may be a network's last word: what class activation mapping takes its weights from."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Spoken:
    """A linear layer's call in a pass, as it is remembered until a later one speaks: nothing is copied.

    versions: of its input and output, which count the operations in place on them.
    """

    name: str
    part: nn.Module
    inputs: Any
    output: Any
    versions: tuple[int, int]

    @staticmethod
    def of(name: str, part: nn.Module, inputs: Any, output: Any) -> Spoken:
        """Returns the call."""
        return Spoken(name, part, inputs, output, (_version(inputs), _version(output)))

    def head(self) -> Head | None:
        """Returns what the layer said; None where it keeps no weights that are real numbers.

        Where its output was changed in place since, it speaks once more; None where its input was changed, too. A
        parametrised weight is computed anew when it is read, and may learn from that in training mode: read it where
        the network is in evaluation mode.
        """
        of_keras = keras_head(self.part)
        if of_keras is not None:  # its output may have gone through softmax already
            given = first_tensor(self.inputs)
            if given is None or given.dim() != 2:
                return None
            return Head(self.name, *of_keras, given.detach() @ of_keras[0].T + of_keras[1])
        weight: Any = self.part.weight
        bias: Any = self.part.bias
        if not isinstance(weight, Tensor) or not weight.is_floating_point():
            return None
        output = self._said()
        if output is None:
            return None
        flat = weight.detach().flatten(1)
        kept = bias.detach() if isinstance(bias, Tensor) else flat.new_zeros(len(flat))
        return Head(self.name, flat, kept, output)

    def _said(self) -> Tensor | None:
        if _version(self.output) == self.versions[1]:
            return self.output.detach().clone()  # type: ignore[no-any-return]
        if _version(self.inputs) != self.versions[0]:
            return None
        with torch.no_grad():
            said: Tensor = self.part.forward(*self.inputs)
        return said


def _version(values: Any) -> int:
    """Returns how often the first tensor was changed in place; -1 where that is not counted."""
    found = first_tensor(values)
    return -1 if found is None or found.is_inference() else found._version
