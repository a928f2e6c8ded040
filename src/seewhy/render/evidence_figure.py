"""Evidence as a figure: every map's score beside those of chance, and the curves behind them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..core.errors import SettingError
from ..core.evidence import Evidence
from ..core.numbers import in_words
from .evidence import COLOURS
from .wording import method_title, plain

SUFFIXES = (".png", ".svg", ".pdf")
_LINE = 150
"""Letters that the figure is wide."""
_INK, _QUIET, _BEST, _EDGES = "#1a1f26", "#5b6672", "#2f66a3", "#9a2f1c"


def plot_evidence(evidence: Evidence, titles: Mapping[str, str] | None = None) -> Figure:
    """Returns a figure: the maps' scores among those of random maps and edges, and insertion and deletion curves.

    titles: names to show, by method.
    """
    known = titles or {}
    shown = {
        name: plain(known.get(name) or evidence.maps[name].title or method_title(name)) for name in evidence.ranked
    }
    figure = Figure(figsize=(11, 2.6 + 0.3 * len(shown)), layout="constrained")
    summary = "\n".join(wrap(plain(evidence.summary), _LINE))
    figure.suptitle(summary, x=0.01, ha="left", fontsize=10, color=_INK, parse_math=False)
    wide, left, right = figure.subplots(1, 3, width_ratios=(2.2, 1, 1))
    _scores(wide, evidence, shown)
    _curves(left, evidence, "insertion")
    _curves(right, evidence, "deletion")
    return figure


def save_evidence(evidence: Evidence, path: str | Path) -> Path:
    """Returns the path of the figure written, .png, .svg or .pdf. Raises SettingError for another suffix."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise SettingError(
            f"Evidence is saved as a figure, {', '.join(SUFFIXES)}; given {str(path)!r}. The numbers are saved with "
            "the explanation: explain(..., evidence=True).save('cat.json')."
        )
    plot_evidence(evidence).savefig(path, dpi=150)
    return path


def _scores(axes: Axes, evidence: Evidence, shown: Mapping[str, str]) -> None:
    places = range(len(shown))
    for place, name in zip(places, shown, strict=True):
        found = evidence.maps[name]
        axes.plot(evidence.chance, [place] * len(evidence.chance), "|", color=_QUIET, alpha=0.4, markersize=7)
        axes.plot([found.score], [place], "o", color=COLOURS[found.verdict], markersize=7)
        axes.annotate(
            f"{in_words(found.score)}  {found.verdict}",
            (1.02, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            color=COLOURS[found.verdict],
        )
    axes.axvline(evidence.edges, color=_EDGES, linewidth=1.5, label="edges, which never saw the network")
    axes.plot([], [], "|", color=_QUIET, label="random maps")
    axes.set_yticks(list(places), list(shown.values()), fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel("insertion minus deletion", fontsize=8)
    axes.legend(fontsize=7, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.1)
    _plain(axes)


def _curves(axes: Axes, evidence: Evidence, kind: str) -> None:
    for name in reversed(evidence.ranked):
        curve = getattr(evidence.maps[name], kind).curve
        if curve is not None:
            best = name == evidence.trusted
            look: dict[str, Any] = {"color": _BEST, "linewidth": 2.2} if best else {"color": _QUIET, "alpha": 0.5}
            axes.plot(curve.fractions.numpy(), curve.scores.numpy(), **look)
    chance = getattr(evidence, f"chance_{kind}")
    if chance is not None:
        axes.plot(chance.fractions.numpy(), chance.scores.numpy(), "--", color=_INK, linewidth=1.2)
    axes.set_title(kind.capitalize(), fontsize=9, loc="left")
    axes.set_xlabel("share of places", fontsize=8)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
