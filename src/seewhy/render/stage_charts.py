"""The stages of reading as charts: each measure over the layers, beside what shuffled words give."""

from __future__ import annotations

import math

from matplotlib.axes import Axes

from ..core.embeddings import Embeddings, Stage
from .labels import wrapped
from .sheet import INK, QUIET, WASH, Look, Sheet

_MARGIN, _CHART = 0.35, (2.55, 1.25)  # inches: around the page; of a chart
_ROW, _HEAD, _LINE = 2.45, 0.25, 0.16  # inches: of a row of charts with what is said below them; above them


def stages_height(found: Embeddings, width: float) -> float:
    """Returns how many inches the charts take on a page this wide."""
    if not found.stages:
        return 0.0
    return _HEAD + _LINE * len(_about(found, width)) + math.ceil(len(found.stages) / _per_row(width)) * _ROW


def _about(found: Embeddings, width: float) -> list[str]:
    unit = "cosine" if found.distance == "cosine" else "Euclidean"
    words = (
        f"{found.summary} Measured on words, in all dimensions, by {unit} distance. Grey: shuffled words, middle 95%."
    )
    return wrapped(words, 8, width - 2 * _MARGIN, 4)


def _per_row(width: float) -> int:
    """Returns how many charts stand side by side: all four, or two, or one above the other."""
    fits = int((width - 2 * _MARGIN + 0.4) / (_CHART[0] + 0.4))
    return 4 if fits >= 4 else 2 if fits >= 2 else 1


def draw_stages(sheet: Sheet, found: Embeddings, top: float) -> None:
    """Draws a chart for each stage, with its verdict, from `top` inches down."""
    if not found.stages:
        return
    sheet.text(_MARGIN, top + 0.05, "Stages of reading", Look(11, bold=True))
    about = _about(found, sheet.width)
    for row, line in enumerate(about):
        sheet.text(_MARGIN, top + _HEAD + _LINE * row, line, Look(8, colour=QUIET))
    top += _HEAD + _LINE * len(about)
    per_row = _per_row(sheet.width)
    column = (sheet.width - 2 * _MARGIN + 0.4) / per_row
    for place, stage in enumerate(found.stages):
        left = _MARGIN + place % per_row * column
        _chart(sheet, stage, left, top + place // per_row * _ROW, column - 0.4)


def _chart(sheet: Sheet, stage: Stage, left: float, top: float, width: float) -> None:
    title = stage.title[:1].upper() + stage.title[1:]
    sheet.text(left, top + 0.1, title, Look(9, bold=True))
    if stage.levels:
        axes = sheet.axes(left + 0.35, top + 0.28, width - 0.4, _CHART[1])
        _curve(axes, stage)
        low, high = axes.get_ylim()
        for share, value in ((0.0, low), (1.0, high)):
            at = top + 0.28 + _CHART[1] * (1 - share)
            sheet.text(left + 0.3, at, f"{value:.2f}", Look(7, colour=QUIET), "right")
        ends = (stage.levels[0].layer, stage.levels[-1].layer)
        sheet.text(left + 0.35, top + 0.28 + _CHART[1] + 0.12, f"layer {ends[0]}", Look(7, colour=QUIET))
        sheet.text(left + width - 0.05, top + 0.28 + _CHART[1] + 0.12, f"{ends[1]}", Look(7, colour=QUIET), "right")
    start = top + (0.28 + _CHART[1] + 0.32 if stage.levels else 0.35)
    colour = INK if stage.shown else QUIET
    for row, line in enumerate(wrapped(stage.verdict, 7.5, width, 4)):
        sheet.text(left, start + 0.14 * row, line, Look(7.5, colour=colour))


def stage_limits(stage: Stage) -> tuple[float, float]:
    """Returns the smallest and largest number that a stage's chart shows: never beyond what the measure can be."""
    ends = [end for level in stage.levels for end in (level.value, level.low, level.high)]
    spare = 0.08 * (max(ends) - min(ends) or 1.0)
    high = max(ends) + spare
    return max(min(ends) - spare, 0.0), high if stage.name == "answer" else min(high, 1.0)


def _curve(axes: Axes, stage: Stage) -> None:
    """Draws a measure over the layers, with the band of shuffled words; full dots where p is 5% or less."""
    layers = [level.layer for level in stage.levels]
    values = [level.value for level in stage.levels]
    axes.set_facecolor(WASH)
    axes.fill_between(
        layers, [level.low for level in stage.levels], [level.high for level in stage.levels], color="#cfd6dd"
    )
    axes.plot(layers, [level.mean for level in stage.levels], color=QUIET, linewidth=0.9, linestyle=(0, (3, 2)))
    axes.plot(layers, values, color="#0b62a4", linewidth=1.3)
    for level in stage.levels:
        axes.plot(
            [level.layer],
            [level.value],
            "o",
            color="#0b62a4",
            markersize=4.5,
            clip_on=False,
            markerfacecolor="#0b62a4" if level.p <= 0.05 else "white",
        )
    axes.set_ylim(*stage_limits(stage))
    axes.set_xlim(layers[0] - 0.3, layers[-1] + 0.3)
