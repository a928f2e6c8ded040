"""A tree as a figure: from left to right, with the largest branches unfolded first where not all of it fits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from ..core.errors import SettingError, UnknownNameError
from ..core.hierarchy import Tree
from .sheet import INK, QUIET, Look, Sheet
from .tree_layout import Spot, opened, spots
from .tree_words import classes_words, tree_lead
from .wording import plain, shorten

ACCENT, BRANCH = "#2f66a3", "#b6c0ca"
MOST_LINES = 1500
"""Lines of a figure of a tree; a PNG with more would be too tall to be opened everywhere."""

_MARGIN, _HEAD, _LINE = 0.32, 0.72, 0.2  # inches
_LETTER = 0.062  # inches of a letter at 7.5 points
_NARROW, _WIDE, _ENDS = 0.55, 1.75, 44  # inches of a column; letters of an end's name


def plot_tree(tree: Tree, *, root: int | str | None = None, lines: int = 60) -> Figure:
    """Returns a figure of the tree, the root at the left, inner nodes named above their branch.

    Where there are more than `lines` classes the nodes with the most below them are unfolded first; a node that stays
    folded says how many classes it holds. root: the node to draw from, by place or name, to look into a branch.

    Raises UnknownNameError for a root that the tree has not, SettingError for lines outside 2 to 1500.
    """
    if isinstance(lines, bool) or not isinstance(lines, int) or not 2 <= lines <= MOST_LINES:
        raise SettingError(
            f"lines must be a whole number from 2 to {MOST_LINES}; given {lines!r}. For a larger tree draw a branch "
            "(root=), or save it as .html."
        )
    start = _root(tree, root)
    where = spots(tree, start, opened(tree, start, lines))
    columns = _columns(tree, where)
    ends = [spot.line for spot in where.values()]
    width = max(2 * _MARGIN + columns[-1] + _ENDS * _LETTER, 6.0)
    sheet = Sheet(width, _HEAD + (max(ends) + 1) * _LINE + _MARGIN)
    title = "Tree" if start == 0 else plain(tree[start].name)
    sheet.text(_MARGIN, 0.22, shorten(title, int(width * 7)), Look(13, bold=True))
    about = tree_lead(tree) if start == 0 else f"a branch with {classes_words(tree, start)} · {tree_lead(tree)}"
    sheet.text(_MARGIN, 0.46, shorten(about, int(width * 12)), Look(8, colour=QUIET))
    _draw(sheet, tree, where, columns)
    return sheet.finish()


def branches(tree: Tree, where: Mapping[int, Spot], places: Sequence[float]) -> list[list[tuple[float, float]]]:
    """Returns the lines from each node to its children: down its column, then across to each child.

    places: where each column of the drawing stands.
    """
    found = []
    for node, spot in where.items():
        children = [child for child in tree[node].children if child in where]
        if children:
            at = places[spot.column]
            found.append([(at, where[children[0]].line), (at, where[children[-1]].line)])
            found += [[(at, where[child].line), (places[where[child].column], where[child].line)] for child in children]
    return found


def way(nodes: Iterable[int], where: Mapping[int, Spot], places: Sequence[float]) -> list[tuple[float, float]]:
    """Returns the line along a path of nodes, as far as it is shown."""
    points: list[tuple[float, float]] = []
    for node in nodes:
        if node not in where:
            break
        spot = where[node]
        if points:
            points.append((points[-1][0], spot.line))
        points.append((places[spot.column], spot.line))
    return points


def inches(sheet: Sheet, left: float, top: float, width: float, height: float) -> Axes:
    """Returns axes over the box that count in inches from its top left corner."""
    axes = sheet.axes(left, top, width, height)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.patch.set_alpha(0)
    return axes


def _root(tree: Tree, root: int | str | None) -> int:
    if root is None:
        return 0
    if isinstance(root, str):
        return tree.find(root).index
    if isinstance(root, bool) or not isinstance(root, int) or not 0 <= root < len(tree):
        raise UnknownNameError(f"root takes a node's name, or its place, 0 to {len(tree) - 1}; given {root!r}.")
    return root


def _columns(tree: Tree, where: Mapping[int, Spot]) -> list[float]:
    """Returns where each column stands, in inches; a column is as wide as the names above its branches need."""
    widths = [0.0] * (1 + max(spot.column for spot in where.values()))
    for node, spot in where.items():
        if spot.column and tree[node].children and not spot.folded:
            need = len(plain(tree[node].name)) * _LETTER + 0.15
            widths[spot.column] = max(widths[spot.column], min(max(need, _NARROW), _WIDE))
    places = [0.02]
    for width in widths[1:]:
        places.append(places[-1] + max(width, _NARROW / 2))
    return places


def _draw(sheet: Sheet, tree: Tree, where: Mapping[int, Spot], columns: Sequence[float]) -> None:
    tall = (max(spot.line for spot in where.values()) + 1) * _LINE
    axes = inches(sheet, _MARGIN, _HEAD, sheet.width - 2 * _MARGIN, tall)
    lines = [[(x, (y + 0.5) * _LINE) for x, y in line] for line in branches(tree, where, columns)]
    axes.add_collection(LineCollection(lines, colors=BRANCH, linewidths=1.0, capstyle="round"))
    for node, spot in where.items():
        left, middle = _MARGIN + columns[spot.column], _HEAD + (spot.line + 0.5) * _LINE
        name = plain(tree[node].name)
        if tree[node].children and not spot.folded:
            if spot.column:
                room = int((columns[spot.column] - columns[spot.column - 1] - 0.08) / _LETTER)
                sheet.text(left - 0.05, middle - 0.075, shorten(name, max(room, 3)), Look(6.8, colour=QUIET), "right")
            continue
        look = Look(7.5, bold=True, colour=ACCENT) if spot.folded else Look(7.5, colour=INK)
        words = shorten(name, _ENDS - 14) + f" · {classes_words(tree, node)}" if spot.folded else shorten(name, _ENDS)
        sheet.text(left + 0.06, middle, words, look)
