"""Part of a layer: chosen channels and chosen places, and the settings that choose them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import SettingError
from ..core.method import Method
from .common import check_choice
from .layer_fusion import Combine

Channels: TypeAlias = "int | Sequence[int] | None"
Neurons: TypeAlias = "Sequence[Sequence[int]] | Tensor | NDArray[Any] | None"


@dataclass(frozen=True, slots=True)
class Part:
    """The channels and places that are left of a layer (n, C, *grid); None means all."""

    grid: tuple[int, ...]
    channels: Tensor | None
    places: Tensor | None

    @staticmethod
    def of(values: Tensor, channels: Channels, neurons: Neurons, layer: str) -> Part:
        """Returns the part of a placed layer; raises SettingError where it does not have what was chosen."""
        grid = tuple(values.shape[2:])
        return Part(grid, _channels(channels, values, layer), _places(neurons, grid, layer))

    def take(self, values: Tensor) -> Tensor:
        """Returns (n, C', *grid), or (n, C', P) where places are chosen."""
        if self.channels is not None:
            values = values.index_select(1, self.channels.to(values.device))
        return values if self.places is None else values.flatten(2)[:, :, self.places.to(values.device)]

    def put(self, values: Tensor) -> Tensor:
        """Returns a map (n, P) of the chosen places on the grid, (n, *grid), zero elsewhere."""
        if self.places is None:
            return values
        whole = values.new_zeros(len(values), int(np.prod(self.grid)))
        whole[:, self.places.to(values.device)] = values
        return whole.reshape(len(values), *self.grid)


def _channels(channels: Channels, values: Tensor, layer: str) -> Tensor | None:
    if channels is None:
        return None
    chosen = [channels] if isinstance(channels, int) else list(channels)
    if max(chosen) >= values.shape[1]:
        raise SettingError(
            f"channels must be below {values.shape[1]}, the number of channels of layer {layer!r}; given {max(chosen)}."
        )
    return torch.tensor(chosen, device="cpu")


def _places(neurons: Neurons, grid: tuple[int, ...], layer: str) -> Tensor | None:
    if neurons is None:
        return None
    if isinstance(neurons, (Tensor, np.ndarray)):
        mask = torch.as_tensor(neurons)
        if tuple(mask.shape) != grid:
            raise SettingError(
                f"A mask of neurons must have the shape of layer {layer!r}, {grid}; given {tuple(mask.shape)}."
            )
        return mask.flatten().nonzero()[:, 0].cpu()
    for place in neurons:
        if len(place) != len(grid) or any(index >= size for index, size in zip(place, grid, strict=True)):
            raise SettingError(
                f"neurons must be places of layer {layer!r}, one index for each axis of {grid}; given {tuple(place)}."
            )
    return torch.tensor([int(np.ravel_multi_index(tuple(place), grid)) for place in neurons], device="cpu")


def check_layer_settings(method: Method) -> None:
    """Raises SettingError for settings that no class activation method can use."""
    settings = method.settings()
    _check_layer(settings["layer"])
    check_reshape(settings["reshape"])
    for name in ("relu", "augment"):
        if not isinstance(settings[name], bool):
            raise SettingError(f"{name} must be True or False; given {settings[name]!r}.")
    check_choice("combine", settings["combine"], get_args(Combine))
    if settings["combine"] == "product" and not settings["relu"]:
        raise SettingError(
            "combine='product' multiplies positive evidence: two negative numbers would make a positive one. Use "
            "relu=True, or combine='mean'."
        )
    _check_channels(settings["channels"])
    _check_neurons(settings["neurons"])


def _check_layer(layer: object) -> None:
    several = layer if isinstance(layer, (list, tuple)) else (layer,)
    good = all(isinstance(item, (str, torch.nn.Module)) for item in several)
    if layer is not None and (not several or not good):
        raise SettingError(f"layer takes a layer's name or the module itself, or a list of them; given {layer!r}.")
    if len(set(map(id, several))) < len(several) or len({str(i) for i in several if isinstance(i, str)}) < sum(
        isinstance(item, str) for item in several
    ):
        raise SettingError(f"layer must name each layer once; given {layer!r}.")


def check_reshape(reshape: object) -> None:
    """Raises SettingError for what does not say how tokens lie."""
    pair = isinstance(reshape, tuple) and len(reshape) == 2 and all(isinstance(n, int) and n > 0 for n in reshape)
    if reshape is not None and not callable(reshape) and not pair:
        raise SettingError(
            f"reshape takes a function from (N, T, D) to (N, D, h, w), or (rows, columns); given {reshape!r}."
        )


def _index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _check_channels(channels: Any) -> None:
    if channels is None or _index(channels):
        return
    good = isinstance(channels, (list, tuple, range)) and len(channels) > 0 and all(map(_index, channels))
    if not good or len(set(channels)) < len(channels):
        raise SettingError(
            f"channels takes a channel's number or a list of different ones, counted from 0; given {channels!r}."
        )


def _check_neurons(neurons: Any) -> None:
    if neurons is None:
        return
    if isinstance(neurons, (Tensor, np.ndarray)):
        mask = torch.as_tensor(neurons)
        if mask.dtype == torch.bool and bool(mask.any()):
            return
        raise SettingError(
            f"A mask of neurons must be of bool and choose at least one; given {mask.dtype} with {int(mask.sum())}."
        )
    places = neurons if isinstance(neurons, (list, tuple)) else []
    good = places and all(isinstance(place, (list, tuple)) and place and all(map(_index, place)) for place in places)
    if not good or len({tuple(place) for place in places}) < len(places):
        raise SettingError(
            "neurons takes a list of different places, each with one index for each axis, such as [(3, 4), (3, 5)], or "
            f"a mask of the layer's grid; given {neurons!r}."
        )
