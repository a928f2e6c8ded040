"""The figure of a text's explanation: its words on the colours of their values, a block for each method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from ..core.errors import SettingError
from ..core.text import TextAttribution, TextExplanation, Unit
from .labels import width_of, wrapped
from .sheet import ALARM, QUIET, Look, Sheet
from .text_page import lead, names_of
from .text_runs import Run, Shades, runs, shades
from .wording import error_text, plain, shorten

SIZE, LINE = 11.0, 0.27
"""Points of the words, and inches from line to line."""
_MARGIN, _PAD, _GAP = 0.3, 0.02, 0.3
_MOST_LINES = 400
"""Lines that a figure holds; a longer text goes on a page."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A run at its place: inches from the left, and the number of its line."""

    run: Run
    left: float
    width: float
    line: int


def plot_text(found: TextExplanation, *, unit: Unit = "word", special: bool = False, width: float = 9.0) -> Figure:
    """Returns a figure of all methods' answers: amber speaks for the target, blue against it.

    unit: "word" or "token". special: whether special tokens are shown. width: in inches.

    Raises SettingError for a text that would make the figure longer than 400 lines.
    """
    blocks = [block for target in found.targets for block in _blocks(found, target, (unit, special), width)]
    head = [shorten(line, int(width * 14)) for line in (lead(found), *map(plain, found.notes)) if line]
    height = 2 * _MARGIN + 0.35 + LINE * len(head) + sum(block.height for block in blocks)
    if height > _MOST_LINES * LINE:
        raise SettingError(
            "The figure would be longer than 400 lines: save the page instead, .html, or explain fewer methods."
        )
    sheet = Sheet(width, height)
    top = _MARGIN + 0.12
    sheet.text(_MARGIN, top, shorten(plain(found.model), int(width * 9)), Look(13, bold=True))
    for line in head:
        top += LINE
        sheet.text(_MARGIN, top, line, Look(9, colour=QUIET))
    top += 0.3
    for block in blocks:
        block.draw(sheet, top)
        top += block.height
    return sheet.finish()


@dataclass(frozen=True, slots=True)
class _Block:
    """One method's answer to one target: a title, then each text's words."""

    title: str
    texts: Sequence[tuple[str, Sequence[Placed]]]
    scale: Shades
    error: Sequence[str] = ()

    @property
    def height(self) -> float:
        """Inches that it takes."""
        lines = sum(_lines(placed) + bool(name) * 0.7 for name, placed in self.texts) + len(self.error)
        return _GAP + LINE * (1 + lines)

    def draw(self, sheet: Sheet, top: float) -> None:
        """Draws it with its upper edge at `top`."""
        middle = top + LINE / 2
        sheet.text(_MARGIN, middle, self.title, Look(10.5, bold=True))
        if not self.error:
            self._bar(sheet, middle)
        for line in self.error:
            middle += LINE
            sheet.text(_MARGIN, middle, line, Look(9, colour=ALARM))
        for name, placed in self.texts:
            if name:
                middle += LINE * 0.7
                sheet.text(_MARGIN, middle + LINE * 0.1, name, Look(8, colour=QUIET))
            for item in placed:
                _word(sheet, item, middle + LINE * (item.line + 1), self.scale)
            middle += LINE * _lines(placed)

    def _bar(self, sheet: Sheet, middle: float) -> None:
        """Draws which colour stands for which number, at the right."""
        low, high = self.scale.ends()
        right = sheet.width - _MARGIN
        room = width_of(high, 8)
        sheet.text(right, middle, high, Look(8, colour=QUIET), "right")
        steps = 24
        least = -self.scale.most if self.scale.signed else 0.0
        for step in range(steps):
            value = least + (self.scale.most - least) * (step + 0.5) / steps
            left = right - room - 0.08 - 0.9 + 0.9 * step / steps
            sheet.box(left, middle - 0.05, 0.9 / steps + 0.002, 0.1, _hex(self.scale.rgb(value)))
        sheet.text(right - room - 0.08 - 0.9 - 0.08, middle, low, Look(8, colour=QUIET), "right")


def _blocks(found: TextExplanation, target: str, how: tuple[Unit, bool], width: float) -> Iterator[_Block]:
    for method in found.methods:
        title = f"{plain(found.titles.get(method, method))}: {plain(target)}"
        title = shorten(title, int(width * 8))
        if (method, target) in found.errors:
            text = error_text(found.errors[method, target])
            yield _Block(title, (), Shades(0.0, False), wrapped(text, 9, width - 2 * _MARGIN, 4))
        elif (method, target) in found.attributions:
            yield _block(found, found.attributions[method, target], title, (how, width))


def _block(found: TextExplanation, own: TextAttribution, title: str, how: tuple[tuple[Unit, bool], float]) -> _Block:
    (unit, special), width = how
    lines = [flowed(line, width - 2 * _MARGIN) for line in runs(own, unit, special)]
    return _Block(title, tuple(zip(names_of(found), lines, strict=True)), shades(own, unit, special))


def flowed(line: Sequence[Run], room: float) -> list[Placed]:
    """Returns the runs of a text in lines no wider than `room` inches; a line break in the text is one here."""
    placed: list[Placed] = []
    at, number = 0.0, 0
    space = width_of("a b", SIZE) - width_of("ab", SIZE)
    for run in line:
        words = plain(run.text)
        if run.value is None and not words:
            number += run.text.count("\n")
            at = 0.0 if "\n" in run.text else at + space * (at > 0)
            continue
        for piece in _fitting(words or "↵", room):
            wide = width_of(piece, SIZE) + 2 * _PAD
            if at > 0 and at + wide > room:
                at, number = 0.0, number + 1
            placed.append(Placed(Run(piece, run.value, run.special), at, wide, number))
            at += wide
    return placed


def _fitting(text: str, room: float) -> Iterator[str]:
    """Yields a text in pieces that fit into a line."""
    while width_of(text, SIZE) > room and len(text) > 1:
        cut = max(1, int(len(text) * room / width_of(text, SIZE)) - 1)
        yield text[:cut]
        text = text[cut:]
    yield text


def _lines(placed: Sequence[Placed]) -> int:
    return placed[-1].line + 1 if placed else 1


def _word(sheet: Sheet, item: Placed, middle: float, scale: Shades) -> None:
    left = _MARGIN + item.left
    if item.run.value is not None:
        sheet.box(left, middle - LINE * 0.4, item.width, LINE * 0.8, _hex(scale.rgb(item.run.value)))
    look = Look(SIZE, colour=QUIET) if item.run.special else Look(SIZE)
    sheet.text(left + _PAD, middle, item.run.text, look)


def _hex(rgb: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)
