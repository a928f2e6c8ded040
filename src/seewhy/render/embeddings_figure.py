"""Embeddings as a figure: a panel of words for each layer, and below it each stage of reading beside chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..core.embeddings import ROLES, Embeddings, Role
from ..core.errors import LayerError
from .fonts import advice, drawable, families_for, undrawable
from .labels import placed, width_of, wrapped
from .sheet import QUIET, WASH, Look, Sheet
from .stage_charts import draw_stages, stages_height
from .wording import plain, shorten

Array: TypeAlias = NDArray[np.float64]

STYLES: dict[Role, tuple[str, str]] = {
    "question": ("#0b62a4", "o"),
    "text": ("#0b62a4", "o"),
    "context": ("#6b7680", "s"),
    "pair": ("#6b7680", "s"),
    "answer": ("#c8500a", "^"),
    "special": ("#8a4fa0", "X"),
}
"""Colour and marker of each role: apart in lightness too, so that no kind of colour blindness joins them."""

METHODS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
_MARGIN, _GAP, _TITLE = 0.35, 0.22, 0.3  # inches
_SIZE = 6.8  # points, of the words
_MOST_LABELS = 160
_LINES = 3


@dataclass(frozen=True, slots=True)
class _Panels:
    """How panels lie: size of one, columns, and rows."""

    width: float
    height: float
    columns: int
    rows: int


def plot_embeddings(found: Embeddings, *, layers: Sequence[int] | None = None, words: bool = True) -> Figure:
    """Returns a figure: the points of each layer with their words, and the stages over all layers.

    layers: those to draw; None draws all that are held. words: whether words are written beside their points.

    Both axes of a panel have one scale. Raises LayerError for a layer that is not held.
    """
    places = _places(found, layers)
    panels = _panels(len(places), len(found))
    width = 2 * _MARGIN + panels.columns * (panels.width + _GAP) - _GAP
    head = _head_lines(found, width - 2 * _MARGIN)
    top = 0.75 + 0.17 * len(head) + 0.42
    below = top + panels.rows * (panels.height + _TITLE + _GAP)
    labels, missing = label_texts(found)
    notes = _note_lines(found, missing, width - 2 * _MARGIN)
    stages = stages_height(found, width)
    sheet = Sheet(width, below + stages + 0.2 + 0.17 * len(notes) + 0.2)
    _head(sheet, found, head)
    limits = _limits(found.coordinates[places]) if found.common else None
    for number_, place in enumerate(places):
        left = _MARGIN + number_ % panels.columns * (panels.width + _GAP)
        at = top + number_ // panels.columns * (panels.height + _TITLE + _GAP)
        _panel(sheet, found, place, (left, at, panels), (labels if words else [], limits))
    draw_stages(sheet, found, below + 0.1)
    for row, line in enumerate(notes):
        sheet.text(_MARGIN, sheet.height - 0.2 - 0.17 * (len(notes) - row - 0.5), line, Look(7.5, colour=QUIET))
    return sheet.finish()


def label_texts(found: Embeddings) -> tuple[list[str], str]:
    """Returns what is written beside each point, and the letters that no font has; such words become numbers."""
    missing = undrawable(point.text for point in found.points)
    lost = set(missing)
    texts = []
    for place, point in enumerate(found.points):
        text = shorten(plain(point.text), 24)
        texts.append(f"#{place + 1}" if lost & set(text) else text if point.begins else f"·{text}")
    return texts, missing


def _places(found: Embeddings, layers: Sequence[int] | None) -> list[int]:
    wanted = found.layers if layers is None else tuple(layers)
    wrong = [layer for layer in wanted if layer not in found.layers]
    if wrong or not wanted:
        held = ", ".join(map(str, found.layers))
        raise LayerError(f"This result holds layers {held}; given {wrong[0] if wrong else 'none'}.")
    return [found.layers.index(layer) for layer in wanted]


def _panels(count: int, points: int) -> _Panels:
    width = min(max(3.3 + points * 0.02, 3.6), 6.5)
    columns = 2 if count <= 2 or count == 4 else 3 if count <= 9 else 4
    return _Panels(width, width * 0.76, columns, math.ceil(count / columns))


def _head_lines(found: Embeddings, width: float) -> list[tuple[str, str]]:
    """Returns the texts in lines, (role, line): the first of each with its role."""
    names = [ROLES[role] for role in _roles(found) if role not in ("answer", "special")]
    lines = []
    for name, text in zip([*names, *names[-1:]], found.texts, strict=False):
        for row, line in enumerate(wrapped(plain(text), 8.5, width - 0.95, _LINES)):
            lines.append((name if not row else "", line))
    if found.answer:
        source = " (found by the model)" if found.answer_source == "model" else ""
        lines.append(("answer", shorten(drawable(plain(found.answer)), 90) + source))
    return lines


def _roles(found: Embeddings) -> list[Role]:
    present = {point.role for point in found.points}
    if "answer" in present and len(found.texts) > 1 and "context" not in present and "question" in present:
        present.add("context")  # the whole context is the answer
    return [role for role in STYLES if role in present]


def _head(sheet: Sheet, found: Embeddings, lines: Sequence[tuple[str, str]]) -> None:
    sheet.text(_MARGIN, 0.27, "Embeddings, layer by layer", Look(14, bold=True))
    sheet.text(_MARGIN, 0.53, subtitle(found), Look(8.5, colour=QUIET))
    for row, (name, line) in enumerate(lines):
        middle = 0.82 + 0.17 * row
        sheet.text(_MARGIN, middle, name.capitalize(), Look(8.5, bold=True))
        sheet.text(_MARGIN + 0.95, middle, line, Look(8.5))
    _legend(sheet, found, 0.82 + 0.17 * len(lines) + 0.13)


def subtitle(found: Embeddings) -> str:
    """Returns how the points were made, in a line."""
    fit = "one fit for all layers" if found.common else "each layer by itself"
    return f"{plain(found.model)} · {METHODS.get(found.reduction, found.reduction)}, {fit} · {len(found)} points"


def _legend(sheet: Sheet, found: Embeddings, middle: float) -> None:
    left = _MARGIN
    axes = sheet.axes(0, middle - 0.1, sheet.width, 0.2)
    axes.set_xlim(0, sheet.width)
    axes.set_ylim(0.1, -0.1)
    for role in _roles(found):
        colour, marker = STYLES[role]
        axes.plot([left + 0.06], [0], marker, color=colour, markersize=6, markeredgewidth=0)
        sheet.text(left + 0.18, middle, ROLES[role], Look(8.5))
        left += 0.18 + width_of(ROLES[role], 8.5) + 0.3
    more = [
        ("·part: a word goes on", any(not point.begins for point in found.points)),
        ("hollow: not in the model's vocabulary", any(not point.known for point in found.points)),
    ]
    for words, holds in more:
        if holds:
            sheet.text(left, middle, words, Look(8.5, colour=QUIET))
            left += width_of(words, 8.5) + 0.3


def _limits(points: Array) -> tuple[Array, float]:
    """Returns the middle of the points and what half the picture spans, across."""
    flat = points.reshape(-1, 2)
    low, high = flat.min(0), flat.max(0)
    spans = np.maximum(high - low, 1e-12)
    return (low + high) / 2, float(max(spans[0], spans[1] / 0.76) / 2)


def _panel(
    sheet: Sheet,
    found: Embeddings,
    place: int,
    where: tuple[float, float, _Panels],
    drawn: tuple[Sequence[str], tuple[Array, float] | None],
) -> None:
    left, top, size = where
    labels, limits = drawn
    layer = found.layers[place]
    sheet.text(left, top + 0.13, f"Layer {layer}" + (" (embeddings)" if layer == 0 else ""), Look(10, bold=True))
    sheet.text(left + size.width, top + 0.13, explained_words(found, place), Look(7.5, colour=QUIET), "right")
    axes = sheet.axes(left, top + _TITLE, size.width, size.height)
    axes.set_facecolor(WASH)
    if layer in found.flat:
        middle = top + _TITLE + size.height / 2
        sheet.text(left + size.width / 2, middle, "All points are the same.", Look(9, colour=QUIET), "center")
        return
    axes.set_xlim(0, size.width)
    axes.set_ylim(size.height, 0)
    points = _inches(found.coordinates[place], limits, size)
    for role in ("special", "pair", "context", "text", "question", "answer"):  # the rarer ones above
        colour, marker = STYLES[role]
        for known, face, edge in ((False, WASH, colour), (True, colour, "white")):
            own = np.array([point.role == role and point.known == known for point in found.points])
            width = 0.4 if known else 0.8
            axes.plot(
                *points[own].T,
                marker,
                color=face,
                markersize=4.2 if known else 3.6,
                markeredgewidth=width,
                markeredgecolor=edge,
            )
    if labels:
        _write(axes, found, points, labels, size)


def explained_words(found: Embeddings, place: int) -> str:
    """Returns which share of the layer's variance the panel shows."""
    if found.explained is None:
        return ""
    one, two = found.explained[place]
    return f"{one + two:.0%} of the variance ({one:.0%} + {two:.0%})"


