"""Preprocessing that the user wrote or composed: any function of a PIL image, read as far as it can be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ..core.errors import InputError, InputTypeError, SettingError
from ..core.geometry import Geometry
from .images import Picture
from .preprocess import PRESETS, Preprocessing, centred, show

Bound: TypeAlias = "float | Sequence[float] | Tensor"


class CallablePreprocessing:
    """Any function from a PIL image (RGB) to model input, with the surface of `Preprocessing`.

    The function returns a float tensor (C, H, W) or (1, C, H, W) and must do the same each time; its own
    errors propagate. `value_range` is (black, white) in model space, each a number or one per channel. Where
    it is not given it is read off torchvision's transforms (ToTensor and Normalize), else it is None.

    The way back to the photograph is known only where the function is a `Compose` (or nn.Sequential) of
    torchvision's or timm's Resize, CenterCrop, ToTensor and Normalize, or one of torchvision's presets. For
    every other function `geometry` returns None: there is no mapping back, and maps can be shown over the
    model's input only, not over the original photograph. `like` says it for a function that resizes and crops as
    that preprocessing does, though its numbers may differ.
    """

    __slots__ = ("_function", "_key", "_range", "_steps")

    def __init__(
        self,
        function: Callable[[Image.Image], Any],
        value_range: tuple[Bound, Bound] | None = None,
        like: Preprocessing | None = None,
    ) -> None:
        if not callable(function):
            raise InputTypeError(
                f"Preprocessing must be callable with a PIL image, but is {type(function).__name__}; give a function."
            )
        self._function = function
        self._key: str | None = None
        self._steps = _steps(function) if like is None else [like]
        self._range = _bounds(value_range) if value_range is not None else _range_of(self._steps)

    def __repr__(self) -> str:
        return f"CallablePreprocessing({self._function!r})"

    def __call__(self, picture: Picture) -> Tensor:
        """Returns the model's input (1, C, H, W), in the dtype and on the device that the function chose.

        Raises InputTypeError where the function returns no float tensor, InputError for another shape.
        """
        result = self._function(Image.fromarray(picture.pixels))
        if not isinstance(result, Tensor) or not result.is_floating_point():
            kind = result.dtype if isinstance(result, Tensor) else type(result).__name__
            raise InputTypeError(
                f"Preprocessing must return a float tensor (C, H, W), but returned {kind}; add ToTensor()."
            )
        x = result.detach()
        x = x.unsqueeze(0) if x.ndim == 3 else x
        if x.ndim != 4 or x.shape[0] != 1 or x.numel() == 0:
            raise InputError(
                f"Preprocessing must return (C, H, W) or (1, C, H, W), but returned {tuple(result.shape)}; "
                "return the one picture that was given."
            )
        return x

    def geometry(self, picture: Picture) -> Geometry | None:
        """Returns how this picture is resized and cropped, or None where the function does not tell."""
        return None if self._steps is None else _geometry_of(self._steps, picture)

    @property
    def value_range(self) -> tuple[Tensor, Tensor] | None:
        """What black and what white are in the model's input, (C,) or (1,) float32 each; None: not known."""
        return self._range

    @property
    def key(self) -> str:
        """A short digest of what the function does: of its output for one fixed picture, computed once.

        So it is the same in every process, and no two runs agree for a function that is random.
        """
        if self._key is None:
            rows, columns = np.mgrid[:240, :320]
            probe = np.stack([rows, columns % 256, (rows * columns) % 251], axis=2).astype(np.uint8)
            x = self(Picture(probe, "probe")).to("cpu", torch.float64).contiguous()
            content = repr(tuple(x.shape)).encode() + x.numpy().tobytes()
            self._key = hashlib.sha256(content).hexdigest()[:16]
        return self._key

    def to_pixels(self, x: Tensor) -> NDArray[np.uint8]:
        """Returns model input (C, H, W) as a picture, (H, W, 3) uint8, for showing.

        Without a known value range, the lowest value of x is shown black and the highest white. Raises
        InputError for another shape than (1 or 3, H, W), NotFiniteError for NaN or infinity.
        """
        if self._range is not None or x.numel() == 0:
            return show(x, *(self._range or (torch.zeros(1), torch.ones(1))))
        low, high = x.detach().min().reshape(1), x.detach().max().reshape(1)
        return show(x, low, torch.where(high > low, high, low + 1))


