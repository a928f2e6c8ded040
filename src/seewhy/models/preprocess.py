"""Turns a picture into model input exactly as the model's authors do, and knows the way back."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..core.errors import InputError, InputTypeError, NotFiniteError, SettingError, nearest
from ..core.geometry import Geometry
from .images import MAX_PIXELS, Picture

Size: TypeAlias = tuple[int, int]


_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
PRESETS = {"ImageClassification", "SemanticSegmentation"}  # not VideoClassification: it takes clips
_FITS = ("squash", "cover", "contain")
_CROP_MODES = {"center": "cover", "squash": "squash", "border": "contain"}  # timm's names for the fits


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize, centre crop, scale to 0..1, subtract `mean`, divide by `std`: what most classifiers use.

    Computes what the evaluation transforms of torchvision and timm compute, bit for bit: Pillow's resize
    (which averages when it shrinks) with the filter `interpolation`, then the crop, padded by `fill` where it
    is larger than the picture.

    `resize` is the new length of the shorter side, or (height, width), or None to leave the size. With
    (height, width), `fit` says how: "squash" stretches to it, "cover" keeps the proportions and covers it,
    "contain" keeps them and stays inside. `crop` is (height, width) or None. `mean` and `std` have one entry
    for each of the `channels` (3: RGB; 1: grey by ITU-R 601), in units of the full scale. `fill` is a colour
    with levels in 0..255, black when empty.

    Raises SettingError for a setting that makes no sense.
    """

    resize: int | Size | None
    crop: Size | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    channels: int = 3
    fit: str = "squash"
    fill: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise SettingError(
                f"channels must be 1 (grey) or 3 (RGB), but is {self.channels!r}; give a function for others."
            )
        _one_of("interpolation", self.interpolation, _FILTERS)
        _one_of("fit", self.fit, _FITS)
        for name in ("mean", "std"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name), self.channels))
        if min(self.std) <= 0:
            raise SettingError(f"std must be above 0, but is {self.std}; use 1 where nothing is divided.")
        object.__setattr__(self, "resize", _pixels("resize", self.resize, (1, 2)))
        object.__setattr__(self, "crop", _pixels("crop", self.crop, (2,)))
        if self.fill:
            fill = tuple(map(int, _numbers("fill", self.fill, self.channels)))
            if min(fill) < 0 or max(fill) > 255:
                raise SettingError(f"fill must be in 0..255, but is {fill}; give 8-bit levels.")
            object.__setattr__(self, "fill", fill)

    @classmethod
    def from_timm(cls, data_config: Mapping[str, Any]) -> Preprocessing:
        """Returns what `timm.data.create_transform(**data_config, is_training=False)` computes.

        `data_config` is what `timm.data.resolve_model_data_config(model)` returns: `input_size` (C, H, W),
        `crop_pct` (the crop's share of the resized side), `crop_mode` ("center", "squash" or "border"),
        `mean`, `std`, `interpolation`. Missing entries take timm's defaults. Raises SettingError for others.
        """
        size = tuple(data_config.get("input_size", (3, 224, 224)))
        if len(size) != 3:
            raise SettingError(f"input_size must be (C, H, W), but is {size}; use resolve_model_data_config().")
        channels, height, width = size
        share = data_config.get("crop_pct") or 0.875
        mode = data_config.get("crop_mode") or "center"
        _one_of("crop_mode", mode, _CROP_MODES)
        mean = data_config.get("mean", (0.485, 0.456, 0.406))
        resize = (math.floor(height / share), math.floor(width / share))
        return cls(
            resize=resize[0] if mode == "center" and resize[0] == resize[1] else resize,
            crop=(height, width),
            mean=tuple(mean),
            std=tuple(data_config.get("std", (0.229, 0.224, 0.225))),
            interpolation=data_config.get("interpolation") or "bilinear",
            channels=channels,
            fit=_CROP_MODES[mode],
            fill=tuple(round(255 * level) for level in mean) if mode == "border" else (),
        )

    @classmethod
    def from_torchvision(cls, weights_or_transform: object) -> Preprocessing:
        """Returns what the transforms of a torchvision classification or segmentation model compute.

        Takes the weights (`MobileNet_V2_Weights.IMAGENET1K_V1`) or their transforms (`weights.transforms()`).
        Raises InputTypeError for any other transform.
        """
        found = getattr(weights_or_transform, "transforms", weights_or_transform)
        preset: Any = found() if isinstance(found, functools.partial) else found
        if not PRESETS.intersection(kind.__name__ for kind in type(preset).__mro__):
            raise InputTypeError(
                "from_torchvision takes classification or segmentation weights or their transforms(), but "
                f"got {type(weights_or_transform).__name__}; pass other transforms as a callable."
            )
        resize, crop = preset.resize_size, getattr(preset, "crop_size", None)
        return cls(
            resize=resize[0] if resize is not None and len(resize) == 1 else resize,
            crop=None if crop is None else (crop[0], crop[-1]),
            mean=preset.mean,
            std=preset.std,
            interpolation=preset.interpolation.value,
        )

    def __call__(self, picture: Picture) -> Tensor:
        """Returns the model's input (1, C, H, W), float32.

        Raises InputError where resizing would need more than `MAX_PIXELS` pixels (a very long, thin picture).
        """
        image = Image.fromarray(picture.pixels)
        if self.channels == 1:
            image = image.convert("L")
        geometry = self.geometry(picture)
        if geometry.resized != geometry.original:
            image = image.resize(geometry.resized[::-1], _FILTERS[self.interpolation])
        top, left, height, width = geometry.crop
        if (top, left, height, width) != (0, 0, *geometry.resized):
            canvas = Image.new(image.mode, (width, height), self.fill or 0)
            canvas.paste(image, (-left, -top))
            image = canvas
        levels = np.array(image, dtype=np.uint8).reshape(height, width, self.channels)
        values = torch.from_numpy(levels).permute(2, 0, 1).contiguous().to(torch.float32).div(255)
        mean, std = self._statistics()
        return values.sub(mean).div(std).unsqueeze(0)

    def geometry(self, picture: Picture) -> Geometry:
        """Returns how this picture is resized and cropped; raises InputError as the call does."""
        height, width = self._resized(*picture.size)
        if height * width > MAX_PIXELS:
            raise InputError(
                f"{picture.source}: expected at most {MAX_PIXELS // 10**6} megapixels after resizing, but "
                f"{picture.size[1]}x{picture.size[0]} becomes {width}x{height}; crop the picture first."
            )
        return Geometry(picture.size, (height, width), centred(self.crop or (height, width), (height, width)))

    @property
    def value_range(self) -> tuple[Tensor, Tensor]:
        """What black and what white are in the model's input: two tensors (C,), float32."""
        mean, std = self._statistics()
        black, white = torch.zeros_like(mean), torch.ones_like(mean)
        return black.sub(mean).div(std).flatten(), white.sub(mean).div(std).flatten()

    @property
    def key(self) -> str:
        """A short digest of all settings: the same in every process, another for any other setting."""
        return hashlib.sha256(repr(astuple(self)).encode()).hexdigest()[:16]

    def to_pixels(self, x: Tensor) -> NDArray[np.uint8]:
        """Returns model input (C, H, W) as a picture to show, (H, W, 3) uint8, clipped to black and white.

        Raises InputError for another shape, NotFiniteError for NaN or infinity.
        """
        return show(x, *self.value_range)

    def _statistics(self) -> tuple[Tensor, Tensor]:
        shape = (self.channels, 1, 1)
        mean = torch.tensor(self.mean, dtype=torch.float32, device="cpu").reshape(shape)
        return mean, torch.tensor(self.std, dtype=torch.float32, device="cpu").reshape(shape)

    def _resized(self, height: int, width: int) -> Size:
        if self.resize is None:
            return height, width
        if isinstance(self.resize, int):
            short, long = min(height, width), max(height, width)
            longer = int(self.resize * long / short)  # cut, not rounded: torchvision's rule
            return (self.resize, longer) if height <= width else (longer, self.resize)
        if self.fit == "squash":
            return self.resize
        ratios = height / self.resize[0], width / self.resize[1]
        ratio = min(ratios) if self.fit == "cover" else max(ratios)
        return max(1, round(height / ratio)), max(1, round(width / ratio))


