"""Which layers a forward pass went through, and which of them a class activation map should use.

The default layer is the last one that still has a place in the picture: the output that feeds global pooling
in a CNN, the input of the last attention in a vision transformer (behind it only the class token is read).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


def first_tensor(output: Any) -> Tensor | None:
    """Returns the tensor of a layer's output: itself, or the first one of a tuple, list or dict."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, (tuple, list)):
        return next((item for item in output if isinstance(item, Tensor)), None)
    return None


def with_first_tensor(output: Any, tensor: Tensor) -> Any:
    """Returns the output with its first tensor exchanged."""
    if isinstance(output, Tensor):
        return tensor
    old = first_tensor(output)
    if isinstance(output, dict):
        return type(output)((name, tensor if item is old else item) for name, item in output.items())
    items = [tensor if item is old else item for item in output]
    return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)


def version(tensor: Tensor) -> int:
    """Returns how often a tensor was written to; tensors born in inference mode do not count."""
    return -1 if tensor.is_inference() else tensor._version


@dataclass(slots=True)
class Candidate:
    """The layer that would be chosen if the pass ended here."""

    name: str
    tensor: Tensor
    version: int
    why: str

    @property
    def intact(self) -> bool:
        """False if the network has written to the tensor since."""
        return version(self.tensor) == self.version


@dataclass(slots=True)
class LayerProbe:
    """Watches one forward pass for the default layer.

    `hand_on(tensor)` returns what is kept of a candidate's output, and what the network goes on with. `inside` is
    the attention over tokens that is running: its heads x tokens x dimensions look like channels and places.
    """

    input_shape: tuple[int, ...]
    hand_on: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    best: Candidate | None = None
    tokens: Candidate | None = None
    handed: tuple[Tensor, int] | None = None
    inside: str | None = None

    def attach(self, module: nn.Module) -> list[Any]:
        """Registers the hooks on every layer and returns their handles."""
        handles: list[Any] = []
        for name, layer in module.named_modules():
            if name == "" or isinstance(layer, torch.jit.ScriptModule):
                continue
            if _is_attention(layer):
                handles.append(layer.register_forward_pre_hook(self._before_attention(name)))
            handles.append(layer.register_forward_hook(self._after(name)))
        return handles

    def _after(self, name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(layer: nn.Module, _: Any, output: Any) -> Any:
            tensor = first_tensor(output)
            if self.inside == name:
                self.inside = None
            if tensor is None or self.inside is not None:
                return None
            if self._same(tensor):
                assert self.best is not None
                if self.best.name.startswith(name + "."):
                    self.best.name = name
                return None
            if self._is_place(tensor, layer):
                return self._take(name, output, tensor)
            if tensor.dim() == 3 and len(self.input_shape) == 4 and _is_norm(layer):
                self.tokens = Candidate(name, tensor, version(tensor), "input of the last attention over patches")
            return None

        return hook

    def _same(self, tensor: Tensor) -> bool:
        """True if this is the candidate's tensor again, not written to since."""
        return self.handed is not None and tensor is self.handed[0] and version(tensor) == self.handed[1]

    def _is_place(self, tensor: Tensor, layer: nn.Module) -> bool:
        if tensor.dim() != len(self.input_shape) or tensor.dim() < 3 or not tensor.is_floating_point():
            return False
        if _is_pooling(layer):
            return False
        spatial = max(tensor.shape[2:])
        if tensor.dim() > 3:  # with channels on the last axis, a pooled layer is (N, 1, 1, C)
            spatial = min(spatial, max(tensor.shape[1:-1]))
        return spatial > 1 or max(self.input_shape[2:]) == 1

    def _take(self, name: str, output: Any, tensor: Tensor) -> Any:
        kept, handed = (tensor, tensor) if self.hand_on is None else self.hand_on(tensor)
        self.handed = (handed, version(handed))
        self.best = Candidate(name, kept, version(kept), "last layer with a place in the picture")
        return None if handed is tensor else with_first_tensor(output, handed)

    def _before_attention(self, name: str) -> Callable[[nn.Module, Any], None]:
        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            if self.tokens is None or self.inside is not None:
                return
            self.handed = None
            self.best = self.tokens
            given = first_tensor(inputs)
            self.inside = name if given is None or given.dim() == 3 else None

        return hook


def _is_pooling(layer: nn.Module) -> bool:
    return "pool" in type(layer).__name__.lower()


def _is_norm(layer: nn.Module) -> bool:
    return "norm" in type(layer).__name__.lower()


def _is_attention(layer: nn.Module) -> bool:
    name = type(layer).__name__.lower()
    return "attention" in name or name in ("attn", "selfattn", "mhsa", "msa")
