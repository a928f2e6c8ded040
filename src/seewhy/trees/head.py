"""The linear layer that a classifier ends in: its weight rows are what a tree over the classes is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..core.errors import InputError, NotFiniteError, UnsupportedModelError
from ..core.queries import stack
from ..core.query import Chunk, Flow, Fold, Head, Query, Record, ask
from ..core.rows import Case
from ..engine import Options
from ..engine.run import drive
from ..models.black_box import BlackBox
from ..models.heads import is_linear
from ..models.keras_heads import keras_head
from ..models.layers import example_input
from ..models.model import Model
from ..models.outputs import understand

_WITHOUT = (
    "Give the vectors as W=, one row a class, or use another hierarchy (seewhy.trees.wordnet, or one of your own) with "
    "rule='marginal', which needs no linear layer."
)


def class_vectors(model: Model) -> tuple[str, Tensor]:
    """Returns the name and the weight (K, C) of the linear layer that the classifier ends in.

    Where the preprocessing tells the input's size, one pass of a grey picture shows which linear layer spoke last, and
    it must answer with as many numbers as the network; elsewhere it is the last one that the network holds, with as
    many rows as there are labels.

    Raises UnsupportedModelError where there is none.
    """
    if isinstance(model.module, BlackBox):
        raise UnsupportedModelError(
            f"A tree is induced from the weights of a network's last linear layer; {model.name} shows none, since it "
            f"gives scores only. {_WITHOUT}"
        )
    try:
        x = example_input(model)
    except InputError:
        return _registered(model)
    return _spoken(model, x)


def _spoken(model: Model, x: Tensor) -> tuple[str, Tensor]:
    """Returns the linear layer that spoke last in a pass."""
    case = Case("example", x, ("",))

    def look() -> Flow[tuple[Head | None, int]]:
        def pick(chunk: Chunk) -> tuple[Head | None, int]:
            scores = understand(chunk.output, None, 1).scores
            return chunk.head, 0 if scores is None or scores.dim() != 2 else scores.shape[1]

        seen: Fold[Any, tuple[Head | None, int]] = stack(pick, lambda parts: parts[0])
        return (yield from ask(Query(case.rows(), None, seen, Record(True, head=True))))

    head, classes = drive(model, look(), Options(batch_size=1, backend="torch"))
    if head is None or len(head.weight) != classes:
        last = "none was called" if head is None else f"the last one called, {head.name!r}, has {len(head.weight)}"
        raise UnsupportedModelError(
            f"A tree is induced from the weights of a linear layer with one row for each of the {classes} outputs, the "
            f"network's last; in {model.name} {last}. {_WITHOUT}"
        )
    return head.name, head.weight


def _registered(model: Model) -> tuple[str, Tensor]:
    """Returns the last linear layer that the network holds, of as many rows as there are labels."""
    found: tuple[str, Tensor] | None = None
    for name, part in model.module.named_modules():
        weight = _weight(part)
        if weight is not None and (model.labels is None or len(weight) == len(model.labels)):
            found = (name, weight)
    if found is None:
        rows = "" if model.labels is None else f" with {len(model.labels)} rows, one for each label"
        raise UnsupportedModelError(
            f"A tree is induced from the weights of the network's last linear layer; {model.name} has no linear layer"
            f"{rows}. {_WITHOUT}"
        )
    return found


def _weight(part: nn.Module) -> Tensor | None:
    if not is_linear(part):
        return None
    of_keras = keras_head(part)
    weight = of_keras[0] if of_keras is not None else part.weight
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        return None
    return weight.detach().flatten(1)


def as_rows(weight: object) -> NDArray[np.float64]:
    """Returns weight rows as (K, C) float64 numbers.

    Raises InputError for another shape, NotFiniteError, naming classes, where they are no numbers.
    """
    try:
        rows: NDArray[np.float64] = (
            weight.detach().to("cpu", torch.float64).numpy()
            if isinstance(weight, Tensor)
            else np.asarray(weight, dtype=np.float64)
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"W must be numbers (classes, features); given {type(weight).__name__} ({error}).") from None
    if rows.ndim != 2 or rows.shape[1] < 1:
        raise InputError(f"W must be (classes, features), one row a class; given shape {rows.shape}.")
    bad = np.flatnonzero(~np.isfinite(rows).all(1))
    if len(bad):
        named = ", ".join(map(str, bad[:5])) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
        raise NotFiniteError(
            f"The weights that a tree is induced from must be finite; the rows of the classes {named} hold NaN or "
            "infinity. The network is broken or was not loaded whole; check its checkpoint."
        )
    return rows