def _bounds(given: tuple[Bound, Bound]) -> tuple[Tensor, Tensor]:
    """Returns black and white as two float32 tensors of one shape, (C,) or (1,)."""
    if len(given) != 2:
        raise SettingError(f"value_range must be (black, white), but has {len(given)} entries; give two.")
    low, high = (torch.as_tensor(bound, dtype=torch.float32).detach().cpu().flatten() for bound in given)
    if max(len(low), len(high)) % max(1, min(len(low), len(high))) or not bool((low < high).all()):
        raise SettingError(f"value_range must be (black, white) with black < white, but is {given}; swap or mend it.")
    count = max(len(low), len(high))
    return low.expand(count).clone(), high.expand(count).clone()


# Transforms are known by the name of their class: a user's own function needs neither package.
_RESIZES = ("Resize", "ResizeKeepRatio")
_CROPS = ("CenterCrop", "CenterCropOrPad")
_SCALES = ("ToTensor", "MaybeToTensor", "ConvertImageDtype", "ToDtype")
_OTHERS = ("PILToTensor", "MaybePILToTensor", "ToImage", "ToPureTensor", "Grayscale", "Normalize")


def _steps(function: object) -> list[Any] | None:
    """Returns the known transforms that make up the function, in order, or None where it is anything else."""
    kind = type(function)
    if kind is nn.Sequential or (kind.__name__ == "Compose" and _is_theirs(kind)):
        children = getattr(function, "transforms", function)
        parts = [_steps(child) for child in children]  # type: ignore[attr-defined]
        return None if None in parts else [step for part in parts for step in part or ()]
    if not _is_theirs(kind):
        return None
    if kind.__name__ in PRESETS:
        return [Preprocessing.from_torchvision(function)]
    random = getattr(function, "random_scale_prob", 0) or getattr(function, "random_aspect_prob", 0)
    known = (*_RESIZES, *_CROPS, *_SCALES, *_OTHERS)
    return [function] if kind.__name__ in known and not random else None


def _is_theirs(kind: type) -> bool:
    return kind.__module__.startswith(("torchvision.transforms", "timm.data.transforms"))


def _geometry_of(steps: list[Any], picture: Picture) -> Geometry | None:
    """Returns the geometry of resizes, asked with a blank picture, followed by at most one crop."""
    if len(steps) == 1 and isinstance(steps[0], Preprocessing):
        return steps[0].geometry(picture)
    size, crop = picture.size, None
    for step in steps:
        name = type(step).__name__
        if name in (*_RESIZES, *_CROPS, "Preprocessing") and (crop is not None or name == "Preprocessing"):
            return None
        if name in _RESIZES:
            size = step(Image.new("L", size[::-1])).size[::-1]
        elif name in _CROPS:
            sides = (step.size,) if isinstance(step.size, int) else tuple(step.size)
            crop = centred((sides[0], sides[-1]), size)
    return Geometry(picture.size, size, crop or (0, 0, *size))


def _range_of(steps: list[Any] | None) -> tuple[Tensor, Tensor] | None:
    """Returns black and white after the steps, where they scale to 0..1 and then normalise at most once."""
    if steps is not None and len(steps) == 1 and isinstance(steps[0], Preprocessing):
        return steps[0].value_range
    low, high = torch.zeros(1), torch.ones(1)
    scaled = normalised = False
    for step in steps or ():
        name = type(step).__name__
        if name in ("ToTensor", "MaybeToTensor") or (name in _SCALES and _scales(step)):
            scaled = True
        elif name == "Normalize":
            if normalised or not scaled:
                return None
            mean, std = (torch.as_tensor(v, dtype=torch.float32).flatten() for v in (step.mean, step.std))
            low, high, normalised = (low - mean) / std, (high - mean) / std, True
    return (low, high) if scaled else None


def _scales(step: Any) -> bool:
    to_float = isinstance(step.dtype, torch.dtype) and step.dtype.is_floating_point
    return to_float and bool(getattr(step, "scale", True))
