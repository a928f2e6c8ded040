"""What can be visualised: a channel, a neuron, a direction, a class, and weighted sums of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from ..core import targets
from ..core.errors import SettingError, TargetError
from ..core.targets import Combination, Target

Layer: TypeAlias = "str | nn.Module"
Rename: TypeAlias = Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a layer's output is laid out: its channels, its other axes, where the channels are, and the middle place."""

    channels: int
    places: tuple[int, ...]
    axis: Literal[1, -1]
    centre: tuple[int, ...]


class Feature:
    """Base of all that can be visualised; features add up, and are weighted by numbers: `a + 2 * b`, `-a`."""

    __slots__ = ()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that the feature looks into."""
        return ()

    def named(self, rename: Rename) -> Feature:
        """Returns the feature with its layers' real names."""
        return self

    def target(self, seen: Mapping[str, Layout]) -> Target:
        """Returns the target that stands for the feature in layers laid out so.

        Raises TargetError for channels and positions that the layer does not have.
        """
        raise NotImplementedError

    def __add__(self, other: Feature) -> Feature:
        if not isinstance(other, Feature):
            return NotImplemented
        return Weighted((*_parts(self), *_parts(other)))

    def __mul__(self, weight: float) -> Feature:
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight):
            return NotImplemented
        return Weighted(tuple((weight * own, part) for own, part in _parts(self)))

    __rmul__ = __mul__

    def __neg__(self) -> Feature:
        return self * -1.0

    def __sub__(self, other: Feature) -> Feature:
        return self + -other


def _parts(feature: Feature) -> tuple[tuple[float, Feature], ...]:
    return feature.parts if isinstance(feature, Weighted) else ((1.0, feature),)


@dataclass(frozen=True, slots=True)
class Channel(Feature):
    """One channel of a layer, averaged over its map; of a layer of numbers (N, C) one number.

    layer: a name or the module. Layers of tokens (N, T, C) and channels-last layers have their channels last.
    """

    layer: Layer
    channel: int

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layer."""
        return (self.layer,)

    def named(self, rename: Rename) -> Channel:
        """Returns the feature with its layer's real name."""
        return replace(self, layer=rename(self.layer))

    def target(self, seen: Mapping[str, Layout]) -> Target:
        """Returns a `Unit`."""
        layout = _layout(self.layer, seen)
        return targets.Unit(str(self.layer), _channel(self.channel, self.layer, layout), None, layout.axis)


@dataclass(frozen=True, slots=True)
class Neuron(Feature):
    """One place of one channel of a layer; `position` indexes the layer's other axes, None is the middle."""

    layer: Layer
    channel: int
    position: tuple[int, ...] | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layer."""
        return (self.layer,)

    def named(self, rename: Rename) -> Neuron:
        """Returns the feature with its layer's real name."""
        return replace(self, layer=rename(self.layer))

    def target(self, seen: Mapping[str, Layout]) -> Target:
        """Returns a `Unit` at one position."""
        layout = _layout(self.layer, seen)
        at = layout.centre if self.position is None else tuple(self.position)
        if len(at) != len(layout.places) or any(not 0 <= i < n for i, n in zip(at, layout.places, strict=True)):
            raise TargetError(
                f"position must index a place in {layout.places} of layer {self.layer!r}; given {self.position}."
            )
        return targets.Unit(str(self.layer), _channel(self.channel, self.layer, layout), at, layout.axis)


