"""Binds what records can do to the parts that do it; see `core.late`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from ..core.embeddings import Embeddings
from ..core.explanation import Explanation
from ..core.filters import Filters
from ..core.generation import Generation
from ..core.hierarchy import Tree
from ..core.late import bind
from ..core.leaderboard import Leaderboard
from ..core.text import TextExplanation
from ..core.visualization import Dream, Visualization
from ..core.words import WordInContext
from ..trees.files import save_tree
from .attribute import attribute
from .layers import layers

_TEXT = {
    "plot_text": "text_figure",
    "save_text": "text_files",
    "text_html": "text_page",
    "plot_generation": "generation_figure",
    "save_generation": "generation_files",
    "generation_html": "generation_page",
}
"""Which renderer of texts is in which file."""
_EMBEDDED = {
    "plot_embeddings": "embeddings_figure",
    "embeddings_html": "embeddings",
    "save_embeddings": "embedding_files",
    "plot_words": "words_figure",
    "words_html": "words",
    "save_words": "embedding_files",
}
"""The same for embeddings and words in context."""


def bind_all() -> None:
    """Binds every late name. Called once, when the package is imported."""
    bind("attribute", attribute)
    bind("layers", layers)
    for name in ("plot_attribution", "plot_explanation", "save_explanation", "explanation_html"):
        bind(name, _rendered(name))
    for name in ("plot_evidence", "save_evidence"):
        bind(name, _rendered(name))
    for name in ("plot_leaderboard", "save_leaderboard", "leaderboard_html"):
        bind(name, _rendered(name))
    for name in ("plot_filters", "save_filters", "filters_html"):
        bind(name, _rendered(name))
    for name, file in _TEXT.items():
        bind(name, _rendered(name, file))
    for name, module in _EMBEDDED.items():
        bind(name, _rendered(name, module))
    for name in ("plot_visualization", "plot_dream", "save_visualization", "save_dream"):
        bind(name, _rendered(name, "visualization"))

    for name in ("plot_tree", "plot_reading", "save_reading", "reading_html"):
        bind(name, _rendered(name, "tree"))
    bind("save_tree", _save_tree)


def _save_tree(tree: Tree, path: str | Path) -> Path:
    """Writes a tree as data that load again, or as it is drawn; the suffix decides."""
    drawn: Path = (
        save_tree(tree, path) if Path(path).suffix.lower() == ".json" else _rendered("save_tree", "tree")(tree, path)
    )
    return drawn


def load_explanation(path: str | Path) -> Explanation:
    """Returns the explanation that `Explanation.save` wrote to an .npz or .json file."""
    loaded: Explanation = _rendered("load_explanation")(path)
    return loaded


def load_filters(path: str | Path) -> Filters:
    """Returns the filters that `Filters.save` wrote to an .npz or .json file."""
    loaded: Filters = _rendered("load_filters")(path)
    return loaded


def load_visualization(path: str | Path) -> Visualization:
    """Returns the visualization that `Visualization.save` wrote to an .npz or .json file."""
    loaded: Visualization = _rendered("load_visualization", "visualization")(path)
    return loaded


def load_text(path: str | Path) -> TextExplanation:
    """Returns the text's explanation that `TextExplanation.save` wrote to an .npz or .json file."""
    loaded: TextExplanation = _rendered("load_text", "text_files")(path)
    return loaded


def load_embeddings(path: str | Path) -> Embeddings:
    """Returns the embeddings that `Embeddings.save` wrote to an .npz or .json file."""
    loaded: Embeddings = _rendered("load_embeddings", "embedding_files")(path)
    return loaded


def load_word_in_context(path: str | Path) -> WordInContext:
    """Returns the word in context that `WordInContext.save` wrote to an .npz or .json file."""
    loaded: WordInContext = _rendered("load_word_in_context", "embedding_files")(path)
    return loaded


def load_generation(path: str | Path) -> Generation:
    """Returns the generation that `Generation.save` wrote to an .npz or .json file."""
    loaded: Generation = _rendered("load_generation", "generation_files")(path)
    return loaded


def load_dream(path: str | Path) -> Dream:
    """Returns the dream that `Dream.save` wrote to an .npz or .json file."""
    loaded: Dream = _rendered("load_dream", "visualization")(path)
    return loaded


def load_leaderboard(path: str | Path) -> Leaderboard:
    """Returns the leaderboard that `Leaderboard.save` wrote to a .json file."""
    loaded: Leaderboard = _rendered("load_leaderboard")(path)
    return loaded


def _rendered(name: str, module: str = "") -> Any:
    """Returns a function that imports the renderer only when it is first needed: matplotlib is slow to import."""

    def call(*args: Any, **options: Any) -> Any:
        found = import_module(f"..render.{module}" if module else "..render", __package__)
        return getattr(found, name)(*args, **options)

    return call
