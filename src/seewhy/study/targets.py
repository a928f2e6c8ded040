"""From what the user calls a target to one target per row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import TargetError
from ..core.targets import (
    Class,
    Combination,
    Contrast,
    Difference,
    Direction,
    Energy,
    Function,
    Likeness,
    Nearest,
    Target,
    Top,
    Turn,
    Unit,
)
from ..models.labels import find
from ..models.model import Model

RECORDS = (Top, Class, Difference, Contrast, Nearest, Turn, Function)
LAYERED = (Unit, Direction, Energy, Likeness)


def row_targets(model: Model, target: Any, rows: int) -> list[Target]:
    """Returns the target of each row; a list, tensor or array gives one per row.

    Raises TargetError where the target is none, or the lengths differ.
    """
    if isinstance(target, (Tensor, np.ndarray)) and target.ndim > 0:
        target = target.tolist()
    if isinstance(target, (list, tuple)):
        if len(target) != rows:
            raise TargetError(
                f"target must have one entry per row of x: expected {rows}; given {len(target)}. Give one target for "
                "all rows, or a list as long as the batch."
            )
        return [one_target(model, item) for item in target]
    return [one_target(model, target)] * rows


def one_target(model: Model, target: Any) -> Target:
    """Returns the record of one target: None, an index, a label, a function, or a record."""
    if target is None:
        return Top()
    if isinstance(target, LAYERED):
        name = model.layer_name(target.layer)
        return target if name == target.layer else replace(target, layer=name)
    if isinstance(target, Combination):
        return Combination(tuple((weight, one_target(model, part)) for weight, part in target.parts))
    if isinstance(target, RECORDS):
        return target
    if isinstance(target, str):
        return Class(find(target, model.labels))
    index = _whole_number(target)
    if index is not None:
        if index < 0:
            raise TargetError(
                f"target must be a class index of 0 or more; given {index}. Negative numbers usually mark 'no label'; "
                "use None for each row's own top class."
            )
        return Class(index)
    if callable(target):
        return Function(target, getattr(target, "__name__", "function"))
    raise TargetError(
        "target must be None, a class index, a label, a function of a row's output, or one of seewhy.targets; given "
        f"{target!r} ({type(target).__name__})."
    )


def _whole_number(target: Any) -> int | None:
    """Returns an int for Python, NumPy and one-element tensor integers, None for everything else."""
    if isinstance(target, bool) or (isinstance(target, Tensor) and target.dtype == torch.bool):
        return None
    if isinstance(target, Tensor):
        return int(target) if target.numel() == 1 and not target.is_floating_point() else None
    if isinstance(target, (int, np.integer)):
        return int(target)
    return int(target) if isinstance(target, np.ndarray) and target.size == 1 and target.dtype.kind in "iu" else None


def named_targets(model: Model, targets: Any) -> Sequence[Target]:
    """Returns the targets of one picture: None is the top class; a list gives several."""
    if isinstance(targets, (list, tuple)):
        if not targets:
            raise TargetError("targets must name at least one target; given an empty list. Use None for the top class.")
        return [one_target(model, item) for item in targets]
    return [one_target(model, targets)]