@dataclass(frozen=True, slots=True)
class Direction(Feature):
    """A direction among a layer's channels: the dot product with `vector`, averaged over the map.

    vector: one number a channel, as a sequence, array or tensor. position: one place instead of the whole map.
    """

    layer: Layer
    vector: Any
    position: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        values = torch.as_tensor(self.vector).detach().to("cpu", torch.float64)
        if values.dim() != 1 or not values.numel() or not bool(values.isfinite().all()):
            raise SettingError(f"vector takes finite numbers, one for each channel; given {tuple(values.shape)}.")
        object.__setattr__(self, "vector", tuple(values.tolist()))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layer."""
        return (self.layer,)

    def named(self, rename: Rename) -> Direction:
        """Returns the feature with its layer's real name."""
        return replace(self, layer=rename(self.layer))

    def target(self, seen: Mapping[str, Layout]) -> Target:
        """Returns a `Direction` of the protocol."""
        layout = _layout(self.layer, seen)
        if len(self.vector) != layout.channels:
            raise TargetError(
                f"vector must have one number for each of the {layout.channels} channels of layer {self.layer!r}; "
                f"given {len(self.vector)}."
            )
        return targets.Direction(str(self.layer), self.vector, self.position, layout.axis)


@dataclass(frozen=True, slots=True)
class Logit(Feature):
    """The score of a class, before any softmax; `index` is its number, or its label."""

    index: int | str
    of: targets.Of = "score"

    def target(self, seen: Mapping[str, Layout]) -> Target:
        """Returns a `Class`."""
        if isinstance(self.index, str):
            raise TargetError(f"A label must be looked up before the pass; given {self.index!r}. Give the index.")
        return targets.Class(self.index, self.of)


@dataclass(frozen=True, slots=True)
class Weighted(Feature):
    """A weighted sum of features; made by `a + 2 * b`."""

    parts: tuple[tuple[float, Feature], ...]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of all parts."""
        return tuple(layer for _, part in self.parts for layer in part.layers)

    def named(self, rename: Rename) -> Weighted:
        """Returns the feature with its layers' real names."""
        return Weighted(tuple((weight, part.named(rename)) for weight, part in self.parts))

    def target(self, seen: Mapping[str, Layout]) -> Target:
        """Returns a `Combination`."""
        return Combination(tuple((weight, part.target(seen)) for weight, part in self.parts))


def laid_out(shape: tuple[int, ...], picture: tuple[int, int]) -> Layout:
    """Returns the layout of a layer that gives `shape` for one row of a picture (H, W).

    (C,) is numbers, (T, C) tokens, (C, H', W') channels first, unless the last axis cannot be a place: (H', W', C).
    """
    if not shape:
        raise TargetError("A layer to visualise must give at least one number for each channel; it gives one a row.")
    last = len(shape) == 2 or (len(shape) == 3 and not _fits(shape[1:], picture) and _fits(shape[:2], picture))
    places = shape[:-1] if last else shape[1:]
    centre = (_middle_token(places[0], picture),) if len(shape) == 2 else tuple(size // 2 for size in places)
    return Layout(shape[-1] if last else shape[0], places, -1 if last else 1, centre)


def _fits(places: tuple[int, ...], picture: tuple[int, int]) -> bool:
    """True if a grid has the picture's proportions, up to rounding to whole cells."""
    stride = max(picture[0] / places[0], picture[1] / places[1])
    return all(abs(size / stride - cells) < 1 for size, cells in zip(picture, places, strict=True))


def _middle_token(tokens: int, picture: tuple[int, int]) -> int:
    """Returns the token in the middle of the picture: tokens make a grid behind at most a few that have no place."""
    for prefix in range(min(tokens, 10)):
        rows = round(math.sqrt((tokens - prefix) * picture[0] / picture[1]))
        if rows and (tokens - prefix) % rows == 0 and _fits((rows, (tokens - prefix) // rows), picture):
            columns = (tokens - prefix) // rows
            return prefix + rows // 2 * columns + columns // 2
    return tokens // 2


def _layout(layer: Layer, seen: Mapping[str, Layout]) -> Layout:
    if not isinstance(layer, str) or layer not in seen:
        raise TargetError(f"The layout of layer {layer!r} is not known; visualize() finds it.")
    return seen[layer]


def _channel(channel: int, layer: Layer, layout: Layout) -> int:
    if isinstance(channel, bool) or not isinstance(channel, int) or not 0 <= channel < layout.channels:
        raise TargetError(
            f"channel must lie between 0 and {layout.channels - 1}, the channels of layer {layer!r}; given {channel!r}."
        )
    return channel
