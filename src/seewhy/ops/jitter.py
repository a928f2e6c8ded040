"""Small random shifts, scalings and turns of pictures, so that what is optimised does not hang on single pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.errors import SettingError
from .seeds import generator


@dataclass(frozen=True, slots=True)
class Jitter:
    """The most that a picture is moved: `shift` pixels each way, `scale` as a share, `turn` in degrees."""

    shift: int = 16
    scale: float = 0.1
    turn: float = 10.0

    def __post_init__(self) -> None:
        if not (self.shift >= 0 and 0 <= self.scale < 1 and 0 <= self.turn <= 180):
            raise SettingError(
                "jitter takes a shift of 0 or more pixels, a scale from 0 to below 1 and a turn of 0 to 180 degrees; "
                f"given {self}."
            )


STILL = Jitter(0, 0.0, 0.0)


def jittered(x: Tensor, jitter: Jitter, *seed: str | int) -> Tensor:
    """Returns pictures (N, C, H, W), each moved at random, differentiable in `x`; what moves in is mirrored.

    The moves are uniform within the jitter and a fixed function of `seed` and the row. A shift alone is by whole
    pixels and blurs nothing; scale and turn interpolate (bilinear).
    """
    if jitter == STILL:
        return x
    draws = torch.stack(
        [torch.rand(4, generator=generator(*seed, row), dtype=torch.float64, device="cpu") for row in range(len(x))]
    )
    draws = 2 * draws - 1
    if jitter.scale or jitter.turn:
        return _moved(x, jitter, draws)
    return _shifted(x, jitter.shift, draws[:, :2])


def _shifted(x: Tensor, most: int, draws: Tensor) -> Tensor:
    """Returns each picture moved by whole pixels; draws (N, 2) lie within -1 and 1."""
    height, width = x.shape[2:]
    down, right = min(most, height - 1), min(most, width - 1)
    padded = F.pad(x, (right, right, down, down), mode="reflect")
    rows = []
    for place, (a, b) in enumerate(draws.tolist()):
        top, left = down + round(a * down), right + round(b * right)
        rows.append(padded[place, :, top : top + height, left : left + width])
    return torch.stack(rows)


def _moved(x: Tensor, jitter: Jitter, draws: Tensor) -> Tensor:
    """Returns each picture scaled and turned about its centre, then shifted; draws (N, 4) lie within -1 and 1."""
    height, width = x.shape[2:]
    angle = draws[:, 3] * math.radians(jitter.turn)
    size = 1 + draws[:, 2] * jitter.scale
    cos, sin = angle.cos() * size, angle.sin() * size
    shift = draws[:, :2] * jitter.shift * 2
    # in coordinates from -1 to 1, whose units differ between the axes
    theta = torch.stack(
        [
            torch.stack([cos, -sin * height / width, shift[:, 1] / width], 1),
            torch.stack([sin * width / height, cos, shift[:, 0] / height], 1),
        ],
        1,
    ).to(x)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