def _inches(points: Array, limits: tuple[Array, float] | None, size: _Panels) -> Array:
    """Returns points on the panel, inches from its left and top, with one scale for both axes."""
    middle, half = limits or _limits(points)
    scale = (size.width / 2 - 0.42) / half
    return np.stack(
        [size.width / 2 + (points[:, 0] - middle[0]) * scale, size.height / 2 - (points[:, 1] - middle[1]) * scale], 1
    )


def _write(axes: Axes, found: Embeddings, points: Array, labels: Sequence[str], size: _Panels) -> None:
    """Writes words beside their points, the answer's first; where there is no room, none."""
    rank: dict[Role, int] = {"answer": 0, "question": 1, "text": 1, "context": 2, "pair": 2, "special": 3}
    order = sorted(range(len(points)), key=lambda one: rank[found.points[one].role])[:_MOST_LABELS]
    boxes = np.array([(width_of(text, _SIZE) + 0.045, _SIZE * 1.22 / 72) for text in labels])
    corners = placed(points, boxes, (size.width, size.height), order)
    for place, corner in enumerate(corners):
        if corner is None:
            continue
        colour = _dark(STYLES[found.points[place].role][0])
        middle = (corner[0] + boxes[place, 0] / 2, corner[1] + boxes[place, 1] / 2)
        reach = np.abs(np.array(middle) - points[place]) - boxes[place] / 2
        if reach.max() > 0.09:
            edge = np.clip(points[place], corner, np.array(corner) + boxes[place])
            axes.plot(*np.stack([points[place], edge]).T, color=colour, linewidth=0.45, alpha=0.55)
        axes.text(
            *middle,
            labels[place],
            fontsize=_SIZE,
            color=colour,
            ha="center",
            va="center",
            fontfamily=families_for(labels[place]),
        )


def _dark(colour: str) -> str:
    return {"#6b7680": "#3b444d"}.get(colour, colour)


def _note_lines(found: Embeddings, missing: str, width: float) -> list[str]:
    notes = [*found.notes, *filter(None, [advice(missing, "words with them are shown by their numbers")])]
    if len(found) > _MOST_LABELS:
        notes.append(f"Words are written beside {_MOST_LABELS} of {len(found)} points at most; the .html page has all.")
    return [line for note in notes for line in wrapped(plain(note), 7.5, width, 3)]
