"""The colour maps of heat maps, as tables of 256 colours; both get lighter as evidence grows."""

from __future__ import annotations

from functools import cache

import matplotlib
import numpy as np
from numpy.typing import NDArray

from ..core.errors import UnknownNameError, nearest

SEQUENTIAL = "inferno"
"""From nothing (black) to strong evidence (light yellow); matplotlib's perceptually uniform map."""

DIVERGING = "frost-ember"
"""From evidence against (blue) over nothing (near black) to evidence for (amber).

Blue and amber stay apart for every common form of colour blindness. Lightness in OKLab is the same linear
function of strength on both sides, so that equal evidence for and against catches the eye equally.
"""

_DARK, _LIGHT = 0.22, 0.84  # OKLab lightness of no evidence and of the strongest
_ARMS = ((40.0, 75.0, 0.16), (262.0, 225.0, 0.15))  # hue when weak, when strong, chroma: for, against

# Björn Ottosson, "A perceptual color space for image processing" (2020): OKLab to cones to linear sRGB.
_TO_CONES = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@cache
def table(name: str) -> NDArray[np.uint8]:
    """Returns the 256 colours of a colour map, (256, 3): `frost-ember` or any that matplotlib knows.

    Raises UnknownNameError for another name.
    """
    if name == DIVERGING:
        colours = _frost_ember()
    elif name in matplotlib.colormaps:
        colours = matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3]
    else:
        raise UnknownNameError(
            f"cmap takes '{DIVERGING}' or the name of a matplotlib colour map; given {name!r}."
            + nearest(name, (DIVERGING, *matplotlib.colormaps))
        )
    entries = np.rint(colours * 255).astype(np.uint8)
    entries.setflags(write=False)
    return entries


def _frost_ember() -> NDArray[np.float64]:
    # Even length: no entry is exactly neutral, the middle two are equal and stand for zero.
    strength = np.linspace(0, 1, 128)
    ember, frost = (_arm(strength, *arm) for arm in _ARMS)
    return np.concatenate([frost[::-1], ember])


def _arm(strength: NDArray[np.float64], weak: float, strong: float, most: float) -> NDArray[np.float64]:
    """Returns sRGB colours for strengths 0..1, with as much of the wished chroma as a screen can show."""
    lightness = _DARK + (_LIGHT - _DARK) * strength
    hue = np.deg2rad(weak + (strong - weak) * strength)
    wished = most * np.minimum(1, strength / 0.6)
    shares = np.linspace(1, 0, 101)[:, None]
    chroma = wished * shares
    lab = np.stack([np.broadcast_to(lightness, chroma.shape), chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    linear = (lab @ _TO_CONES.T) ** 3 @ _TO_RGB.T
    shown = ((linear >= -1e-9) & (linear <= 1)).all(-1)
    first = shown.argmax(0)
    picked = linear[first, np.arange(len(strength))].clip(0, 1)
    srgb: NDArray[np.float64] = np.where(picked <= 0.0031308, 12.92 * picked, 1.055 * picked ** (1 / 2.4) - 0.055)
    return srgb
