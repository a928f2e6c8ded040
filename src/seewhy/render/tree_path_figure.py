"""A decision as a figure: turn by turn down its path, what was not taken beside it, and why each turn was taken."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from ..core.decisions import WALKS, Alternative, Decision, TreeReading, Walk
from .overlay import Picture, overlay
from .panels import answer_lines, ground_of
from .pieces import outline
from .sheet import ALARM, INK, QUIET, WASH, Look, Sheet
from .tree_figure import ACCENT, BRANCH, branches, inches, way
from .tree_layout import spots
from .tree_words import (
    StepMap,
    agreement_words,
    classes_words,
    goes_on,
    method_words,
    partings_words,
    percent,
    step_maps,
    walk_lines,
)
from .wording import file_name, plain, shorten

WALK_COLOURS = {"soft": ACCENT, "hard": "#b35c00", "network": "#23744a"}
_MARGIN, _ASIDE, _GAP = 0.32, 2.5, 0.45  # inches: around the page, the column with the picture, what follows it
_PATH, _MAP_GAP = 5.5, 0.3  # inches: the column with the turns, from there to the maps
_OTHER, _TAKEN = 0.19, 0.3  # inches: a line of a child not taken, of one taken
_MOST_OTHERS = 3
_SPINE, _NAME, _PERCENT, _BAR, _COUNT = 0.09, 0.3, 3.55, 3.63, 4.65  # inches from the left of the turns
_TAKEN_ROOM, _OTHER_ROOM = 34, 42  # letters of a name
_FEW = 8  # up to so many maps are drawn large


@dataclass(frozen=True, slots=True)
class Row:
    """One turn as it is drawn: the children not taken that have a line, how many more, and its height in inches."""

    step: Decision
    others: tuple[Alternative, ...]
    more: tuple[int, float]
    found: StepMap | None
    height: float


def plot_reading(reading: TreeReading) -> Figure:
    """Returns a figure of the soft tree's path, root first, beside the picture, the answers and the whole tree.

    At each turn: its probability, the likeliest children not taken, who else went there, and the map of why it was
    taken where the record holds one.
    """
    maps = step_maps(reading, 360)
    large = 1.1 if sum(found.drawn for found in maps.values()) <= _FEW else 0.82
    rows = [_row(reading, step, maps.get(step.child), large) for step in reading.path.steps]
    mapped = any(row.found is not None for row in rows)
    left = _MARGIN + _ASIDE + _GAP
    width = left + _PATH + (_MAP_GAP + 1.6 if mapped else 0.0) + _MARGIN
    partings = [line for text, _ in partings_words(reading) for line in textwrap.wrap(text, int(width * 15))]
    head = 0.92 + 0.17 * len(partings)
    turns = 0.62 + sum(row.height for row in rows)
    sheet = Sheet(width, head + max(turns, _aside_height(reading)) + _MARGIN)
    _head(sheet, reading, partings)
    _aside(sheet, reading, head)
    _turns(sheet, reading, rows, (left, head))
    if mapped:
        words = method_words(reading)
        heading = f"Why this turn{f': {words}' if words else ''}"
        sheet.text(left + _PATH + _MAP_GAP, head + 0.1, shorten(heading, 30), Look(9, bold=True))
        _maps(sheet, rows, left + _PATH + _MAP_GAP, head + 0.62)
    return sheet.finish()


def _row(reading: TreeReading, step: Decision, found: StepMap | None, large: float) -> Row:
    passed = [one for one in step.alternatives if goes_on(reading, one.node)]
    first = [one for one in step.alternatives[:_MOST_OTHERS] if one not in passed]
    shown = sorted({one.node: one for one in (*passed, *first)}.values(), key=lambda one: -one.probability)
    rest = [one for one in step.alternatives if one not in shown]
    lines = len(shown) + bool(rest)
    height = _OTHER * lines + _TAKEN + (0.06 if lines else 0.0)
    if found is not None:
        height = max(height, (_map_size(found.panel.drawn.shape, large)[0] if found.drawn else 0.5) + 0.14)  # type: ignore[union-attr]
    return Row(step, tuple(shown), (len(rest), sum(one.probability for one in rest)), found, height)


def _map_size(shape: tuple[int, ...], large: float) -> tuple[float, float]:
    """Returns height and width in inches of a map of this shape: as large as fits `large` by 1.6."""
    share = min(large / shape[0], 1.6 / shape[1])
    return shape[0] * share, shape[1] * share


def _head(sheet: Sheet, reading: TreeReading, partings: list[str]) -> None:
    title = plain(reading.path.name)
    steps = len(reading.path.steps)
    turns = f"{steps} turns" if steps != 1 else "one turn"
    sheet.text(_MARGIN, 0.22, shorten(f"{title}: {turns} down the tree", int(sheet.width * 7)), Look(13, bold=True))
    about = f"{file_name(reading.source)} · {plain(reading.model)} · {reading.rule_words}"
    sheet.text(_MARGIN, 0.46, shorten(about, int(sheet.width * 12)), Look(8, colour=QUIET))
    colour = INK if reading.agree else ALARM
    sheet.text(_MARGIN, 0.67, agreement_words(reading), Look(8.5, colour=colour))
    for at, line in enumerate(partings):
        sheet.text(_MARGIN, 0.84 + at * 0.17, line, Look(8, colour=ALARM))


def _aside_height(reading: TreeReading) -> float:
    picture = ground_of(reading.picture, reading.view).best
    answers = len(reading.prediction.top[:5])
    seen = 0.0 if picture is None else 0.5 + _picture_height(picture)
    return seen + 1.1 + 0.3 * (answers + len(reading.paths)) + _overview_height(reading)


def _picture_height(picture: Picture) -> float:
    return float(min(_ASIDE * picture.shape[0] / picture.shape[1], 1.4 * _ASIDE))


def _overview_height(reading: TreeReading) -> float:
    return min(0.6 + 0.12 * reading.tree.classes, 2.6)


def _aside(sheet: Sheet, reading: TreeReading, top: float) -> None:
    picture = ground_of(reading.picture, reading.view).best
    if picture is not None:
        sheet.text(_MARGIN, top + 0.1, "Picture", Look(9, bold=True))
        sheet.picture(_MARGIN, top + 0.3, _ASIDE, _picture_height(picture), picture)
        top += 0.5 + _picture_height(picture)
    sheet.text(_MARGIN, top + 0.1, "Network", Look(9, bold=True))
    sheet.text(_MARGIN + _ASIDE, top + 0.1, plain(reading.prediction.scale), Look(7, colour=QUIET), "right")
    top += 0.34
    for label, words, share in answer_lines(reading.prediction)[:5]:
        _line(sheet, top, (label, words), share)
        top += 0.3
    top += 0.28
    sheet.text(_MARGIN, top + 0.02, "Ways down the tree", Look(9, bold=True))
    sheet.text(_MARGIN + _ASIDE, top + 0.02, "product of turns", Look(7, colour=QUIET), "right")
    top += 0.24
    for line in walk_lines(reading):
        share = reading.paths[line.walk].probability
        _line(sheet, top, (f"{line.title}: {line.label}", line.probability), share, WALK_COLOURS[line.walk])
        top += 0.3
    _overview(sheet, reading, top + 0.2)


def _line(sheet: Sheet, top: float, words: tuple[str, str], share: float | None, colour: str = ACCENT) -> None:
    sheet.text(_MARGIN, top + 0.06, shorten(words[0], 30), Look(8))
    sheet.text(_MARGIN + _ASIDE, top + 0.06, words[1], Look(8, bold=True), "right")
    if share is not None:
        sheet.box(_MARGIN, top + 0.155, _ASIDE, 0.05, "#e3e7eb")
        sheet.box(_MARGIN, top + 0.155, _ASIDE * min(max(share, 0.0), 1.0), 0.05, colour)


def _overview(sheet: Sheet, reading: TreeReading, top: float) -> None:
    """Draws the whole tree small, the ways down it in colour."""
    tree = reading.tree
    sheet.text(_MARGIN, top + 0.02, "The whole tree", Look(9, bold=True))
    sheet.text(_MARGIN + _ASIDE, top + 0.02, f"{tree.classes} classes", Look(7, colour=QUIET), "right")
    where = spots(tree, 0, {node.index for node in tree.inner})
    axes = sheet.axes(_MARGIN, top + 0.2, _ASIDE, _overview_height(reading) - 0.25)
    places = [float(column) for column in range(tree.depth + 1)]
    axes.set_xlim(-0.2, tree.depth + 0.2)
    axes.set_ylim(tree.classes - 0.5, -0.5)
    lines = branches(tree, where, places)
    axes.add_collection(LineCollection(lines, colors=BRANCH, linewidths=min(0.8, max(0.15, 40 / tree.classes))))
    for walk in ("network", "hard", "soft"):
        if walk in reading.paths and (walk == "soft" or reading.paths[walk].index != reading.path.index):
            nodes = [0, *(step.child for step in reading.paths[walk].steps)]
            points = way(nodes, where, places)
            axes.plot(*zip(*points, strict=True), color=WALK_COLOURS[walk], linewidth=1.8, solid_joinstyle="miter")
            axes.plot(*points[-1], "o", color=WALK_COLOURS[walk], markersize=4)


def _turns(sheet: Sheet, reading: TreeReading, rows: list[Row], corner: tuple[float, float]) -> None:
    """Draws the path downwards: a line as thick as each turn is sure, and short branches to what was not taken."""
    left, top = corner
    sheet.text(left, top + 0.1, "Turns of the soft tree", Look(9, bold=True))
    sheet.text(left + _PERCENT, top + 0.1, "probability", Look(7, colour=QUIET), "right")
    tall = 0.3 + sum(row.height for row in rows) + 0.1
    axes = inches(sheet, left, top + 0.3, _PATH, tall)
    at = 0.16
    axes.plot(_SPINE, at, "o", color=INK, markersize=5)
    tree = reading.tree
    sheet.text(left + _NAME - 0.08, top + 0.3 + at, shorten(plain(tree.root.name), 40), Look(8, colour=QUIET))
    sheet.text(left + _COUNT, top + 0.3 + at, classes_words(tree, 0), Look(7, colour=QUIET))
    for row in rows:
        end = at + row.height
        axes.plot(
            [_SPINE, _SPINE],
            [at, end],
            color=ACCENT,
            linewidth=1 + 3 * row.step.probability,
            solid_capstyle="butt",
            zorder=1,
        )
        _others(sheet, axes, reading, (row, left, top + 0.3, at))
        axes.plot(_SPINE, end, "o", color=ACCENT, markersize=6, markeredgecolor="white", markeredgewidth=1, zorder=3)
        leaf = tree[row.step.child].leaf is not None
        middle = top + 0.3 + end
        sheet.text(
            left + _NAME - 0.08,
            middle,
            shorten(plain(row.step.name), _TAKEN_ROOM),
            Look(9.5 if leaf else 8.5, bold=True),
        )
        _odds(sheet, (left, middle), row.step.probability, taken=True)
        sheet.text(left + _COUNT, middle, classes_words(tree, row.step.child), Look(7, colour=QUIET))
        at = end


def _others(sheet: Sheet, axes: Axes, reading: TreeReading, place: tuple[Row, float, float, float]) -> None:
    row, left, top, at = place
    lines = len(row.others) + bool(row.more[0])
    first = at + row.height - _TAKEN - _OTHER * lines + 0.16
    for number, one in enumerate(row.others):
        y = first + number * _OTHER
        walks = goes_on(reading, one.node)
        colour = WALK_COLOURS[walks[0][0]] if walks else BRANCH
        axes.plot([_SPINE, _SPINE + 0.16], [y, y], color=colour, linewidth=1.6 if walks else 0.9, zorder=0)
        axes.plot(_SPINE + 0.19, y, "o", color=colour, markersize=3.5, markerfacecolor="white", zorder=2)
        name = plain(one.name)
        words = shorten(_whose(name, walks), _OTHER_ROOM)
        sheet.text(left + _NAME + 0.05, top + y, words, Look(7.5, colour=colour if walks else QUIET))
        _odds(sheet, (left, top + y), one.probability, taken=False)
        sheet.text(left + _COUNT, top + y, classes_words(reading.tree, one.node), Look(7, colour=QUIET))
    count, share = row.more
    if count:
        y = first + len(row.others) * _OTHER
        sheet.text(left + _NAME + 0.05, top + y, f"and {count} more", Look(7, colour=QUIET))
        _odds(sheet, (left, top + y), share, taken=False)


def _whose(name: str, walks: tuple[tuple[Walk, str], ...]) -> str:
    """Returns the name of a child not taken, cut where need be, and behind it who went there and where they ended."""
    if not walks:
        return name
    ends = " and ".join(dict.fromkeys(label for _, label in walks))
    who = " and ".join(WALKS[walk] for walk, _ in walks) + ("" if ends == name else f", on to {ends}")
    return f"{shorten(name, max(8, _OTHER_ROOM - len(who) - 2))}: {who}"


def _odds(sheet: Sheet, place: tuple[float, float], share: float, *, taken: bool) -> None:
    left, middle = place
    look = Look(8, bold=True) if taken else Look(7, colour=QUIET)
    sheet.text(left + _PERCENT, middle, percent(share), look, "right")
    height = 0.08 if taken else 0.05
    sheet.box(left + _BAR, middle - height / 2, 0.9, height, "#e9edf0")
    sheet.box(left + _BAR, middle - height / 2, 0.9 * min(max(share, 0.0), 1.0), height, ACCENT if taken else "#9aa7b4")


def _maps(sheet: Sheet, rows: list[Row], left: float, top: float) -> None:
    large = 1.1 if sum(row.found is not None and row.found.drawn for row in rows) <= _FEW else 0.82
    for row in rows:
        found = row.found
        if found is not None and found.panel is not None and found.panel.drawn is not None and found.scale is not None:
            panel = found.panel
            height, width = _map_size(panel.drawn.shape, large)  # type: ignore[union-attr]
            sheet.picture(left, top + row.height - height - 0.07, width, height, _composed(found))
        elif found is not None:
            sheet.box(left, top + row.height - 0.5, 1.6, 0.43, WASH)
            for number, line in enumerate(textwrap.wrap(found.error, 34)[:2]):
                sheet.text(left + 0.06, top + row.height - 0.37 + 0.14 * number, line, Look(6, colour=QUIET))
        top += row.height


def _composed(found: StepMap) -> Picture:
    panel, scale = found.panel, found.scale
    assert panel is not None
    assert panel.drawn is not None
    assert scale is not None
    if panel.base is None:
        return scale.colours(panel.drawn)[..., :3]
    return outline(overlay(panel.base, panel.drawn, scale), panel.lines)
