"""The model's answer to one case, as labels and probabilities."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..core.errors import TargetError
from ..core.explanation import Answer, Explanation, Prediction
from ..core.targets import Class, Contrast, Difference, Target
from ..engine.scoring import settled_kind
from ..models.kinds import log_probabilities
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


def labels_note(model: Model, answer: Prediction | None) -> tuple[str, ...]:
    """Returns what is to be said where there are not as many labels as outputs: then names may belong to others."""
    if answer is None or model.labels is None or len(model.labels) == answer.classes:
        return ()
    count = len(model.labels)
    return (
        f"{count} label{'' if count == 1 else 's'} for {answer.classes} output{'' if answer.classes == 1 else 's'}: "
        "names are given in order from output 0 on, and may be wrong. Give one label for each output: labels= of "
        "seewhy.wrap and seewhy.load.",
    )


def impossible(found: Explanation) -> TargetError | None:
    """Returns the first error of an explanation whose targets are all classes that the model does not have."""
    classes = None if found.prediction is None else found.prediction.classes
    wanted = [max(_classes_of(target), default=-1) for target in found.targets.values()]
    if classes is None or found.attributions or not wanted or min(wanted) < classes:
        return None
    return next((error for error in found.errors.values() if isinstance(error, TargetError)), None)


def _classes_of(target: Target) -> tuple[int, ...]:
    """Returns the classes that a target names; none where it is something else."""
    match target:
        case Class(index=index):
            return (index,)
        case Difference(index=index, other=other):
            return index, other
        case Contrast(index=index, others=others):
            return index, *others
        case _:
            return ()


def _scaled(model: Model, scores: Tensor, row: Tensor) -> tuple[Tensor, str]:
    kind = settled_kind(model, scores)
    if kind is None or kind == "value":
        return row.float(), "score"
    return log_probabilities(row.float(), kind).exp(), "probability"
