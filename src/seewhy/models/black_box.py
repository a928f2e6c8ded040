"""Black boxes: whatever answers and lets nobody look inside, as a module that the engine runs like any network."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

EVERYTHING = frozenset({"gradient", "layer", "activations", "attention"})
"""What an ordinary network gives beside its scores, in the words of `MethodInfo.needs`; a pass tells
whether there is, say, attention in it."""


class BlackBox(nn.Module):
    """A module that gives scores only: no gradient, no layer, no activation function that could be intercepted.

    answer: is called with the inputs under `no_grad` and returns anything that `as_tensors` understands. device:
    where the inputs are put; the CPU if not given.

    What `answer` keeps for itself, between calls, is its own: no snapshot follows it.
    """

    def __init__(self, answer: Callable[..., Any], device: str | torch.device | None = None) -> None:
        super().__init__()
        self.answer = answer
        if device is not None:  # a model is where its tensors are
            self.register_buffer("place", torch.empty(0, dtype=torch.uint8, device=device), persistent=False)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Returns the answer, its arrays and numbers as tensors."""
        with torch.no_grad():
            raw = self.answer(*inputs, **named)
        lead = next((item for item in (*inputs, *named.values()) if isinstance(item, Tensor)), None)
        if lead is None:
            return as_tensors(raw, 1, torch.device("cpu"))
        return as_tensors(raw, len(lead), lead.device)


def as_tensors(raw: Any, count: int, device: torch.device) -> Any:
    """Returns an answer about `count` rows with arrays, and lists of numbers, as tensors of their own.

    Copied, since a function may fill the same array at every call. One number about one row is that row's score.
    Everything else (detections, texts) is left as it is.
    """
    if isinstance(raw, Tensor):
        tensor = raw.detach().clone().to(device)
        return tensor.reshape(1) if tensor.dim() == 0 and count == 1 else tensor
    if isinstance(raw, Mapping):
        return {name: as_tensors(part, count, device) for name, part in raw.items()}
    if isinstance(raw, (bool, int, float, np.number)) and count == 1:
        return torch.tensor([float(raw)], device=device)
    if isinstance(raw, (list, tuple)) and not _is_numbers(raw):
        parts = [as_tensors(part, count, device) for part in raw]
        return type(raw)(*parts) if hasattr(raw, "_fields") else type(raw)(parts)
    if isinstance(raw, (list, tuple)) or hasattr(raw, "__array__"):
        return _tensor(raw, device)
    return raw


def _is_numbers(values: list[Any] | tuple[Any, ...]) -> bool:
    """True for numbers, and for lists of numbers, that have the shape of an array."""
    if not values:
        return False
    if all(isinstance(value, (int, float, np.number)) for value in values):
        return True
    same = isinstance(values, list) and all(isinstance(value, (list, tuple)) for value in values)
    return same and len({len(value) for value in values}) == 1 and all(map(_is_numbers, values))


def _tensor(values: Any, device: torch.device) -> Any:
    array = np.array(values, copy=True)
    if array.dtype.kind not in "biuf":  # texts and objects have no score; the reader of outputs says so
        return values
    if array.dtype.itemsize > 8 or (array.dtype.kind == "f" and isinstance(values, (list, tuple))):
        array = array.astype(np.float64 if array.dtype.itemsize > 8 else np.float32)
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False)).to(device)


def as_array(leaf: Any) -> Any:
    """Returns a tensor as an array, float32 where NumPy has no such type; everything else as it is."""
    if not isinstance(leaf, Tensor):
        return leaf
    plain = leaf.detach().cpu()
    return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()


def name_of(function: Any) -> str:
    """Returns what a callable is called."""
    if isinstance(function, functools.partial):
        return name_of(function.func)
    name = getattr(function, "__name__", "") or type(function).__name__
    return "function" if name == "<lambda>" else str(name)
