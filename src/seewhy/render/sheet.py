"""A page in inches from its top left corner, on which things keep their places whatever they hold."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from .fonts import families_for, weight_for
from .overlay import Picture

INK, QUIET, ALARM, WASH = "#1c2127", "#5f6a76", "#a3321f", "#f1f3f5"


@dataclass(frozen=True, slots=True)
class Look:
    """How a line of text looks: points, weight, colour."""

    size: float
    bold: bool = False
    colour: str = INK


class Drawing(Figure):
    """A matplotlib figure that notebooks show as it is, although pyplot does not know it."""

    def _repr_png_(self) -> bytes:
        return figure_png(self)


def figure_png(figure: Figure) -> bytes:
    """Returns the figure as the bytes of a .png file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def figure_svg(figure: Figure) -> bytes:
    """Returns the figure as the bytes of an .svg file, letters as shapes: the same wherever it is opened."""
    buffer = io.BytesIO()
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "seewhy"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


class Sheet:
    """One figure, filled by position."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Drawing(figsize=(width, height), dpi=110, facecolor="white")
        self.figure.set_layout_engine("none")
        FigureCanvasAgg(self.figure)

    def text(
        self,
        left: float,
        middle: float,
        text: str,
        look: Look,
        align: Literal["left", "center", "right"] = "left",
    ) -> None:
        """Writes one line with the middle of its small letters at `middle`."""
        baseline = middle + look.size * 0.37 / 72
        self.figure.text(
            left / self.width,
            1 - baseline / self.height,
            text,
            fontsize=look.size,
            fontweight=weight_for(text, bold=look.bold),
            fontfamily=families_for(text),
            color=look.colour,
            ha=align,
            va="baseline",
        )

    def badge(self, left: float, middle: float, text: str, look: Look) -> None:
        """Writes a short line with an outline in its colour around it, which begins at `left`."""
        margin = 0.45 * look.size / 72
        self.text(left + margin, middle, text, look)
        frame = {"boxstyle": "round,pad=0.3,rounding_size=0.7", "facecolor": "none", "edgecolor": look.colour}
        self.figure.texts[-1].set_bbox({**frame, "linewidth": 0.7})

    def picture(self, left: float, top: float, width: float, height: float, picture: Picture) -> None:
        """Draws the picture at the top of the box without distorting it."""
        axes = self.axes(left, top, width, height)
        fine = max(picture.shape[:2]) > 96
        sliver = not 0.02 < picture.shape[0] / picture.shape[1] < 50  # would vanish at its true proportions
        axes.imshow(
            picture,
            interpolation="antialiased" if fine else "nearest",
            aspect="auto" if sliver else "equal",
            origin="upper",
        )
        axes.set_anchor("N")

    def strip(self, left: float, top: float, width: float, height: float, colours: Picture) -> None:
        """Fills the box with the colours, (rows, columns, 3), stretched to its size."""
        axes = self.axes(left, top, width, height)
        axes.imshow(colours, interpolation="nearest", aspect="auto", origin="upper")

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Returns axes without marks or frame that fill the box."""
        axes = self.figure.add_axes(
            (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    def box(self, left: float, top: float, width: float, height: float, colour: str) -> None:
        """Fills the box with one colour."""
        place = (left / self.width, 1 - (top + height) / self.height)
        size = (width / self.width, height / self.height)
        patch = Rectangle(
            place, *size, transform=self.figure.transFigure, facecolor=colour, edgecolor="none", linewidth=0
        )
        self.figure.add_artist(patch)

    def finish(self) -> Figure:
        """Returns the figure; texts are drawn letter by letter, so that `$` in a label is no formula."""
        for text in self.figure.findobj(Text):
            assert isinstance(text, Text)
            text.set_parse_math(False)
            text.set_usetex(False)
        return self.figure
