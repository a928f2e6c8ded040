"""The figure of a generation: a matrix for each method, rows that were read, columns that were written."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from ..core.errors import SettingError
from ..core.generation import Generation, TokenMatrix
from .generation_page import lead, scale_of
from .labels import width_of, wrapped
from .sheet import ALARM, QUIET, WASH, Look, Sheet
from .wording import error_text, number, plain, shorten

_MARGIN, _ROW, _GAP, _SIZE = 0.3, 0.24, 0.4, 9.0
_MOST_COLUMNS, _MOST_ROWS = 60, 400
_LONGEST = 24  # letters of a token that are drawn


def plot_generation(found: Generation, *, special: bool = False) -> Figure:
    """Returns a figure of all methods' matrices: amber speaks for the written token, blue against it.

    special: whether rows of special tokens are drawn.

    Raises SettingError for more than 60 written or 400 read tokens: a page holds these.
    """
    rows = found.shown(special)
    if len(found.written) > _MOST_COLUMNS or len(rows) * len(found.methods) > _MOST_ROWS:
        raise SettingError(
            f"A figure holds {_MOST_COLUMNS} written tokens and {_MOST_ROWS} rows; given {len(found.written)} and "
            f"{len(rows) * len(found.methods)}. Save the page instead, .html, or explain fewer methods."
        )
    names = [shorten(plain(found.read[row]) or "␣", _LONGEST) for row in rows]
    heads = [shorten(plain(name) or "␣", _LONGEST) for name in found.columns]
    left = max((width_of(name, _SIZE) for name in names), default=0.0) + 0.12
    wide = [max(width_of(head, _SIZE, True), 0.42) + 0.12 for head in heads]
    width = max(2 * _MARGIN + left + sum(wide), 6.0)
    heights = [_height(found, method, len(rows), width) for method in found.methods]
    sheet = Sheet(width, 2 * _MARGIN + 0.6 + sum(heights))
    top = _MARGIN + 0.1
    sheet.text(_MARGIN, top, shorten(plain(found.model), int(width * 9)), Look(13, bold=True))
    sheet.text(_MARGIN, top + 0.28, shorten(lead(found), int(width * 13)), Look(8.5, colour=QUIET))
    top += 0.6
    for method, height in zip(found.methods, heights, strict=True):
        sheet.text(_MARGIN, top, plain(found.titles.get(method, method)), Look(10.5, bold=True))
        if method in found.errors:
            for place, line in enumerate(_error(found, method, width)):
                sheet.text(_MARGIN, top + _ROW * (place + 1), line, Look(8.5, colour=ALARM))
        else:
            _matrix(sheet, found, found.matrices[method], (names, heads, wide, rows, left, top))
        top += height
    return sheet.finish()


def _height(found: Generation, method: str, rows: int, width: float) -> float:
    lines = len(_error(found, method, width)) if method in found.errors else rows + 1
    return _GAP + _ROW * (lines + 0.4)


def _error(found: Generation, method: str, width: float) -> Sequence[str]:
    return wrapped(error_text(found.errors[method]), 8.5, width - 2 * _MARGIN, 4)


def _matrix(
    sheet: Sheet,
    found: Generation,
    matrix: TokenMatrix,
    layout: tuple[list[str], list[str], list[float], tuple[int, ...], float, float],
) -> None:
    names, heads, wide, rows, left, top = layout
    scale = scale_of(found, matrix)
    start = _MARGIN + left
    for head, at, span in zip(heads, _starts(start, wide), wide, strict=True):
        sheet.text(at + span / 2, top + _ROW * 1.2, head, Look(_SIZE, bold=True), "center")
    middle = top + _ROW * 1.2
    for name, row in zip(names, rows, strict=True):
        middle += _ROW
        own = row >= found.own
        sheet.text(
            start - 0.08,
            middle,
            name,
            Look(_SIZE, bold=own, colour=QUIET if found.special[row] else "#1c2127"),
            "right",
        )
        for value, at, span in zip(matrix.values[row].tolist(), _starts(start, wide), wide, strict=True):
            late = value != value
            colour = WASH if late else "#{:02x}{:02x}{:02x}".format(*scale.rgb(value))
            sheet.box(at + 0.01, middle - _ROW / 2 + 0.01, span - 0.02, _ROW - 0.02, colour)
            if not late:
                sheet.text(at + span / 2, middle, number(value, scale.most), Look(7.5), "center")


def _starts(left: float, wide: Sequence[float]) -> list[float]:
    return [left + sum(wide[:place]) for place in range(len(wide))]
