"""The model's answer to one case, as labels and probabilities."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..core.explanation import Answer, Prediction
from ..models.kinds import guess_kind, log_probabilities
from ..models.model import Model
from ..models.outputs import understand

SHOWN = 5


def label(model: Model, index: int) -> str:
    """Returns a class's label, or its number in words."""
    return model.labels[index] if model.labels is not None and index < len(model.labels) else f"class {index}"


def prediction(model: Model, raw: Any) -> Prediction | None:
    """Returns the best answers to one row; None where the output is not a score per class."""
    scores = understand(raw, None, 1).scores  # the engine has applied the selector already
    if scores is None or scores.dim() > 2 or not scores.is_floating_point():
        return None
    row = scores[:, None] if scores.dim() == 1 else scores
    values, scale = _scaled(model, scores, row)
    count = min(SHOWN, values.shape[1])
    best = values[0].topk(count)
    top = tuple(
        Answer(int(index), label(model, int(index)), float(value))
        for value, index in zip(best.values, best.indices, strict=True)
    )
    return Prediction(top, scale, values.shape[1])


def _scaled(model: Model, scores: Tensor, row: Tensor) -> tuple[Tensor, str]:
    kind = model.kind or guess_kind(scores)
    if kind is None or kind == "value":
        return row.float(), "score"
    return log_probabilities(row.float(), kind).exp(), "probability"
