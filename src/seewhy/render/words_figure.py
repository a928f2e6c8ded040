"""A word in many sentences as a figure: how alike its uses are at one layer, at all layers, and how senses separate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..core.words import Use, WordInContext
from .colours import SEQUENTIAL, table
from .fonts import advice, drawable, undrawable
from .labels import Array, width_of, wrapped
from .sheet import INK, QUIET, WASH, Look, Sheet
from .wording import number, plain, shorten

SENSES = ("#0b62a4", "#c8500a", "#2b8a57", "#8a4fa0", "#8c6d1f", "#b0305c", "#3f7f92", "#6b7680")
"""Colours of senses, in the order of their first use; they repeat where there are more."""

_MARGIN, _BEFORE, _AFTER, _GAP = 0.35, 2.0, 2.5, 0.75  # inches; of the sentence left and right of the word
_MOST_NAMED = 60
_LETTER = 0.2  # inches that a cell needs to hold a number


@dataclass(frozen=True, slots=True)
class _Grid:
    """Sizes: of a cell, of the text column, and where the heat maps begin."""

    cell: float
    text: float
    top: float

    def side(self, count: int) -> float:
        return self.cell * count


def plot_words(found: WordInContext, *, layer: int | None = None) -> Figure:
    """Returns a figure: distance and similarity at one layer with their numbers, all layers small, and the margin.

    layer: the one drawn large; None draws the last. All maps are in the order of its tree. Lighter is more alike.

    Raises LayerError for a layer that is not held.
    """
    place, count = found.place(layer), len(found)
    order = found.orders[place]
    grid = _grid(count)
    side = grid.side(count)
    width = max(2 * _MARGIN + grid.text + 2 * side + _GAP + 0.25, 10.0)
    small = _small(found, width)
    lower = grid.top + side + 0.7
    charts = 2.1 if found.separation else 0.0
    notes, missing = _note_lines(found, width)
    height = lower + small.height + 0.15 + charts + 0.17 * len(notes) + 0.3
    sheet = Sheet(width, height)
    _head(sheet, found, place, missing)
    _sentences(sheet, found, order, grid)
    left = _MARGIN + grid.text
    for values, title, nearer in (
        (found.distance[place], "Euclidean distance", "low"),
        (found.similarity[place], "Cosine similarity", "high"),
    ):
        sheet.text(left, grid.top - 0.32, title, Look(10, bold=True))
        _map(sheet, (left, grid.top, grid.cell), values[np.ix_(order, order)], order, nearer)
        left += side + _GAP
    _multiples(sheet, found, order, lower, small)
    if found.separation:
        _margins(sheet, found, lower + small.height + 0.3)
    for row, line in enumerate(notes):
        sheet.text(_MARGIN, height - 0.2 - 0.17 * (len(notes) - row - 0.5), line, Look(7.5, colour=QUIET))
    return sheet.finish()


def _grid(count: int) -> _Grid:
    cell = min(max(4.4 / count, min(0.075, 9.0 / count)), 0.44)  # no side longer than 9 inches, however many
    text = _BEFORE + _AFTER + 0.5 if count <= _MOST_NAMED else 0.4
    return _Grid(cell, text, 1.65)


def _head(sheet: Sheet, found: WordInContext, place: int, missing: str) -> None:
    word = plain(found.word) if not set(missing) & set(found.word) else "A word"
    title = (
        f"“{shorten(word, 40)}” in {len(found)} sentences" if word != "A word" else f"A word in {len(found)} sentences"
    )
    sheet.text(_MARGIN, 0.27, title, Look(14, bold=True))
    pooled = {"mean": "mean over the word's tokens"}.get(found.pooling, f"{found.pooling} token of the word")
    layer = layer_name(found.layers[place])
    about = (
        f"{plain(found.model)} · {layer} · {pooled} · ordered by average linkage of the distances · lighter: more alike"
    )
    sheet.text(_MARGIN, 0.53, about, Look(8.5, colour=QUIET))
    left = _MARGIN
    for rank, label in enumerate(found.labels[:12]):
        sheet.box(left, 0.76, 0.11, 0.11, SENSES[rank % len(SENSES)])
        shown = shorten(drawable(plain(label)), 28)
        sheet.text(left + 0.17, 0.815, shown, Look(8.5))
        left += 0.17 + width_of(shown, 8.5) + 0.28
    if found.separation:
        sheet.text(_MARGIN, 1.05, summary(found, place), Look(8.5))


def layer_name(layer: int) -> str:
    """Returns what a layer is called."""
    return "embedding layer (0)" if layer == 0 else f"layer {layer}"


def summary(found: WordInContext, place: int) -> str:
    """Returns in a sentence how well senses separate at a layer."""
    one = found.separation[place]
    if math.isnan(one.margin):
        return "No two sentences share a sense, or all do: there is no margin."
    beyond = "more than" if one.p <= 0.05 else "no more than"
    words = (
        f"Cosine similarity within senses {one.within:.3f}, across them {one.across:.3f}: a margin of "
        f"{one.margin:.3f}, {beyond} shuffled labels give ({one.low:.3f} to {one.high:.3f}; p = {one.p:.2g}). "
        f"Silhouette {one.silhouette:.2f}."
    )
    return words.replace("-", "−")


def _sentences(sheet: Sheet, found: WordInContext, order: NDArray[np.int64], grid: _Grid) -> None:
    """Writes the sentences in the map's order, the words below each other, each with its sense's colour."""
    ranks = {label: rank for rank, label in enumerate(found.labels)}
    named = len(found) <= _MOST_NAMED
    size = min(8.0, grid.cell * 72 * 0.8)
    for row, index in enumerate(order):
        use, middle = found.uses[index], grid.top + (row + 0.5) * grid.cell
        right = _MARGIN + grid.text - 0.12
        if named:
            sheet.text(right - 0.08, middle, str(index + 1), Look(size, colour=QUIET), "right")
            _keyword(sheet, use, middle, size)
        if use.label:
            high = min(0.11, grid.cell * 0.8)
            sheet.box(right - 0.02, middle - high / 2, 0.08, high, SENSES[ranks[use.label] % len(SENSES)])


def _keyword(sheet: Sheet, use: Use, middle: float, size: float) -> None:
    before, word, after = keyword_in_context(use)
    start = _MARGIN + _BEFORE
    sheet.text(start, middle, _fitting(before, size, _BEFORE, head=True), Look(size, colour=QUIET), "right")
    shown = shorten(drawable(word), 24)
    sheet.text(start + 0.03, middle, shown, Look(size, bold=True))
    end = start + 0.03 + width_of(shown, size, True) + 0.03
    sheet.text(end, middle, _fitting(after, size, _MARGIN + _BEFORE + _AFTER - end), Look(size, colour=QUIET))


def three_digits(value: float) -> str:
    """Returns a number with three decimals, and without a sign where they are all zeros."""
    text = f"{value:.3f}"
    return "0.000" if text == "-0.000" else text.replace("-", "−")


def keyword_in_context(use: Use) -> tuple[str, str, str]:
    """Returns the sentence before the word, the word, and the sentence behind it, each in one line."""
    return plain(use.sentence[: use.start]), plain(use.word), plain(use.sentence[use.end :])


def _fitting(text: str, size: float, room: float, *, head: bool = False) -> str:
    """Returns as much of the text as fits, its end where `head` is cut off, with an ellipsis where something is."""
    shown = drawable(text)
    if width_of(shown, size) <= room:
        return shown
    low, high = 0, len(shown)
    while low < high:
        middle = (low + high + 1) // 2
        part = "…" + shown[-middle:] if head else shown[:middle] + "…"
        low, high = (middle, high) if width_of(part, size) <= room else (low, middle - 1)
    return ("…" + shown[len(shown) - low :] if head else shown[:low] + "…") if low else ""


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """Returns the smallest and largest value off the diagonals."""
    off = values[..., ~np.eye(values.shape[-1], dtype=bool)]
    finite = off[np.isfinite(off)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def coloured(values: Array, limits: tuple[float, float], nearer: str) -> NDArray[np.uint8]:
    """Returns the colours of a square, (n, n, 3); lighter is more alike, and grey has no number."""
    low, high = limits
    share = (np.clip(np.nan_to_num(values, nan=low), low, high) - low) / ((high - low) or 1.0)
    share = 0.1 + 0.9 * (1 - share if nearer == "low" else share)
    found: NDArray[np.uint8] = table(SEQUENTIAL)[np.rint(share * 255).astype(int)].copy()
    found[np.isnan(values)] = 200
    return found


def _map(sheet: Sheet, where: tuple[float, float, float], values: Array, order: NDArray[np.int64], nearer: str) -> None:
    """Draws a square with its numbers, and sentence numbers above it."""
    left, top, cell = where
    count = len(values)
    limits = _limits(values)
    colours = coloured(values, limits, nearer)
    sheet.strip(left, top, cell * count, cell * count, colours)
    axes = sheet.axes(left, top, cell * count, cell * count)
    axes.set_xlim(0, count)
    axes.set_ylim(count, 0)
    axes.set_facecolor("none")
    words = [[f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" for value in row] for row in values]
    if cell >= _LETTER:
        size = min(7.5, cell * 72 * 0.27)
        for row in range(count):
            for column in range(count):
                dark = colours[row, column] @ np.array([0.299, 0.587, 0.114]) < 140
                text = "–" if math.isnan(values[row, column]) else words[row][column]
                axes.text(
                    column + 0.5,
                    row + 0.5,
                    text.lstrip("0") or "0",
                    fontsize=size,
                    color="white" if dark else INK,
                    ha="center",
                    va="center",
                )
    if count <= _MOST_NAMED:
        for column, index in enumerate(order):
            sheet.text(
                left + (column + 0.5) * cell,
                top - 0.1,
                str(index + 1),
                Look(min(7.5, cell * 40), colour=QUIET),
                "center",
            )
    span = f"{number(limits[0], limits[1])} to {number(limits[1], limits[0])} off the diagonal"
    sheet.text(left, top + cell * count + 0.14, span, Look(7.5, colour=QUIET))


@dataclass(frozen=True, slots=True)
class _Small:
    """The small maps: the side of one, how many stand in a row, and the height of all."""

    side: float
    columns: int
    height: float


def _small(found: WordInContext, width: float) -> _Small:
    columns = min(len(found.layers), 13)
    side = min((width - 2 * _MARGIN + 0.12) / columns - 0.12, 1.45)
    rows = math.ceil(len(found.layers) / columns)
    return _Small(side, columns, 0.3 + rows * (side + 0.3))


def _multiples(sheet: Sheet, found: WordInContext, order: NDArray[np.int64], top: float, small: _Small) -> None:
    limits = _limits(found.similarity)
    sheet.text(_MARGIN, top, "Cosine similarity at every layer", Look(10, bold=True))
    scale = f"same order, one colour scale for all: {number(limits[0])} (dark) to {number(limits[1])} (light)"
    sheet.text(_MARGIN + 2.75, top, scale, Look(8, colour=QUIET))
    for place, layer in enumerate(found.layers):
        left = _MARGIN + place % small.columns * (small.side + 0.12)
        at = top + 0.2 + place // small.columns * (small.side + 0.3)
        values = found.similarity[place][np.ix_(order, order)]
        sheet.strip(left, at, small.side, small.side, coloured(values, limits, "high"))
        name = "embeddings" if layer == 0 else f"layer {layer}" if small.side > 0.6 else str(layer)
        sheet.text(left, at + small.side + 0.11, name, Look(7.5, colour=QUIET))


def _margins(sheet: Sheet, found: WordInContext, top: float) -> None:
    column = min((sheet.width - 2 * _MARGIN - 0.5) / 2, 5.5)
    rows = found.separation
    for place, (title, about) in enumerate(
        (
            ("Margin", "similarity within senses minus across them; grey: shuffled labels, middle 95%"),
            ("Silhouette", "by Euclidean distance; 1: apart, 0: one heap"),
        )
    ):
        left = _MARGIN + place * (column + 0.5)
        sheet.text(left, top + 0.05, title, Look(10, bold=True))
        sheet.text(left + width_of(title, 10, True) + 0.12, top + 0.05, about, Look(7.5, colour=QUIET))
        axes = sheet.axes(left, top + 0.22, column, 1.35)
        values = [one.margin if place == 0 else one.silhouette for one in rows]
        band = [(one.mean, one.low, one.high) for one in rows] if place == 0 else []
        _series(axes, found.layers, values, band)


def _series(axes: Axes, layers: Sequence[int], values: Sequence[float], band: Sequence[tuple[float, ...]]) -> None:
    axes.set_facecolor(WASH)
    places = list(range(len(layers)))
    if band:
        mean, low, high = zip(*band, strict=True)
        axes.fill_between(places, low, high, color="#cfd6dd", linewidth=0)
        axes.plot(places, mean, color=QUIET, linewidth=0.9, linestyle=(0, (3, 2)))
    axes.axhline(0, color=QUIET, linewidth=0.6)
    axes.plot(places, values, "-o", color=SENSES[0], linewidth=1.4, markersize=4.5)
    ends = [end for end in (0.0, *values, *(one for row in band for one in row)) if math.isfinite(end)]
    span = max(ends) - min(ends) or 1.0
    axes.set_ylim(min(ends) - 0.2 * span, max(ends) + 0.22 * span)
    axes.set_xlim(-0.5, len(layers) - 0.5)
    for place, value in zip(places, values, strict=True):
        if math.isfinite(value):
            axes.annotate(
                three_digits(value),
                (place, value),
                (0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=7.5,
                color=INK,
            )
        axes.text(place, min(ends) - 0.17 * span, str(layers[place]), fontsize=7, color=QUIET, ha="center")


def _note_lines(found: WordInContext, width: float) -> tuple[list[str], str]:
    missing = undrawable(use.sentence + use.label for use in found.uses)
    notes = [
        *found.notes,
        *filter(None, [advice(missing, "an ellipsis stands for them")]),
    ]
    if len(found) > _MOST_NAMED:
        notes.append(f"With more than {_MOST_NAMED} sentences, these are written in the .html page only.")
    return [line for note in notes for line in wrapped(plain(note), 7.5, width - 2 * _MARGIN, 3)], missing
