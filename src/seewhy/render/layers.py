"""Pictures as they travel inside a page: photographs as JPEG, maps as PNG that the page can recolour."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .overlay import Picture, shrink
from .pieces import LINE, OPACITY
from .scales import Array, Scale

_SIGNAL_HEIGHT, _SIGNAL_WIDTH = 160, 480


def photo_uri(picture: Picture, longest: int = 700) -> str:
    """Returns the picture as a `data:` address, shrunk to `longest`; tiny ones stay exact (PNG)."""
    small = Image.fromarray(shrink(picture, longest))
    buffer = io.BytesIO()
    if max(small.size) <= 128:
        small.save(buffer, format="PNG")
        return data_uri(buffer.getvalue(), "image/png")
    small.save(buffer, format="JPEG", quality=88, optimize=True)
    return data_uri(buffer.getvalue(), "image/jpeg")


def map_uri(values: Array, scale: Scale, *, solid: bool) -> str:
    """Returns the map as a `data:` address of a palette PNG.

    Each pixel is its place on the scale (0..254; 255 for NaN), colours and alpha stand in the palette. So the
    file is small, and another scale is another palette.
    """
    image = Image.fromarray(scale.index(values))  # grey, one byte a pixel: the palette makes it colours
    palette = scale.palette(solid=solid)
    image.putpalette(palette[:, :3].tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", transparency=palette[:, 3].tobytes())
    return data_uri(buffer.getvalue(), "image/png")


def lines_uri(lines: NDArray[np.bool_]) -> str:
    """Returns the lines around pieces as a `data:` address of a PNG that is clear everywhere else."""
    image = Image.fromarray(lines.astype(np.uint8))
    image.putpalette(bytes((*LINE, *LINE)))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", transparency=bytes((0, round(255 * OPACITY))))
    return data_uri(buffer.getvalue(), "image/png")


def bar_uri(scale: Scale) -> str:
    """Returns the colours of a scale, from low to high, as a `data:` address of a PNG one pixel high."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(scale.palette()[None, :255, :3])).save(buffer, format="PNG")
    return data_uri(buffer.getvalue(), "image/png")


def signal(values: Array, scale: Scale) -> Array:
    """Returns a signal (L,) as a bar chart over the scale, (160, at least 480): bars hold their number, else NaN."""
    low, high = min(scale.low, 0.0), max(scale.high, 0.0)
    size = max(high, -low)
    shown = np.clip(np.nan_to_num(values, nan=0.0, posinf=high, neginf=low), low, high)
    width = max(1, round(_SIGNAL_WIDTH / len(shown)))
    if size == 0:
        return np.full((_SIGNAL_HEIGHT, width * len(shown)), np.nan)
    edges = np.linspace(high / size, low / size, _SIGNAL_HEIGHT + 1)
    middle = ((edges[1:] + edges[:-1]) / 2)[:, None]
    bars = (shown / size)[None, :]
    filled = np.where(bars >= 0, (middle > 0) & (middle <= bars), (middle < 0) & (middle >= bars))
    chart: NDArray[np.float64] = np.where(filled, shown[None, :], np.nan)
    return np.repeat(chart, width, axis=1)


def data_uri(content: bytes, kind: str) -> str:
    """Returns bytes as an address that needs no network."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
