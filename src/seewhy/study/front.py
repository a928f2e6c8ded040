"""Binds what records can do to the parts that do it; see `core.late`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from ..core.explanation import Explanation
from ..core.late import bind
from ..core.leaderboard import Leaderboard
from .attribute import attribute
from .layers import layers


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
    for name in ("plot_visualization", "plot_dream", "save_pictures"):
        bind(name, _rendered(name, "visualization"))


def load_explanation(path: str | Path) -> Explanation:
    """Returns the explanation that `Explanation.save` wrote to an .npz or .json file."""
    loaded: Explanation = _rendered("load_explanation")(path)
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
