"""Trees and decisions as figures, pages and files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ..core.decisions import TreeReading
from ..core.errors import SettingError
from ..core.hierarchy import Tree
from .files import check_folder, write_whole
from .sheet import figure_png
from .tree_figure import plot_tree
from .tree_page import framed_page, tree_page
from .tree_path_figure import plot_reading

__all__ = ["plot_reading", "plot_tree", "reading_html", "save_reading", "save_readings", "save_tree"]


def reading_html(reading: TreeReading) -> str:
    """Returns the decision as an HTML fragment for notebooks."""
    return framed_page(reading)


def save_reading(reading: TreeReading, path: str | Path) -> Path:
    """Returns the path of the file written: .html, a page to unfold and search offline; .svg or .png, a figure.

    It appears whole or not at all. Raises SettingError for another suffix, a missing folder, or a file that cannot be
    written.
    """
    path = _checked(path, "A decision")
    if path.suffix.lower() == ".html":
        return write_whole(path, tree_page(reading.tree, [reading]).encode())
    return write_whole(path, _figure(plot_reading(reading), path))


def save_readings(readings: Sequence[TreeReading], path: str | Path) -> Path:
    """Returns the path of the page written about several decisions in one tree, .html.

    Raises SettingError for no readings, for readings of different trees, for another suffix, or a file that cannot be
    written.
    """
    path = Path(path)
    if path.suffix.lower() != ".html":
        raise SettingError(f"Several decisions are saved as one .html; given {str(path)!r}. Change the suffix.")
    if not readings:
        raise SettingError("A page of decisions needs at least one reading; given none.")
    check_folder(path)
    return write_whole(path, tree_page(readings[0].tree, readings).encode())


def save_tree(tree: Tree, path: str | Path) -> Path:
    """Returns the path of the file written: .html, a page to unfold and search offline; .svg or .png, a figure.

    Raises SettingError as `save_reading` does.
    """
    path = _checked(path, "A tree is saved as .json to be loaded again; to be looked at, it")
    if path.suffix.lower() == ".html":
        return write_whole(path, tree_page(tree).encode())
    return write_whole(path, _figure(plot_tree(tree), path))


def _checked(path: str | Path, what: str) -> Path:
    path = Path(path)
    if path.suffix.lower() not in (".html", ".svg", ".png"):
        raise SettingError(f"{what} is saved as .html, .svg or .png; given {str(path)!r}. Change the suffix.")
    check_folder(path)
    return path


def _figure(figure: Figure, path: Path) -> bytes:
    if path.suffix.lower() == ".png":
        return figure_png(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})  # the same decision is the same file
    return buffer.getvalue()
