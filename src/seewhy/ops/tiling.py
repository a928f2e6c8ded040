"""Windows that cover a large picture, so that it can be worked on piece by piece."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import SettingError


@dataclass(frozen=True, slots=True)
class Tiling:
    """Windows of equal size over a picture. `size` is the picture's (H, W), `window` a window's.

    margin: how far a window's values are unreliable at each side where the picture goes on beyond it: only the core
    inside counts there. starts: upper left corners.
    """

    size: tuple[int, int]
    window: tuple[int, int]
    margin: int
    starts: tuple[tuple[int, int], ...]

    @staticmethod
    def of(size: tuple[int, int], tile: int, margin: int, shift: tuple[float, float] = (0.0, 0.0)) -> Tiling:
        """Returns windows of at most `tile` pixels a side whose cores cover the picture.

        shift: from 0 to 1 each way, where the grid of cores begins: another one each time moves the seams.

        Raises SettingError unless the tile is larger than its two margins.
        """
        if margin < 0 or tile <= 2 * margin:
            raise SettingError(f"tile must be larger than twice the margin of {margin} pixels; given {tile}.")
        rows, columns = (_starts(n, tile, margin, part) for n, part in zip(size, shift, strict=True))
        window = min(tile, size[0]), min(tile, size[1])
        return Tiling(size, window, margin, tuple((top, left) for top in rows for left in columns))

    def cut(self, picture: Tensor, windows: slice) -> Tensor:
        """Returns some windows of a picture (1, C, H, W) as rows."""
        height, width = self.window
        parts = [picture[0, :, top : top + height, left : left + width] for top, left in self.starts[windows]]
        return torch.stack(parts)

    def join(self, parts: Tensor, total: Tensor, weight: Tensor, windows: slice) -> None:
        """Adds the cores of some windows (n, C, h, w) to `total` (1, C, H, W), and counts them in `weight` (H, W)."""
        for part, (top, left) in zip(parts, self.starts[windows], strict=True):
            up, down = self._core(top, 0)
            begin, end = self._core(left, 1)
            total[0, :, up:down, begin:end] += part[:, up - top : down - top, begin - left : end - left]
            weight[up:down, begin:end] += 1

    def _core(self, start: int, axis: int) -> tuple[int, int]:
        """Returns the first and behind the last pixel that a window answers for, in the picture."""
        end = start + self.window[axis]
        return (start + self.margin if start else 0), (end - self.margin if end < self.size[axis] else end)


def _starts(length: int, tile: int, margin: int, shift: float) -> list[int]:
    """Returns where windows start along one axis, each once, in order."""
    if length <= tile:
        return [0]
    step = tile - 2 * margin
    first = -int(shift * step) % step - step
    found = {min(max(start, 0), length - tile) for start in range(first, length, step)}
    return sorted(found)
