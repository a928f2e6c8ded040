"""Panels side by side: maps, colour bars and captions aligned, whatever their number and proportions."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .evidence import COLOURS
from .layers import signal
from .overlay import Picture, hatched, overlay
from .panels import Panel
from .pieces import outline
from .scales import Array, Scale
from .sheet import ALARM, INK, QUIET, WASH, Look, Sheet
from .wording import shorten

GAP = 0.26
"""Inches between panels."""

_WIDTH, _MOST = 2.1, 5  # inches a map is wide; panels side by side
_NAME, _LAYER, _BAR, _LINE = 0.22, 0.16, 0.3, 0.135  # inches; what: see `Line`
_VERDICT = 0.22  # inches that a verdict takes below the name
_BLOCK, _FAMILY, _MORE = 0.36, 0.28, 0.17  # inches: the two headings of a block, each further line of them
_HEAD_LINES = 4
_GROUND = (22, 25, 30)  # behind the bars of a signal
_WRAP = 44  # characters of a caption line that fit a panel


@dataclass(frozen=True, slots=True)
class Block:
    """Panels under one heading, and under the name of their family with a few words about it."""

    heading: str
    panels: Sequence[Panel]
    scales: Sequence[Scale | None]
    family: str = ""
    about: str = ""

    def heads(self, width: float) -> list[tuple[str, Look, float]]:
        """Returns (words, look, height in inches) of each line of the headings, in this many inches."""
        family = f"{self.family}: {self.about}" if self.family and self.about else self.family
        found = []
        for text, look, room, last in (
            (self.heading, Look(10.5, bold=True), 9, _BLOCK),
            (family, Look(8.5, colour=QUIET), 13, _FAMILY),
        ):
            length = int(width * room)
            lines = textwrap.wrap(text, length)
            if len(lines) > _HEAD_LINES:
                lines = [*lines[: _HEAD_LINES - 1], shorten(" ".join(lines[_HEAD_LINES - 1 :]), length)]
            found += [(line, look, _MORE) for line in lines[:-1]] + [(line, look, last) for line in lines[-1:]]
        return found


@dataclass(frozen=True, slots=True)
class Line:
    """Heights that panels side by side share: heading, map, colour bar, and caption with the space below.

    judged: whether the heading holds verdicts.
    """

    name: float
    image: float
    caption: float
    judged: bool = False

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


def measure(blocks: Sequence[Block]) -> Layout:
    """Returns how large the blocks will be."""
    most = max((len(block.panels) for block in blocks), default=0)
    columns = -(-most // -(-most // _MOST)) if most else 1
    lines = tuple(
        tuple(_line(block, range(i, min(i + columns, len(block.panels)))) for i in range(0, len(block.panels), columns))
        for block in blocks
    )
    width = columns * _WIDTH + (columns - 1) * GAP
    height = sum(line.height for block in lines for line in block)
    height += sum(tall for block in blocks for _, _, tall in block.heads(width))
    return Layout(columns, width, max(height - GAP, 0.0), lines)


def draw(sheet: Sheet, blocks: Sequence[Block], layout: Layout, left: float, top: float) -> None:
    """Draws all blocks below each other."""
    for block, lines in zip(blocks, layout.lines, strict=True):
        for words, look, tall in block.heads(layout.width):
            sheet.text(left, top + 0.08, words, look)
            top += tall
        for index, line in enumerate(lines):
            start = index * layout.columns
            for column in range(min(layout.columns, len(block.panels) - start)):
                place = _Place(sheet, left + column * (_WIDTH + GAP), top, line)
                place.draw(block.panels[start + column], block.scales[start + column])
            top += line.height


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one panel goes."""

    sheet: Sheet
    left: float
    top: float
    line: Line

    def draw(self, panel: Panel, scale: Scale | None) -> None:
        sheet, left, image = self.sheet, self.left, self.line.image
        sheet.text(left, self.top + 0.08, shorten(panel.title, 30), Look(8.5, bold=True))
        below = " · ".join(filter(None, (panel.layer, panel.note)))
        if panel.verdict is not None:
            sheet.badge(left, self.top + 0.28, panel.verdict, Look(6.5, bold=True, colour=COLOURS[panel.verdict]))
        lower = self.top + 0.25 + (_VERDICT if self.line.judged else 0.0)
        sheet.text(left, lower, shorten(below, _WRAP), Look(6.5, colour=QUIET))
        top = self.top + self.line.name
        if scale is None or panel.drawn is None:
            self._failed(panel, top)
        elif panel.drawn.ndim == 1:
            self._signal(panel.drawn, scale, top)
        else:
            sheet.picture(left, top, _WIDTH, image, outline(_composed(panel.drawn, panel.base, scale), panel.lines))
        if scale is not None:
            self._colour_bar(scale, top + image + 0.07)
        for index, (words, colour) in enumerate(_caption(panel, scale)):
            sheet.text(left, top + image + _BAR + 0.07 + index * _LINE, words, Look(6.3, colour=colour))

    def _failed(self, panel: Panel, top: float) -> None:
        image = self.line.image
        self.sheet.box(self.left, top, _WIDTH, image, WASH)
        room = max(1, int((image - 0.3) / 0.13))
        lines = textwrap.wrap(panel.error, 38)
        if len(lines) > room:
            lines = [*lines[: room - 1], shorten(" ".join(lines[room - 1 :]), 38)]
        self.sheet.text(self.left + 0.1, top + 0.14, "No map", Look(7, bold=True, colour=ALARM))
        for index, line in enumerate(lines):
            self.sheet.text(self.left + 0.1, top + 0.3 + index * 0.13, line, Look(6.5, colour=QUIET))

    def _signal(self, values: Array, scale: Scale, top: float) -> None:
        chart = signal(values, scale)
        drawn = np.where(np.isnan(chart)[..., None], np.array(_GROUND, dtype=np.uint8), scale.colours(chart)[..., :3])
        self.sheet.strip(self.left, top, _WIDTH, self.line.image, drawn)

    def _colour_bar(self, scale: Scale, top: float) -> None:
        self.sheet.strip(self.left, top, _WIDTH, 0.07, scale.palette()[None, :255, :3])
        for place, words in scale.ticks():
            middle = self.left + place * _WIDTH, top + 0.155
            self.sheet.text(*middle, words, Look(6.5), "left" if place == 0 else "right" if place == 1 else "center")


