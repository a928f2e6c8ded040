"""Where words go beside their points, so that none lies on another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TypeAlias

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from .fonts import drawable, families_for, weight_for

Array: TypeAlias = NDArray[np.float64]

GAP = 0.045
"""Inches from a point to its word where there is room."""
_RINGS, _DIRECTIONS = 9, 16
_STEP = 0.75  # of a line's height, from ring to ring
_WIDE = 0x2E80  # from here on scripts break between any two letters


@cache
def _canvas() -> FigureCanvasAgg:
    return FigureCanvasAgg(Figure(figsize=(1, 1), dpi=72))


@cache
def width_of(text: str, size: float, bold: bool = False) -> float:
    """Returns how wide a text is when drawn, in inches; letters that no font has are an ellipsis."""
    text = drawable(text)
    canvas = _canvas()
    weight = weight_for(text, bold=bold)
    drawn = Text(0, 0, text, fontsize=size, fontfamily=families_for(text), fontweight=weight)
    drawn.set_parse_math(False)
    drawn.set_figure(canvas.figure)
    return float(drawn.get_window_extent(canvas.get_renderer()).width) / 72  # type: ignore[no-untyped-call]


def placed(
    points: Array, sizes: Array, room: tuple[float, float], order: Sequence[int]
) -> list[tuple[float, float] | None]:
    """Returns the left top corner of each word's box, or None where it finds no room.

    Words are placed one after another in the `order` given: as near to their point as they get without touching a word
    placed before or any point, else touching points only; never beyond the edges.

    points: (n, 2), inches from the left and the top. sizes: (n, 2), width and height of the words' boxes. room: width
    and height of all.
    """
    found: list[tuple[float, float] | None] = [None] * len(points)
    taken = np.zeros((0, 4))
    for place in order:
        boxes = _candidates(points[place], sizes[place])
        inside = (boxes[:, :2] >= 0).all(1) & (boxes[:, 2] <= room[0]) & (boxes[:, 3] <= room[1])
        free = boxes[inside & ~_touching(boxes, taken)]
        if not len(free):
            continue
        hidden = (
            (points[None, :, 0] > free[:, None, 0] - 0.02)
            & (points[None, :, 0] < free[:, None, 2] + 0.02)
            & (points[None, :, 1] > free[:, None, 1] - 0.01)
            & (points[None, :, 1] < free[:, None, 3] + 0.01)
        ).sum(1)
        box = free[int(hidden.argmin())]  # the first of the least: the nearest
        found[place] = (float(box[0]), float(box[1]))
        taken = np.concatenate([taken, box[None]])
    return found


def _candidates(point: Array, size: Array) -> Array:
    """Returns boxes around a point, (left, top, right, bottom), the nearest first, right of it before left."""
    width, height = size
    boxes = []
    for ring in range(_RINGS):
        away = GAP + ring * _STEP * height
        for number in range(_DIRECTIONS):
            angle = (number + 1) // 2 * (1 if number % 2 else -1) * 2 * math.pi / _DIRECTIONS
            across, down = math.cos(angle), math.sin(angle)
            # The box touches the circle with the side or corner that looks towards the point.
            left = point[0] + across * away + (across - 1) / 2 * width
            top = point[1] + down * away + (down - 1) / 2 * height
            boxes.append((left, top, left + width, top + height))
    return np.array(boxes)


def _touching(boxes: Array, taken: Array) -> NDArray[np.bool_]:
    apart: NDArray[np.bool_] = (
        (boxes[:, None, 0] >= taken[None, :, 2])
        | (boxes[:, None, 2] <= taken[None, :, 0])
        | (boxes[:, None, 1] >= taken[None, :, 3])
        | (boxes[:, None, 3] <= taken[None, :, 1])
    )
    return np.asarray(~apart.all(axis=1))


def wrapped(text: str, size: float, width: float, lines: int, bold: bool = False) -> list[str]:
    """Returns the text in lines no wider than `width` inches, at most so many, the last with an ellipsis if cut.

    Letters that no font has become an ellipsis. Lines break at spaces, and between any two letters where a word alone
    is wider, as Chinese sentences are.
    """
    found = [""]
    for piece in _pieces(drawable(text)):
        joined = found[-1] + piece
        if not found[-1].strip() or width_of(joined.rstrip(), size, bold) <= width:
            found[-1] = joined if found[-1].strip() else piece.lstrip()
        elif len(found) == lines:
            return [line.strip() for line in found[:-1]] + [found[-1].rstrip(" ,;:.，。、") + "…"]
        else:
            found.append(piece.lstrip())
    return [line.strip() for line in found]


def _pieces(text: str) -> list[str]:
    """Returns words with the space before them; scripts without spaces letter by letter."""
    pieces: list[str] = []
    for sign in text:
        wide = ord(sign) >= _WIDE
        after_wide = bool(pieces) and ord(pieces[-1][-1]) >= _WIDE
        if not pieces or sign.isspace() or wide or after_wide or len(pieces[-1]) > 60:
            pieces.append(sign)
        else:
            pieces[-1] += sign
    return pieces
