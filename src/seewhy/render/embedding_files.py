"""Files of embeddings and of words in context: pages and pictures to look at, and data that loads again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..core.embeddings import Embeddings
from ..core.words import WordInContext
from .embeddings import embeddings_page
from .embeddings_figure import plot_embeddings
from .files import write_as
from .sheet import figure_png, figure_svg
from .stored import Stored
from .words import words_page
from .words_figure import plot_words

EMBEDDINGS = Stored("embeddings", "embeddings", Embeddings)
WORDS = Stored("word in context", "a word in context", WordInContext)


def save_embeddings(found: Embeddings, path: str | Path) -> Path:
    """Returns the path of the file written; its suffix says the form. It appears whole or not at all.

    .html: a page with a slider over the layers. .png, .svg: the figure. .npz, .json: all data, for `load_embeddings`.

    Raises SettingError for another suffix, a missing folder, or a file that cannot be written.
    """
    return _saved("Embeddings are", found, path, _EMBEDDINGS)


def save_words(found: WordInContext, path: str | Path) -> Path:
    """Returns the path of the file written; its suffix says the form. It appears whole or not at all.

    .html: a page with a slider over the layers. .png, .svg: the figure. .npz, .json: all data, for
    `load_word_in_context`.

    Raises SettingError for another suffix, a missing folder, or a file that cannot be written.
    """
    return _saved("A word in context is", found, path, _WORDS)


def load_embeddings(path: str | Path) -> Embeddings:
    """Returns the embeddings that were saved as .npz or .json; raises SettingError for other files."""
    return EMBEDDINGS.load(path)


def load_word_in_context(path: str | Path) -> WordInContext:
    """Returns the word in context that was saved as .npz or .json; raises SettingError for other files."""
    return WORDS.load(path)


def _saved(what: str, found: Any, path: str | Path, forms: Mapping[str, Callable[[Any], bytes]]) -> Path:
    return write_as(found, path, forms, f"{what} saved as {', '.join(forms)}")


_EMBEDDINGS: dict[str, Callable[[Embeddings], bytes]] = {
    ".html": lambda found: embeddings_page(found).encode(),
    ".png": lambda found: figure_png(plot_embeddings(found)),
    ".svg": lambda found: figure_svg(plot_embeddings(found)),
    **EMBEDDINGS.forms,
}
_WORDS: dict[str, Callable[[WordInContext], bytes]] = {
    ".html": lambda found: words_page(found).encode(),
    ".png": lambda found: figure_png(plot_words(found)),
    ".svg": lambda found: figure_svg(plot_words(found)),
    **WORDS.forms,
}
