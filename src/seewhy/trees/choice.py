"""From what the user calls a hierarchy to a tree over the model's classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import SettingError
from ..core.hierarchy import Tree
from ..models.model import Model
from .files import check_fits, load_tree
from .given import from_nested, from_networkx
from .induce import induce
from .lexicon import synsets_of
from .taxonomy import wordnet

NAMED = ("wordnet", "induced")


def tree_for(model: Model, hierarchy: Any = None) -> Tree:
    """Returns the tree over a model's classes that `hierarchy` means.

    hierarchy: a `Tree`; "wordnet" or "induced"; the path of a JSON file; nested dicts and lists; a directed graph of
        networkx. None is WordNet's where it knows all of the model's labels, else the induced one.

    Raises SettingError for anything else, and for a tree over other classes.
    """
    if isinstance(hierarchy, Tree):
        check_fits(hierarchy, model.labels)
        return hierarchy
    if hierarchy is None:
        known = model.labels is not None and len(model.labels) > 1 and None not in synsets_of(model.labels)
        hierarchy = "wordnet" if known else "induced"
    if hierarchy == "wordnet":
        return wordnet(model)
    if hierarchy == "induced":
        return induce(model)
    if isinstance(hierarchy, (str, Path)):
        if Path(hierarchy).suffix.lower() != ".json":
            raise SettingError(
                f"hierarchy takes {', '.join(map(repr, NAMED))} or the path of a .json file; given {str(hierarchy)!r}."
            )
        return load_tree(hierarchy, model.labels)
    if isinstance(hierarchy, (Mapping, list, tuple)):
        return from_nested(hierarchy, model.labels)
    if all(hasattr(hierarchy, name) for name in ("nodes", "successors", "predecessors")):
        return from_networkx(hierarchy, model.labels)
    raise SettingError(
        f"hierarchy takes a seewhy.trees.Tree, {', '.join(map(repr, NAMED))}, the path of a .json file, nested dicts "
        f"and lists, or a directed graph of networkx; given {type(hierarchy).__name__}."
    )
