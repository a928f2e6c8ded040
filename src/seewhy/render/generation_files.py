"""Files of generations: pages and pictures to look at, and data that loads again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..core.generation import Generation
from .files import write_as
from .generation_figure import plot_generation
from .generation_page import generation_page
from .sheet import figure_png
from .stored import Stored

GENERATION = Stored("generation", "a generation", Generation)


def save_generation(found: Generation, path: str | Path) -> Path:
    """Returns the path of the file written: .html, a page; .png, a figure; .npz or .json, for `load_generation`.

    Raises SettingError for another suffix, a missing folder, or a file that cannot be written.
    """
    return write_as(found, path, _FORMS, "A generation is saved as .html, .png, .npz or .json")


def load_generation(path: str | Path) -> Generation:
    """Returns the generation that was saved as .npz or .json; raises SettingError for other files."""
    return GENERATION.load(path)


_FORMS: dict[str, Callable[[Generation], bytes]] = {
    ".html": lambda found: generation_page(found).encode(),
    ".htm": lambda found: generation_page(found).encode(),
    ".png": lambda found: figure_png(plot_generation(found)),
    **GENERATION.forms,
}