def _composed(values: Array, base: Picture | None, scale: Scale) -> Picture:
    if base is not None:
        return overlay(base, values, scale)
    missing = np.isnan(values)[..., None]
    ground = hatched((values.shape[0], values.shape[1])).astype(np.uint8)
    return np.where(missing, ground, scale.colours(values)[..., :3])


def _image_height(panel: Panel) -> float:
    if panel.drawn is None or panel.drawn.ndim == 1:
        return _WIDTH * 0.6
    return float(min(max(_WIDTH * panel.drawn.shape[0] / panel.drawn.shape[1], 0.3), 2 * _WIDTH))


def _line(block: Block, members: range) -> Line:
    panels = [(block.panels[i], block.scales[i]) for i in members]
    judged = any(panel.verdict is not None for panel, _ in panels)
    return Line(
        _NAME
        + (_VERDICT if judged else 0.0)
        + (_LAYER if any(panel.layer or panel.note for panel, _ in panels) else 0.0),
        max(_image_height(panel) for panel, _ in panels),
        max(len(_caption(panel, scale)) for panel, scale in panels) * _LINE,
        judged,
    )


def _caption(panel: Panel, scale: Scale | None) -> list[tuple[str, str]]:
    """Returns (line, colour) of what stands below a map: units, clipping, findings."""
    quiet = [panel.units, scale.note()] if scale is not None else []
    lines = [(line, QUIET) for text in quiet for line in textwrap.wrap(text, _WRAP)[:2]]
    for finding in panel.findings:
        colour = ALARM if finding.level == "warning" else INK
        wrapped = textwrap.wrap(finding.text, _WRAP)
        if len(wrapped) > 4:
            wrapped = [*wrapped[:3], shorten(" ".join(wrapped[3:]), _WRAP)]
        lines += [(line, colour) for line in wrapped]
    return lines
