"""Files of trees: one JSON form with a version, written whole or not at all, and hierarchies that people write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._version import __version__
from ..core.errors import SettingError
from ..core.hierarchy import Tree
from .given import from_nested

FORMAT = "seewhy tree"
SCHEMA = 1
"""Version of the file's form; raised when an older reader could misread a newer file."""


def save_tree(tree: Tree, path: str | Path) -> Path:
    """Returns the path of the .json file written, for `load_tree`; it appears whole or not at all.

    Raises SettingError for another suffix, a missing folder, or a file that cannot be written.
    """
    from ..render.files import check_folder, write_whole  # here: drawing is slow to import

    path = Path(path)
    if path.suffix.lower() != ".json":
        raise SettingError(f"A tree's data are saved as .json; given {str(path)!r}. Change the suffix.")
    check_folder(path)
    head = {"format": FORMAT, "schema": SCHEMA, "seewhy": __version__}
    return write_whole(path, json.dumps({**head, "tree": tree.to_dict()}, indent=1).encode("ascii"))


def load_tree(path: str | Path, labels: Sequence[str] | None = None) -> Tree:
    """Returns the tree that `Tree.save` wrote, or a hierarchy that somebody wrote as JSON (see `from_nested`).

    labels: the model's. They say which classes a written hierarchy means; a saved tree is checked against them.

    Raises SettingError if the file is missing, damaged, written by a newer seewhy, or does not fit the labels.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"{str(path)!r} cannot be read ({error.strerror or error}). Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise SettingError(
            f"{str(path)!r} is not a whole JSON file ({type(error).__name__}: {error}). It is damaged, or no hierarchy."
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return from_nested(content, labels, f"given: {path.name}")
    return _restored(content, path, labels)


def _restored(content: dict[str, Any], path: Path, labels: Sequence[str] | None) -> Tree:
    if content.get("schema") != SCHEMA:
        raise SettingError(
            f"{str(path)!r} has schema version {content.get('schema')}, written by seewhy {content.get('seewhy')}; "
            f"this seewhy {__version__} reads version {SCHEMA}. Use the version that wrote it, or save again."
        )
    try:
        tree = Tree.from_dict(content.get("tree") or {})
    except SettingError as error:
        raise SettingError(f"{str(path)!r} is damaged: {error}") from error
    check_fits(tree, labels)
    return tree


def check_fits(tree: Tree, labels: Sequence[str] | None) -> None:
    """Raises SettingError where a tree is over another number of classes, or over the same ones in another order."""
    if labels is None:
        return
    if tree.classes != len(labels):
        raise SettingError(
            f"The tree has {tree.classes} classes and the model {len(labels)}. Use a tree over this model's classes."
        )
    own = tree.labels
    if own != tuple(labels) and sorted(own) == sorted(labels):
        place = next(index for index in range(len(labels)) if own[index] != labels[index])
        raise SettingError(
            f"The tree has the model's classes in another order: class {place} is {own[place]!r} in the tree and "
            f"{labels[place]!r} in the model. Build it from this model's labels."
        )
