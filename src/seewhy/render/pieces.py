"""Maps of pieces: drawn sharp, with thin lines around the pieces, so that one sees what was weighed as a whole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .overlay import Picture
from .scales import Array

LINE = (255, 255, 255)
OPACITY = 0.4
"""Of the lines: they are seen on any colour, and every colour is seen under them."""

_LEAST = 12  # pixels of the model's input that a piece has on average, or there would be nothing but lines


def sharp(values: Tensor, labels: Tensor, bring: Callable[[Tensor], Array]) -> tuple[Array, NDArray[np.bool_]]:
    """Returns a map of pieces on the picture's grid, each pixel having the number of one piece, and the lines.

    values, labels: (H, W) at the model's input size. bring: from there to the picture's grid, NaN where the model saw
    nothing. Lines run around the pieces whose value is not 0.
    """
    height, width = values.shape
    rows = torch.arange(height, dtype=torch.float64)[:, None].expand(height, width)
    columns = torch.arange(width, dtype=torch.float64).expand(height, width)
    places = np.stack([bring(rows), bring(columns)])
    unseen = np.isnan(places).any(0)
    row, column = np.rint(np.where(unseen, 0, places)).astype(int)
    numbers, pieces = values.numpy(), labels.cpu().numpy()
    drawn: Array = np.where(unseen, np.nan, numbers[row, column])
    if values.numel() < _LEAST * len(np.unique(pieces)):
        return drawn, np.zeros(drawn.shape, dtype=bool)
    shown = np.where(numbers != 0, pieces - pieces.min() + 1, 0)
    return drawn, _lines(np.where(unseen, 0, shown[row, column]))


def _lines(shown: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns where the right or lower neighbour lies in another piece."""
    lines = np.zeros(shown.shape, dtype=bool)
    lines[:, :-1] |= shown[:, :-1] != shown[:, 1:]
    lines[:-1] |= shown[:-1] != shown[1:]
    return lines


def outline(drawn: Picture, lines: NDArray[np.bool_] | None) -> Picture:
    """Returns the picture with the lines drawn over it."""
    if lines is None:
        return drawn
    outlined = drawn.astype(np.float64)
    outlined[lines] = (1 - OPACITY) * outlined[lines] + OPACITY * np.array(LINE)
    rounded: Picture = np.rint(outlined).astype(np.uint8)
    return rounded
