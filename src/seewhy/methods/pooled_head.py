"""Global pooling and one linear layer: finding out by arithmetic whether a network ends in them, and how it pools."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import TargetError
from ..core.rows import Head
from ..core.targets import Class, Contrast, Difference, Target

POOLINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "average": lambda values: values.flatten(2).mean(-1),
    "maximum": lambda values: values.flatten(2).amax(-1),
    "sum": lambda values: values.flatten(2).sum(-1),
}
"""How places are pooled. A sum is what the score of a class is in maps of scores, as segmentation gives them."""
_TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}
"""Rounding of a sum of products, as a share of the sum of their magnitudes; 5e-3 in half precision."""


def check_target(target: Target) -> None:
    """Raises TargetError unless the target is made of the scores of classes."""
    if not isinstance(target, (Class, Difference, Contrast)) or target.of not in ("score", "logit"):
        raise TargetError(
            "CAM lays the weights of classes over a layer, so it explains a class or a difference of classes, by their "
            f"scores; given {target!r}. Use 'grad-cam' for any other target."
        )


def _shares(target: Target) -> dict[int, float]:
    """Returns by how much each class enters the target."""
    match target:
        case Class(index=index, sign=sign):
            return {index: float(sign)}
        case Difference(index=index, other=other):
            return {index: 1.0, other: -1.0} if index != other else {index: 0.0}
        case Contrast(index=index, others=others, strength=strength):
            return {index: 1.0} | {other: -strength / len(others) for other in others}
    raise TargetError(f"CAM explains classes; given {target!r}.")


def class_weights(head: Head, target: Target) -> tuple[Tensor, Tensor]:
    """Returns the head's weights (C,) and bias () for the target."""
    shares = _shares(target)
    rows = torch.tensor(list(shares), device=head.weight.device)
    amounts = torch.tensor(list(shares.values()), device=head.weight.device, dtype=head.weight.dtype)
    return amounts @ head.weight[rows], amounts @ head.bias[rows]


def fitting(heads: Sequence[Head], channels: int) -> list[Head]:
    """Returns the heads that take so many channels."""
    return [head for head in heads if head.weight.shape[1] == channels]


def no_head(values: Tensor) -> Head:
    """Returns the head of a layer (n, C, *places) whose channels are the classes themselves: it changes nothing."""
    channels = values.shape[1]
    return Head("", torch.eye(channels, dtype=values.dtype, device=values.device), values.new_zeros(channels))


@dataclass(frozen=True, slots=True)
class Answer:
    """What the network answered: the target and its scores (n,)."""

    target: Target
    score: Tensor

    def combined(self, values: Tensor) -> Tensor:
        """Returns the target's number from numbers per class (n, K)."""
        total = values.new_zeros(len(values))
        for index, amount in _shares(self.target).items():
            total = total + amount * values[:, index]
        return total


def additivity_gap(values: Tensor, weights: Tensor, bias: Tensor, score: Tensor) -> float | None:
    """Returns how far what the map adds up to is from the score (n,), as a share of the score.

    values: the layer's (n, C, *places). None where the score may be a probability, which the map says nothing of.
    """
    given = float(score[0])
    if 0 <= given <= 1:
        return None
    said = float(POOLINGS["average"](values[:1].to(weights.dtype))[0] @ weights + bias)
    return abs(said - given) / abs(given)


def pooled_by(head: Head, values: Tensor, answer: Answer) -> str | None:
    """Returns how the layer's values (n, C, *places) are pooled before the head, or None if the head does not follow.

    The proof is the sum itself: weights times pooled values plus bias must be the score, or turn into it by softmax
    or sigmoid, to rounding.
    """
    if max(_shares(answer.target)) >= len(head.weight):
        return None
    score = answer.score.to(head.weight.dtype)
    tolerance = _TOLERANCE.get(head.weight.dtype, 5e-3)
    for name, pool in POOLINGS.items():
        pooled = pool(values.to(head.weight.dtype))
        bias = head.bias * (values[0, 0].numel() if name == "sum" else 1)
        logits = pooled @ head.weight.T + bias
        size = (pooled.abs() @ head.weight.abs().T + bias.abs())[:, list(_shares(answer.target))].sum(1)
        said = answer.combined(logits)
        if bool(((said - score).abs() <= tolerance * size).all()):
            return name
        for squash in (torch.sigmoid, lambda z: torch.softmax(z, 1)):
            made = squash(logits)
            said, most = answer.combined(made), made[:, list(_shares(answer.target))].amax(1)
            if bool(((said - score).abs() <= tolerance * most * size.clamp(min=1)).all()):
                return name
    return None
