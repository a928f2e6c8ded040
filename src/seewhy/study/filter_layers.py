"""A layer as channels: where its channels and places lie, which were asked for, and what its pooled values say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import LayerError, SettingError
from ..core.filters import Numbers
from ..core.queries import LayerView, layer_view
from ..core.query import Flow, ask
from ..core.rows import Case
from ..core.targets import Class, Top
from ..methods.layer_places import place
from ..methods.pooled_head import UNKNOWN, class_shares, read_head


@dataclass(frozen=True, slots=True)
class Layout:
    """How a layer's output for one picture, (*shape), is read.

    mapped: it has places. grid: they lie in the picture; cells: their rows and columns.
    """

    shape: tuple[int, ...]
    channels: int
    mapped: bool
    grid: bool
    cells: tuple[int, int]
    words: str


def channels_first(values: Tensor, shape: torch.Size, layer: str) -> tuple[Tensor, bool, str]:
    """Returns a layer's output (N, ...) as (N, C, *places), whether the places lie in the picture, and words for it.

    shape: the input's, (N, C, *places). A linear layer's (N, C) has no places. Tokens are put on the picture's grid,
    the class token and registers set aside; tokens that make no grid stay a row.

    Raises LayerError for an output that has no channels.
    """
    if values.dim() < 2:
        raise LayerError(
            f"A filter is a channel of a layer with an output (N, C, ...); layer {layer!r} gives "
            f"{tuple(values.shape)}. Choose another: model.layers() lists them."
        )
    if values.dim() == 2:
        return values, False, "values without a place"
    try:
        placed, words = place(values, shape, None, layer)
    except LayerError:
        if values.dim() == 3:
            return values.movedim(-1, 1), False, f"{values.shape[1]} tokens, which make no grid of the picture"
        return values, False, "places that are not those of the picture"
    return placed, placed.dim() == 4 and len(shape) == 4, words


def layout_of(values: Tensor, shape: torch.Size, layer: str) -> Layout:
    """Returns how the layer's output is read, from one picture's (1, ...)."""
    placed, grid, words = channels_first(values, shape, layer)
    mapped = placed[0, 0].numel() > 1
    cells = (placed.shape[2], placed.shape[3]) if grid else (1, placed[0, 0].numel())
    return Layout(tuple(values.shape[1:]), placed.shape[1], mapped, grid and mapped, cells, words)


def unit_index(layout: Layout, shape: torch.Size, channel: int, cell: tuple[int, int]) -> tuple[int, ...]:
    """Returns where in the layer's own output for one picture the unit of a channel and a cell stands."""
    numbers = torch.arange(int(np.prod(layout.shape)), device="cpu").reshape(1, *layout.shape)
    flat = int(channels_first(numbers, shape, "")[0][0, channel, cell[0], cell[1]])
    return tuple(int(at) for at in np.unravel_index(flat, layout.shape))


def chosen_channels(channels: Any, layout: Layout, layer: str) -> tuple[int, ...]:
    """Returns the channels asked for, each once: None is all of them, a number is one.

    Raises SettingError for what is no whole number, LayerError for a number that the layer has no channel of.
    """
    if channels is None:
        return tuple(range(layout.channels))
    asked = list(channels) if isinstance(channels, (Sequence, range, np.ndarray, Tensor)) else [channels]
    if not asked:
        raise SettingError("channels must name at least one channel; given none. Leave it out for all of them.")
    for one in asked:
        whole = isinstance(one, (int, np.integer)) or (isinstance(one, Tensor) and one.dtype == torch.int64)
        if isinstance(one, bool) or not whole:
            raise SettingError(f"channels must be whole numbers; given {one!r} ({type(one).__name__}).")
        if not 0 <= int(one) < layout.channels:
            raise LayerError(
                f"Layer {layer!r} has {layout.channels} channels, 0 to {layout.channels - 1} (its output for a picture "
                f"is {' x '.join(map(str, layout.shape))}); given {int(one)}."
            )
    return tuple(dict.fromkeys(map(int, asked)))


@dataclass(frozen=True, slots=True, eq=False)
class Proof:
    """The linear layer that gets the layer pooled. weights (K, C), bias (K,); top: class of the example, its score."""

    head: str
    pooling: str
    weights: Numbers
    bias: Numbers
    top: int
    score: float


def proven(case: Case, layer: str) -> Flow[Proof | str]:
    """Returns the linear layer that the layer is pooled into, proved by doing the sum, or why there is none."""
    view = yield from ask(layer_view(case, Top(), layer, gradient=False, head=True))
    target = view.target
    if not isinstance(target, Class):
        return "The model's answer is not one score per class."
    placed, *_ = channels_first(view.activation, case.x[0].shape, layer)
    values = placed[..., None] if placed.dim() == 2 else placed
    read = read_head(values, view.head, class_shares(target), view.score)
    if read is None or read.pooling == UNKNOWN:
        return _why_not(layer, view, read is not None)
    return _proof(view, values, read.pooling, target.index) if read.head else _classes(view, values, read.pooling)


def _proof(view: LayerView, values: Tensor, pooling: str, top: int) -> Proof | str:
    head = view.head
    assert head is not None
    spoken = head.output.double()
    places, said = 1, spoken[0]
    if spoken.dim() > 2:  # the head speaks at every place, and its answers are pooled
        if pooling == "maximum":
            return "The linear layer speaks at every place, and only its largest answer counts: no channel has a share."
        flat = spoken[0].flatten(1)
        places, said = (flat.shape[1], flat.sum(1)) if pooling == "sum" else (1, flat.mean(1))
    name = "none" if values[0, 0].numel() == 1 else pooling
    return Proof(head.name, name, _numbers(head.weight), _numbers(head.bias * places), top, float(said[top]))


def _classes(view: LayerView, values: Tensor, pooling: str) -> Proof:
    """Returns the proof where the layer's channels are the classes."""
    count = values.shape[1]
    name = "none" if values[0, 0].numel() == 1 else pooling
    top = view.target.index if isinstance(view.target, Class) else 0
    return Proof("", name, np.eye(count, dtype=np.float32), np.zeros(count, np.float32), top, float(view.score[0]))


def _why_not(layer: str, view: LayerView, fits: bool) -> str:
    head = view.head
    if head is None:
        return "No linear layer speaks last in this network, so channels have no weights for classes."
    if fits:
        return (
            f"Layer {layer!r} has as many channels as the last linear layer {head.name!r} takes, but what that gets is "
            "not this layer, pooled: something lies between them, or only some places are read."
        )
    return (
        f"Layer {layer!r} is not pooled right into the last linear layer {head.name!r}, which takes "
        f"{head.weight.shape[1]} values: what its channels say to the classes passes through other layers first."
    )


def _numbers(values: Tensor) -> Numbers:
    numbers: Numbers = values.detach().to("cpu", torch.float32).numpy()
    return numbers