def _one_of(name: str, value: object, known: Collection[str]) -> None:
    if value not in known:
        hint = nearest(str(value), known) or " Choose one of these."
        raise SettingError(f"{name} must be one of {', '.join(known)}, but is {value!r}.{hint}")


def _numbers(name: str, given: Iterable[float], count: int) -> tuple[float, ...]:
    numbers = tuple(map(float, given))
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise SettingError(f"{name} must hold {count} finite number(s), but is {numbers}; give one per channel.")
    return numbers


def _pixels(name: str, given: int | Sequence[int] | None, counts: tuple[int, ...]) -> int | Size | None:
    """Returns a side (where `counts` allows one number), (height, width) or None; whole and positive."""
    if given is None:
        return None
    numbers = tuple(given) if isinstance(given, Sequence) else (given,)
    if len(numbers) not in counts or any(number < 1 or int(number) != number for number in numbers):
        wanted = "(height, width)" if counts == (2,) else "one side or (height, width)"
        raise SettingError(f"{name} must be {wanted} in whole pixels above 0, but is {given!r}; None leaves it out.")
    return int(numbers[0]) if len(numbers) == 1 else (int(numbers[0]), int(numbers[1]))


def centred(crop: Size, size: Size) -> tuple[int, int, int, int]:
    """Returns the box of a centred crop; halves round as torchvision does: pads down, crops to even."""
    top, left = (
        -((inner - outer) // 2) if inner > outer else round((outer - inner) / 2)
        for inner, outer in zip(crop, size, strict=True)
    )
    return top, left, *crop


def show(x: Tensor, low: Tensor, high: Tensor) -> NDArray[np.uint8]:
    """Returns (C, H, W) scaled so that `low` is 0 and `high` is 255, as (H, W, 3) uint8."""
    if x.ndim != 3 or x.shape[0] not in (1, 3) or len(low) not in (1, x.shape[0]) or x.numel() == 0:
        last = x.ndim == 3 and x.shape[-1] in (1, 3) and x.shape[0] not in (1, 3)
        way = (
            "its last axis looks like the channels: use movedim(-1, 0)" if last else "give one row of the model's input"
        )
        raise InputError(
            f"A picture (C, H, W) with {max(1, len(low))} channel(s) can be shown, but the shape is "
            f"{tuple(x.shape)}; {way}."
        )
    values = x.detach().to("cpu", torch.float32)
    if not bool(values.isfinite().all()):
        raise NotFiniteError("A picture must be finite to be shown, but holds NaN or infinity; check what made it.")
    low, high = (bound.to("cpu", torch.float32)[:, None, None] for bound in (low, high))
    levels = ((values - low) / (high - low)).clamp(0, 1).mul(255).round().to(torch.uint8)
    pixels: NDArray[np.uint8] = levels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
    return pixels
