"""Puts a heat map over a picture so that both can be read: evidence glows, the rest steps back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..core.errors import SettingError
from .scales import Scale

Picture = NDArray[np.uint8]

SATURATION, BRIGHTNESS = 0.5, 0.68
"""How a picture is muted under a heat map: colours that start dark glow on a darker picture."""

UNSEEN = 0.4
"""Brightness of what the model did not see, outside its crop."""

_FRAME = (255, 255, 255)
_HATCH = ((150, 150, 150), (110, 110, 110))


def overlay(picture: Any, values: Any, scale: Scale, *, strength: float = 1.0, contours: int = 0) -> Picture:
    """Returns the heat map over the picture, (H, W, 3) uint8.

    picture: (H, W, 3) uint8. values: (H, W). NaN around the numbers is what the model did not see:
    there the picture is darkened, behind a frame. NaN among the numbers is hatched grey.
    strength: 0 is the untouched picture, 1 the full overlay. contours: this many lines of equal evidence.

    Raises SettingError if sizes differ or `strength` is not within 0..1.
    """
    picture, values = np.asarray(picture), np.asarray(values, dtype=np.float64)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
        raise SettingError(
            f"overlay takes a picture (H, W, 3) of uint8; given {picture.shape} of {picture.dtype}. Convert it."
        )
    if values.shape != picture.shape[:2]:
        raise SettingError(
            f"The map must be as large as the picture, {picture.shape[0]} x {picture.shape[1]}; given "
            f"{' x '.join(map(str, values.shape))}. Resize one of them."
        )
    if not 0 <= strength <= 1:
        raise SettingError(f"strength must lie within 0 and 1; given {strength}.")
    colours = scale.colours(values, solid=False).astype(np.float64)
    alpha = strength * colours[..., 3:] / 255
    mixed = muted(picture, strength) * (1 - alpha) + colours[..., :3] * alpha
    mixed = np.where(np.isnan(values)[..., None], _missing(picture, values, strength), mixed)
    drawn = np.rint(mixed).clip(0, 255).astype(np.uint8)
    if contours:
        drawn[_contours(scale.position(values), contours)] = _FRAME
    box = seen_box(values)
    if box is not None and strength > 0 and box != (0, 0, *values.shape):
        _frame(drawn, box)
    return drawn


def muted(picture: Picture, strength: float = 1.0) -> NDArray[np.float64]:
    """Returns the picture with less colour and light, (H, W, 3) in 0..255; unchanged at `strength` 0."""
    colour = picture.astype(np.float64)
    grey = (colour @ np.array([0.2126, 0.7152, 0.0722]))[..., None]
    saturation = 1 - strength * (1 - SATURATION)
    light = 1 - strength * (1 - BRIGHTNESS)
    faded: NDArray[np.float64] = (grey + saturation * (colour - grey)) * light
    return faded


def seen_box(values: NDArray[np.float64]) -> tuple[int, int, int, int] | None:
    """Returns (top, left, bottom, right) of the smallest box that holds all numbers; None if all are NaN."""
    known = ~np.isnan(values)
    rows, columns = np.flatnonzero(known.any(1)), np.flatnonzero(known.any(0))
    if not len(rows):
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def hatched(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Returns the grey stripes that stand for missing numbers, (H, W, 3)."""
    rows, columns = np.indices(shape)
    stripe = ((rows + columns) // 4 % 2)[..., None]
    drawn: NDArray[np.float64] = np.where(stripe == 0, np.array(_HATCH[0], float), np.array(_HATCH[1], float))
    return drawn


def shrink(picture: Picture, longest: int) -> Picture:
    """Returns the picture with its longest side at most `longest` pixels; smaller ones as they are."""
    height, width = picture.shape[:2]
    size = shrunk((height, width), longest)
    if size == (height, width):
        return picture
    return np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.LANCZOS))


def shrunk(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Returns (height, width) in the same proportion with the longest side at most `longest`."""
    share = longest / max(size)
    return size if share >= 1 else (max(1, round(size[0] * share)), max(1, round(size[1] * share)))


def _missing(picture: Picture, values: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    """Returns what is drawn where there is no number: hatching in the seen box, a dark picture outside."""
    full = picture.astype(np.float64)
    grey = full * (1 - strength) + hatched((values.shape[0], values.shape[1])) * strength
    box = seen_box(values)
    if box is None:
        return grey
    unseen = full * (1 - strength * (1 - UNSEEN))
    top, left, bottom, right = box
    unseen[top:bottom, left:right] = grey[top:bottom, left:right]
    return unseen


def _contours(position: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    """Returns where a line of equal evidence runs: where the right or lower neighbour is in another band."""
    band = np.floor(np.nan_to_num(position, nan=0.0) * (count + 1)).clip(0, count)
    line = np.zeros(position.shape, dtype=bool)
    line[:, :-1] |= band[:, :-1] != band[:, 1:]
    line[:-1] |= band[:-1] != band[1:]
    return line & ~np.isnan(position)


def _frame(drawn: Picture, box: tuple[int, int, int, int]) -> None:
    top, left, bottom, right = box
    drawn[top:bottom, [left, right - 1]] = _FRAME
    drawn[[top, bottom - 1], left:right] = _FRAME
