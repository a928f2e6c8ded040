"""Global pooling and one linear layer: proving by arithmetic that a layer is followed by them, and how it is pooled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import TargetError
from ..core.query import Head
from ..core.targets import Class, Contrast, Difference, Target

Pool = Callable[[Tensor], Tensor]
POOLINGS: Mapping[str, Pool] = {
    "average": lambda values: values.flatten(2).mean(-1),
    "maximum": lambda values: values.flatten(2).amax(-1),
    "sum": lambda values: values.flatten(2).sum(-1),
}
"""How places are pooled. A sum is what the score of a class is in maps of scores, as segmentation gives them."""
UNKNOWN = "unknown"
_TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5}
"""Rounding of a sum of products, as a share of the sum of their magnitudes; 5e-3 in half precision."""
CHECKED = 100
"""Classes at most whose sums are done to prove what the head gets."""
_SAME_SCORE = 1e-3
"""How far the score may be from what the head says, through softmax or sigmoid, as a share of it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The class's weights (C,) and bias () for a layer, how the layer is pooled, and how far the sum is off.

    plain: the head's answer is the score as it is. gap: |mean of the map + bias - what the head said| / |what it said|,
    or the score where that is something else; 0 where the pooling is proven.
    """

    weights: Tensor
    head: str
    pooling: str
    gap: float
    plain: bool = True


def class_shares(target: Target) -> dict[int, float]:
    """Returns by how much each class enters the target; raises TargetError unless it is made of classes."""
    if isinstance(target, (Class, Difference, Contrast)) and target.of in ("score", "logit"):
        match target:
            case Class(index=index, sign=sign):
                return {index: float(sign)}
            case Difference(index=index, other=other):
                return {index: 1.0, other: -1.0} if index != other else {index: 0.0}
            case Contrast(index=index, others=others, strength=strength):
                return {index: 1.0} | {other: -strength / len(others) for other in others}
    raise TargetError(
        "CAM lays the weights of classes over a layer, so it explains a class or a difference of classes, by their "
        f"scores; given {target!r}. Use 'grad-cam' for any other target."
    )


def read_head(values: Tensor, head: Head | None, shares: Mapping[int, float], score: Tensor) -> Reading | None:
    """Returns the weights for a layer (n, C, *places) that pooling and the head follow; None where none fits.

    `pooling` is "unknown" where the head takes as many channels, but does not get this layer pooled, or its answer is
    not the score: then the network does something in between, or behind.
    """
    if head is not None and head.weight.shape[1] == values.shape[1] and max(shares) < len(head.weight):
        speaks = _speaks(head, shares, score)
        pooling = _pooled_by(values, head, shares, score) if speaks else UNKNOWN
        gap = 0.0 if pooling != UNKNOWN else _gap(values, head, shares, None if speaks else score)
        plain = head.output.dim() == 2 and _answers(head.output, shares, score, (_as_it_is,))
        return Reading(_combined(head.weight, shares), head.name, pooling, gap, plain)
    channels = torch.eye(values.shape[1], dtype=values.dtype, device=values.device)
    if max(shares) < len(channels):
        for name, pool in POOLINGS.items():
            pooled = pool(_wide(values))
            if _equal(_combined(pooled.T, shares), score, _combined(pooled.abs().T, _magnitudes(shares))):
                return Reading(_combined(channels, shares), "", name, 0.0)
    return None


def _speaks(head: Head, shares: Mapping[int, float], score: Tensor) -> bool:
    """True if the head's output is the score, plainly, or through softmax, log-softmax or sigmoid."""
    return any(_answers(pool(head.output), shares, score) for pool in _poolings(head).values())


def _poolings(head: Head) -> Mapping[str, Pool]:
    """Returns how the head's own places may be pooled: a head behind the pooling has none."""
    return POOLINGS if head.output.dim() > 2 else {"none": lambda output: output}


def _as_it_is(logits: Tensor) -> Tensor:
    return logits


SQUASHES: tuple[Pool, ...] = (_as_it_is, torch.sigmoid, lambda z: z.softmax(1), lambda z: z.log_softmax(1))
"""What a network may do with logits before it answers."""


def _answers(logits: Tensor, shares: Mapping[int, float], score: Tensor, squashes: tuple[Pool, ...] = SQUASHES) -> bool:
    wide = _wide(logits)
    for squash in squashes:
        said = squash(wide)
        size = _combined(said.abs().T, _magnitudes(shares))
        if bool(((_combined(said.T, shares) - _wide(score)).abs() <= _SAME_SCORE * size).all()):
            return True
    return False


def _pooled_by(values: Tensor, head: Head, shares: Mapping[int, float], score: Tensor) -> str:
    """Returns the pooling for which weights times pooled values plus bias are what the head said, to rounding."""
    if head.output.dim() == 2:
        return next((name for name, pool in POOLINGS.items() if _says(pool(_wide(values)), head)), UNKNOWN)
    if head.output.shape[2:] != values.shape[2:]:
        return UNKNOWN
    places = _wide(values).flatten(2).movedim(1, -1).flatten(0, 1)  # pooled last: the head speaks at every place
    if not _says(places, head):
        return UNKNOWN
    return next(name for name, pool in POOLINGS.items() if _answers(pool(_wide(head.output)), shares, score))


def _says(rows: Tensor, head: Head) -> bool:
    """True if weights times rows (m, C) plus bias are the head's output, place by place where it has places.

    Of many classes every so many are looked at: a layer that gives these right is the layer.
    """
    output = head.output if head.output.dim() == 2 else head.output.flatten(2).movedim(1, -1).flatten(0, 1)
    some = slice(None, None, -(-len(head.weight) // CHECKED))
    weight, bias, output = _wide(head.weight[some]), _wide(head.bias[some]), output[:, some]
    return _equal(rows @ weight.T + bias, output, rows.abs() @ weight.abs().T + bias.abs())


def _gap(values: Tensor, head: Head, shares: Mapping[int, float], score: Tensor | None) -> float:
    """Returns how far the map's mean plus bias are from the score, or from what the head said, as a share of it."""
    mean = POOLINGS["average"](_wide(values))[0]
    output = _wide(head.output[0]).flatten(1).mean(1) if head.output.dim() > 2 else _wide(head.output[0])
    wanted = float(_combined(output, shares)) if score is None else float(score[0])
    weights, bias = _combined(_wide(head.weight), shares), _combined(_wide(head.bias), shares)
    said = float((weights * mean).sum() + bias)
    return abs(said - wanted) / abs(wanted) if wanted else float("inf")


def _combined(per_class: Tensor, shares: Mapping[int, float]) -> Tensor:
    """Returns the target's part of something with a row for each class, (K, ...) to (...)."""
    total = torch.zeros_like(per_class[0])
    for index, amount in shares.items():
        total = total + amount * per_class[index]
    return total


def _magnitudes(shares: Mapping[int, float]) -> dict[int, float]:
    return {index: abs(amount) for index, amount in shares.items()}


def _wide(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _equal(said: Tensor, given: Tensor, size: Tensor) -> bool:
    tolerance = _TOLERANCE.get(given.dtype, 5e-3)
    return bool(((said - _wide(given)).abs() <= tolerance * size).all())
