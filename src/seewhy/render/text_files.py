"""Files of texts' explanations: pages and pictures to look at, and data that loads again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..core.text import TextExplanation
from .files import write_as
from .sheet import figure_png
from .stored import Stored
from .text_figure import plot_text
from .text_page import text_page

TEXT = Stored("text", "a text's explanation", TextExplanation)


def save_text(found: TextExplanation, path: str | Path) -> Path:
    """Returns the path of the file written, which appears whole or not at all.

    .html: a self-contained page. .png: a figure. .npz, .json: words, tokens and values, for `load_text`; the numbers
    of each token's embedding, from which the values were made, stay behind.

    Raises SettingError for another suffix, a missing folder, or a file that cannot be written.
    """
    return write_as(found, path, _FORMS, "A text's explanation is saved as .html, .png, .npz or .json")


def load_text(path: str | Path) -> TextExplanation:
    """Returns the explanation that `save_text` wrote as .npz or .json; raises SettingError for other files."""
    return TEXT.load(path)


def _light(found: TextExplanation) -> TextExplanation:
    kept = {key: replace(own, attribution=None) for key, own in found.attributions.items()}
    return replace(found, attributions=kept)


_FORMS: dict[str, Callable[[TextExplanation], bytes]] = {
    ".html": lambda found: text_page(found).encode(),
    ".htm": lambda found: text_page(found).encode(),
    ".png": lambda found: figure_png(plot_text(found)),
    ".npz": lambda found: TEXT.to_npz(_light(found)),
    ".json": lambda found: TEXT.to_json(_light(found)),
}
