"""Attention weights of any network, fused or not: each softmax over tokens passes a layer that can be captured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ..core.errors import UnsupportedModelError
from ..core.rows import AttentionFacts
from .model import Model, call

_SOFTMAX = (functional.softmax, torch.softmax, Tensor.softmax)


class _Tapped(TorchFunctionMode):
    """A context in which attention weights (N, heads, T, T) go through `tap` on their way to the values.

    Fused attention, which never shows its weights, is computed as it is defined: softmax(q k' scale + mask) v.
    """

    def __init__(self, tap: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.tap = tap

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            return self._attend(*args, **named)
        out = func(*args, **named)
        if func in _SOFTMAX and isinstance(out, Tensor) and out.dim() == 4 and out.shape[-1] == out.shape[-2]:
            return self.tap(out)
        return out

    def _attend(  # noqa: PLR0913 - torch's own parameters
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if enable_gqa:
            groups = query.shape[-3] // key.shape[-3]
            key, value = (part.repeat_interleave(groups, -3) for part in (key, value))
        scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        if is_causal:
            ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(ahead, -torch.inf)
        if attn_mask is not None:
            hidden = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -torch.inf) if hidden else scores + attn_mask
        weights = functional.dropout(scores.softmax(-1), dropout_p)
        if weights.dim() == 4 and weights.shape[-1] == weights.shape[-2]:
            weights = self.tap(weights)
        return weights @ value


class Attended(nn.Module):
    """A network whose attention weights go through the layers `taps`, one a call, in order."""

    def __init__(self, network: nn.Module, taps: int) -> None:
        super().__init__()
        self.network = network
        self.taps = nn.ModuleList(nn.Identity() for _ in range(taps))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Returns what the network returns."""
        waiting = iter(self.taps)

        def tap(weights: Tensor) -> Tensor:
            layer = next(waiting, None)
            found: Tensor = weights if layer is None else layer(weights)
            return found

        with _Tapped(tap):
            return self.network(*args, **kwargs)


def attended(model: Model, inputs: Any, readings: int = 1) -> tuple[Model, AttentionFacts]:
    """Returns the model with its attention weights open to be captured, and the names of the layers that give them.

    inputs: one row, run once to count them. readings: how many texts the network reads apart from each other, with as
    many layers of attention each.

    Raises UnsupportedModelError where no attention over tokens is seen, or it is not one stack of layers a reading.
    """
    shapes: list[tuple[int, ...]] = []

    def note(weights: Tensor) -> Tensor:
        shapes.append(tuple(weights.shape))
        return weights

    with torch.no_grad(), _Tapped(note):
        call(model.module, inputs)
    each = len(shapes) // readings
    sizes = [{shape[-1] for shape in shapes[place * each : (place + 1) * each]} for place in range(readings)]
    if not shapes or len(shapes) % readings or any(len(size) != 1 for size in sizes) or shapes[0][0] != 1:
        raise UnsupportedModelError(
            f"Attention methods follow one stack of attention over all tokens; given {model.name}, in which "
            f"{len(shapes)} attention maps of shapes {sorted(set(shapes))[:4]} were seen. Use 'integrated-gradients'."
        )
    names = tuple(f"taps.{place}" for place in range(len(shapes)))
    stacks = tuple(names[place * each : (place + 1) * each] for place in range(readings))
    return replace(model, module=Attended(model.module, len(shapes))), AttentionFacts(stacks)
