"""Model inputs as trees: one tensor, or nested tuples, lists and dicts of tensors with rows on the first axis.

A leaf is named by its path: `""` for a lone tensor, `"0"` or `"1"` in a tuple, `"pixel_values"` in a dict,
`"1.mask"` deeper down. Values that are not tensors (None, flags) are constants and pass through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

Inputs: TypeAlias = Any


def _children(node: Inputs) -> list[tuple[str, Any]] | None:
    if isinstance(node, Mapping):
        return [(str(name), value) for name, value in node.items()]
    if isinstance(node, (tuple, list)):
        return [(str(index), value) for index, value in enumerate(node)]
    return None


def _rebuild(node: Inputs, values: list[Any]) -> Inputs:
    if isinstance(node, Mapping):
        return dict(zip(node.keys(), values, strict=True))
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return type(node)(*values)
    return tuple(values) if isinstance(node, tuple) else list(values)


def map_leaves(change: Callable[[str, Tensor], Any], node: Inputs, path: str = "") -> Inputs:
    """Returns the same tree with `change(path, tensor)` in the place of each tensor."""
    if isinstance(node, Tensor):
        return change(path, node)
    children = _children(node)
    if children is None:
        return node
    prefix = f"{path}." if path else ""
    return _rebuild(node, [map_leaves(change, value, prefix + name) for name, value in children])


def leaves(node: Inputs) -> dict[str, Tensor]:
    """Returns every tensor of the tree by path, in order."""
    found: dict[str, Tensor] = {}

    def note(path: str, tensor: Tensor) -> Tensor:
        found[path] = tensor
        return tensor

    map_leaves(note, node)
    return found


def replace(node: Inputs, new: Mapping[str, Tensor]) -> Inputs:
    """Returns the tree with the named leaves exchanged."""
    return map_leaves(lambda path, tensor: new.get(path, tensor), node)


def row_count(node: Inputs) -> int:
    """Returns the number of rows: the length of the first leaf's first axis."""
    for tensor in leaves(node).values():
        if tensor.dim() > 0:
            return len(tensor)
    return 0


def take(node: Inputs, rows: slice) -> Inputs:
    """Returns the given rows of every leaf."""
    return map_leaves(lambda _, tensor: tensor[rows] if tensor.dim() > 0 else tensor, node)


def repeat(node: Inputs, count: int) -> Inputs:
    """Returns a one-row tree with its row repeated `count` times, without copying."""
    if count == 1:
        return node
    return map_leaves(lambda _, tensor: tensor.expand(count, *tensor.shape[1:]) if tensor.dim() > 0 else tensor, node)


def concatenate(parts: Sequence[Inputs]) -> Inputs:
    """Returns the rows of several trees of equal structure, one after another."""
    if len(parts) == 1:
        return parts[0]
    pieces = [leaves(part) for part in parts]
    joined = {
        path: torch.cat([piece[path] for piece in pieces]) if tensor.dim() > 0 else tensor
        for path, tensor in pieces[0].items()
    }
    return replace(parts[0], joined)


def signature(node: Inputs) -> tuple[tuple[str, tuple[int, ...], str], ...]:
    """Returns paths, row shapes and dtypes: rows with equal signatures can stand in one batch."""
    return tuple((path, tuple(t.shape[1:]), str(t.dtype)) for path, t in leaves(node).items())


def constants(node: Inputs, path: str = "") -> tuple[tuple[str, str], ...]:
    """Returns paths and texts of all values that are no tensors: rows that differ in them cannot stand in one batch."""
    if isinstance(node, Tensor):
        return ()
    children = _children(node)
    if children is None:
        return ((path, repr(node)),)
    prefix = f"{path}." if path else ""
    return tuple(found for name, value in children for found in constants(value, prefix + name))
