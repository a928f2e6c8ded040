"""A page measured in inches from its top left corner, on which panels keep their places whatever they hold."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from seewhy.core.explanation import Prediction

from .overlay import Picture, hatched, overlay
from .panels import Panel
from .scales import Array, Scale
from .wording import number, plain, shorten

MARGIN, GAP, COLUMN = 0.32, 0.26, 2.5
"""Inches: around the page, between panels, width of the column with the picture."""

_PANEL, _MOST = 2.1, 5  # inches a map is wide; panels side by side
_NAME, _LAYER, _BAR, _LINE, _BLOCK = 0.22, 0.16, 0.3, 0.135, 0.36  # inches: see `Layout`
_INK, _QUIET, _ALARM, _LINEN = "#1c2127", "#5f6a76", "#a3321f", "#f1f3f5"
_ACCENT = "#3b6ea8"
_WRAP = 44  # characters of a caption line that fit a panel

_FALLBACKS = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "WenQuanYi Zen Hei", "Hiragino Sans",
    "Microsoft YaHei", "Malgun Gothic", "Arial Unicode MS", "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Emoji",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Block:
    """Panels under one heading."""

    heading: str
    panels: Sequence[Panel]
    scales: Sequence[Scale | None]


@dataclass(frozen=True, slots=True)
class Line:
    """Heights that panels side by side share: heading, map, colour bar, and caption with the space below."""

    name: float
    image: float
    caption: float

    @property
    def height(self) -> float:
        """All of it."""
        return self.name + self.image + _BAR + self.caption + GAP


@dataclass(frozen=True, slots=True)
class Layout:
    """Size of the blocks in inches; `lines` are those of each block."""

    columns: int
    width: float
    height: float
    lines: tuple[tuple[Line, ...], ...]


class Drawing(Figure):
    """A matplotlib figure that notebooks show as it is, although pyplot does not know it."""

    def _repr_png_(self) -> bytes:
        return figure_png(self)


def figure_png(figure: Figure) -> bytes:
    """Returns the figure as the bytes of a .png file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def measure(blocks: Sequence[Block]) -> Layout:
    """Returns how large the blocks will be."""
    most = max((len(block.panels) for block in blocks), default=0)
    columns = -(-most // -(-most // _MOST)) if most else 1
    lines = tuple(
        tuple(_line(block, range(i, min(i + columns, len(block.panels)))) for i in range(0, len(block.panels), columns))
        for block in blocks
    )
    height = sum(line.height for block in lines for line in block)
    height += sum(_BLOCK for block in blocks if block.heading)
    return Layout(columns, columns * _PANEL + (columns - 1) * GAP, max(height - GAP, 0.0), lines)


def _line(block: Block, members: range) -> Line:
    panels = [(block.panels[i], block.scales[i]) for i in members]
    return Line(
        _NAME + (_LAYER if any(panel.layer or panel.note for panel, _ in panels) else 0.0),
        max(_image_height(panel) for panel, _ in panels),
        max(len(_caption(panel, scale)) for panel, scale in panels) * _LINE,
    )


class Sheet:
    """One figure, filled by position."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Drawing(figsize=(width, height), dpi=110, facecolor="white", layout="none")
        FigureCanvasAgg(self.figure)

    def text(
        self, left: float, middle: float, text: str, *, size: float = 8, weight: str = "normal",
        quiet: bool = False, colour: str = "", align: str = "left",
    ) -> None:  # fmt: skip
        """Writes one line with the middle of its small letters at `middle`."""
        baseline = middle + size * 0.37 / 72
        self.figure.text(
            left / self.width, 1 - baseline / self.height, text, fontsize=size, fontweight=weight, ha=align, va="baseline",
            color=colour or (_QUIET if quiet else _INK), fontfamily=_families(), linespacing=1.25,
        )  # fmt: skip

    def picture(self, left: float, top: float, width: float, height: float, picture: Picture) -> Axes:
        """Draws the picture in the middle of the box without distorting it."""
        axes = self._axes(left, top, width, height)
        tall = picture.shape[0] / picture.shape[1]
        fine = max(picture.shape[:2]) > 96
        axes.imshow(picture, interpolation="antialiased" if fine else "nearest", aspect="equal", origin="upper")
        axes.set_anchor("N")
        if tall < 0.02 or tall > 50:  # a sliver would vanish
            axes.set_aspect("auto")
        return axes

    def answers(self, left: float, top: float, prediction: Prediction) -> None:
        """Draws the model's answers, best first, each with a bar where bars mean something."""
        scores = [answer.score for answer in prediction.top]
        probability = prediction.scale == "probability"
        most = 1.0 if probability else max(scores, default=0.0)
        bars = most > 0 and all(score >= 0 for score in scores)
        for index, answer in enumerate(prediction.top):
            line = top + 0.36 * index
            words = f"{answer.score:.1%}" if probability else number(answer.score)
            self.text(left, line + 0.08, shorten(plain(answer.label), 34), size=8)
            self.text(left + COLUMN, line + 0.08, words, size=8, weight="bold", align="right")
            if bars:
                share = min(1.0, answer.score / most)
                self._box(left, line + 0.18, COLUMN, 0.055, "#e3e7eb")
                self._box(left, line + 0.18, COLUMN * share, 0.055, _ACCENT if index == 0 else "#8aa7c7")

    def blocks(self, blocks: Sequence[Block], layout: Layout, *, left: float, top: float) -> None:
        """Draws all blocks below each other."""
        for number_of, block in enumerate(blocks):
            if block.heading:
                self.text(left, top + 0.1, block.heading, size=10.5, weight="bold")
                top += _BLOCK
            for index, line in enumerate(layout.lines[number_of]):
                start = index * layout.columns
                for column in range(min(layout.columns, len(block.panels) - start)):
                    panel, scale = block.panels[start + column], block.scales[start + column]
                    self._panel(panel, scale, line, left + column * (_PANEL + GAP), top)
                top += line.height

    def finish(self) -> Figure:
        """Returns the figure; texts are drawn letter by letter, so that `$` in a label is no formula."""
        for text in self.figure.findobj(Text):
            assert isinstance(text, Text)
            text.set_parse_math(False)
            text.set_usetex(False)
        return self.figure

    def _panel(self, panel: Panel, scale: Scale | None, line: Line, left: float, top: float) -> None:
        self.text(left, top + 0.08, shorten(panel.title, 30), size=8.5, weight="bold")
        below = " · ".join(filter(None, (panel.layer, panel.note)))
        self.text(left, top + 0.25, shorten(below, _WRAP), size=6.5, quiet=True)
        top, image = top + line.name, line.image
        if scale is None or panel.drawn is None:
            self._failed(panel, left, top, image)
        elif panel.drawn.ndim == 1:
            self._signal(panel.drawn, scale, left, top, image)
        else:
            self.picture(left, top, _PANEL, image, _composed(panel, scale))
        if scale is not None:
            self._colour_bar(scale, left, top + image + 0.07)
        for index, (words, colour) in enumerate(_caption(panel, scale)):
            self.text(left, top + image + _BAR + 0.07 + index * _LINE, words, size=6.3, colour=colour)

    def _failed(self, panel: Panel, left: float, top: float, image: float) -> None:
        self._box(left, top, _PANEL, image, _LINEN)
        room = max(1, int((image - 0.3) / 0.13))
        lines = textwrap.wrap(panel.error, 38)
        shown = [*lines[: room - 1], shorten(" ".join(lines[room - 1 :]), 38)] if len(lines) > room else lines
        self.text(left + 0.1, top + 0.14, "No map", size=7, weight="bold", colour=_ALARM)
        for index, line in enumerate(shown):
            self.text(left + 0.1, top + 0.3 + index * 0.13, line, size=6.5, quiet=True)

    def _signal(self, values: Array, scale: Scale, left: float, top: float, image: float) -> None:
        axes = self._axes(left, top, _PANEL, image)
        axes.set_facecolor("#20242a")
        shown = np.nan_to_num(values, nan=0.0, posinf=scale.high, neginf=scale.low)
        colours = scale.colours(shown)[:, :3] / 255
        axes.bar(np.arange(len(shown)), shown, width=1.0, color=colours, linewidth=0)
        axes.set_xlim(-0.5, len(shown) - 0.5)
        low, high = min(scale.low, 0.0), max(scale.high, 0.0)
        axes.set_ylim((low, high) if low < high else (-1, 1))

    def _colour_bar(self, scale: Scale, left: float, top: float) -> None:
        axes = self._axes(left, top, _PANEL, 0.07)
        strip = scale.palette()[None, :255, :3]
        axes.imshow(strip, aspect="auto", interpolation="nearest", origin="upper")
        for place, words in scale.ticks():
            align = "left" if place == 0 else "right" if place == 1 else "center"
            self.text(left + place * _PANEL, top + 0.155, words, size=6.5, align=align)

    def _axes(self, left: float, top: float, width: float, height: float) -> Axes:
        box = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(box)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel("")
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    def _box(self, left: float, top: float, width: float, height: float, colour: str) -> None:
        place = (left / self.width, 1 - (top + height) / self.height)
        size = (width / self.width, height / self.height)
        box = Rectangle(place, *size, transform=self.figure.transFigure, facecolor=colour, edgecolor="none")
        self.figure.add_artist(box)


def _composed(panel: Panel, scale: Scale) -> Picture:
    assert panel.drawn is not None
    if panel.base is not None:
        return overlay(panel.base, panel.drawn, scale)
    missing = np.isnan(panel.drawn)[..., None]
    shape = (panel.drawn.shape[0], panel.drawn.shape[1])
    return np.where(missing, hatched(shape).astype(np.uint8), scale.colours(panel.drawn)[..., :3])


def _image_height(panel: Panel) -> float:
    if panel.drawn is None or panel.drawn.ndim == 1:
        return _PANEL * 0.6
    return float(min(max(_PANEL * panel.drawn.shape[0] / panel.drawn.shape[1], 0.3), 2 * _PANEL))


def _caption(panel: Panel, scale: Scale | None) -> list[tuple[str, Any]]:
    """Returns (line, colour) of what stands below a map: units, clipping, findings."""
    quiet = [panel.units, scale.note()] if scale is not None else []
    lines = [(line, _QUIET) for text in quiet if text for line in textwrap.wrap(text, _WRAP)[:2]]
    for finding in panel.findings:
        colour = _ALARM if finding.level == "warning" else _INK
        wrapped = textwrap.wrap(plain(finding.text), _WRAP)
        if len(wrapped) > 4:
            wrapped = [*wrapped[:3], shorten(" ".join(wrapped[3:]), _WRAP)]
        lines += [(line, colour) for line in wrapped]
    return lines


@cache
def _families() -> tuple[str, ...]:
    """Returns the fonts to draw with: matplotlib's own, then whatever this machine has for other scripts."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in _FALLBACKS if name in installed))
