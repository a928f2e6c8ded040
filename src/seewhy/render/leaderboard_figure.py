"""The leaderboard as a figure: a row of dots with intervals for each metric, the best at the top."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from ..core.errors import UnknownNameError, nearest
from ..core.leaderboard import Leaderboard, Standing
from .sheet import INK, QUIET, Look, Sheet
from .wording import number, plain, shorten

_MARGIN, _NAMES, _COLUMN, _GAP = 0.3, 2.3, 3.2, 0.5  # inches
_HEAD, _ROW, _TITLE = 0.8, 0.27, 0.5
_ACCENT, _LINE = "#2f66a3", "#dfe4ea"


def plot_leaderboard(board: Leaderboard, *, metrics: Sequence[str] | None = None) -> Figure:
    """Returns a figure with a panel for each metric: rank, name, mean and 95% interval of each entrant.

    metrics: names of those to draw; None draws all. Raises UnknownNameError for another name.
    """
    chosen = board.metrics if metrics is None else tuple(metrics)
    for name in chosen:
        if name not in board.metrics:
            raise UnknownNameError(
                f"This leaderboard's metrics are {', '.join(board.metrics)}; given {name!r}."
                + nearest(name, board.metrics)
            )
    panels = {measure.name: measure for measure in board.measures if measure.name in chosen}
    rows = max((len(board[name]) for name in panels), default=1)
    width = 2 * _MARGIN + len(panels) * (_NAMES + _COLUMN + _GAP) - _GAP
    sheet = Sheet(max(width, 4.0), _HEAD + _TITLE + rows * _ROW + 0.7)
    sheet.text(_MARGIN, 0.36, shorten(f"{plain(board.model)}, {len(board.pictures)} pictures", 70), Look(12, True))
    for place, measure in enumerate(panels.values()):
        left = _MARGIN + place * (_NAMES + _COLUMN + _GAP)
        sheet.text(left, _HEAD, plain(measure.title), Look(10, True))
        sheet.text(left, _HEAD + 0.2, f"{measure.better} is better", Look(8, colour=QUIET))
        _panel(sheet, left, _HEAD + _TITLE, board[measure.name])
    return sheet.finish()


def _panel(sheet: Sheet, left: float, top: float, lines: Sequence[Standing]) -> None:
    for place, line in enumerate(lines):
        middle = top + (place + 0.5) * _ROW
        colour = QUIET if line.control else INK
        sheet.text(left + 0.2, middle, "–" if line.rank is None else str(line.rank), Look(8.5, True), "right")
        sheet.text(left + 0.3, middle, shorten(plain(line.entrant), 32), Look(8.5, colour=colour))
    axes = sheet.axes(left + _NAMES, top, _COLUMN, len(lines) * _ROW)
    axes.set_ylim(len(lines), 0)
    chance = next((line.value.mean for line in lines if line.entrant == "random" and line.value.count), None)
    if chance is not None:
        axes.axvline(chance, color=QUIET, linewidth=0.8, linestyle=(0, (3, 3)))
    for place, line in enumerate(lines):
        axes.axhline(place + 1, color=_LINE, linewidth=0.6)
        colour, value = QUIET if line.control else _ACCENT, line.value
        if math.isfinite(value.low):
            axes.plot([value.low, value.high], [place + 0.5] * 2, color=colour, linewidth=2, alpha=0.6)
        if value.count:
            axes.plot([value.mean], [place + 0.5], "o", color=colour, markersize=5)
    low, high = axes.get_xlim()
    axes.set_xlim(low, high)
    bottom = top + len(lines) * _ROW + 0.16
    for at, end, align in ((0.0, low, "left"), (_COLUMN, high, "right")):
        sheet.text(left + _NAMES + at, bottom, number(end), Look(8, colour=QUIET), align)  # type: ignore[arg-type]
