"""The questions that methods ask most often, each with the fold that answers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from . import tree
from .query import DEFAULT_LAYER, Chunk, Flow, Fold, Head, Query, Record, ask
from .rows import Case, Rows
from .targets import OPEN, Target

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Gradient:
    """Gradient of the score at each row, one tensor per attributed leaf, the scores and their targets."""

    values: tuple[Tensor, ...]
    score: Tensor
    resolved: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class LayerView:
    """A layer's activation (n, ...) and, where it was asked for, the gradient of the score (n,) with respect to it."""

    activation: Tensor
    gradient: Tensor | None
    score: Tensor
    layer: str
    target: Target
    head: Head | None = None


@dataclass(frozen=True, slots=True)
class GradientSum:
    """Weighted sums of the rows' gradients (float64), one per attributed leaf, and every row's score."""

    values: tuple[Tensor, ...]
    score: Tensor


def stack(pick: Callable[[Chunk], T], join: Callable[[list[T]], T]) -> Fold[list[T], T]:
    """Keeps `pick(chunk)` of all chunks and joins them; for replies that are as long as the rows."""

    def add(state: list[T], _: slice, chunk: Chunk) -> list[T]:
        state.append(pick(chunk))
        return state

    return Fold(list, add, join)


def running(start: Callable[[], T], step: Callable[[T, slice, Chunk], T]) -> Fold[T, T]:
    """Keeps one value that every chunk updates; memory does not grow with the rows."""
    return Fold(start, step, lambda state: state)


def scores(rows: Rows, target: Target) -> Query[Tensor]:
    """Asks for the score of every row: (count,) float64 on the CPU."""

    def pick(chunk: Chunk) -> Tensor:
        assert chunk.score is not None
        return chunk.score.detach().to("cpu", torch.float64)

    return Query(rows, target, stack(pick, lambda parts: torch.cat(parts) if parts else torch.zeros(0, device="cpu")))


def outputs(rows: Rows) -> Query[Any]:
    """Asks for the model's own output of every row, as it is."""
    return Query(
        rows, None, stack(lambda chunk: chunk.output, lambda parts: tree.concatenate(parts)), Record(output=True)
    )


def gradient(rows: Rows, target: Target, view: str | None = None) -> Query[Gradient]:
    """Asks for the gradient at every row, all kept: for a handful of rows."""

    def join(parts: list[Gradient]) -> Gradient:
        if len(parts) == 1:
            return parts[0]
        leaves = zip(*(part.values for part in parts), strict=True)
        return Gradient(
            tuple(torch.cat(leaf) for leaf in leaves),
            torch.cat([part.score for part in parts]),
            tuple(target for part in parts for target in part.resolved),
        )

    def pick(chunk: Chunk) -> Gradient:
        assert chunk.score is not None
        return Gradient(chunk.input_gradient, chunk.score, chunk.resolved)

    return Query(rows, target, stack(pick, join), Record(input_gradient=True), view)


def gradient_sum(rows: Rows, target: Target, weights: Tensor) -> Query[GradientSum]:
    """Asks for the sum of weight times gradient, folded chunk by chunk: memory does not grow with the rows.

    weights: (count,) or (groups, count); with groups the sums are (groups, ...).
    """

    def add(state: list[Any], rows_: slice, chunk: Chunk) -> list[Any]:
        assert chunk.score is not None
        part = weights[..., rows_]
        sums = [_weighted(part, leaf) for leaf in chunk.input_gradient]
        state[0] = sums if state[0] is None else [a + b for a, b in zip(state[0], sums, strict=True)]
        state[1].append(chunk.score.detach().to("cpu", torch.float64))
        return state

    def finish(state: list[Any]) -> GradientSum:
        return GradientSum(tuple(state[0] or ()), torch.cat(state[1]))

    fold: Fold[list[Any], GradientSum] = Fold(lambda: [None, []], add, finish)
    return Query(rows, target, fold, Record(input_gradient=True))


def _weighted(weights: Tensor, leaf: Tensor) -> Tensor:
    """Reduces on the leaf's own device and returns float64 on the CPU."""
    wide = leaf.dtype if leaf.dtype == torch.float64 else torch.float32
    total: Tensor = torch.tensordot(weights.to(leaf.device, wide), leaf.to(wide), dims=1)
    return total.to("cpu", torch.float64)


def layer_view(  # noqa: PLR0913 - each says what to bring back
    case: Case,
    target: Target,
    layer: str | None = None,
    *,
    rows: Rows | None = None,
    gradient: bool = True,
    head: bool = False,
) -> Query[LayerView]:
    """Asks for a layer's activation, and its gradient unless `gradient` is False; all kept, for a handful of rows.

    layer: None is the model's default layer. rows: None is the example itself. head: the last linear layer, too.
    """
    name = layer or DEFAULT_LAYER

    def finish(state: list[Chunk]) -> LayerView:
        return LayerView(
            torch.cat([chunk.activations[name] for chunk in state]),
            torch.cat([chunk.gradients[name] for chunk in state]) if gradient else None,
            torch.cat([chunk.score for chunk in state if chunk.score is not None]),
            state[0].names[name],
            state[0].resolved[0],
            _joined([chunk.head for chunk in state]),
        )

    fold: Fold[list[Chunk], LayerView] = Fold(list, lambda state, _, chunk: [*state, chunk], finish)
    record = Record(activations=(name,), gradients=(name,) if gradient else (), head=head)
    return Query(case.rows() if rows is None else rows, target, fold, record)


def _joined(heads: list[Head | None]) -> Head | None:
    found = [head for head in heads if head is not None]
    if len(found) < len(heads):
        return None
    return replace(found[0], output=torch.cat([head.output for head in found]))


def anchor(case: Case, target: Target) -> Flow[tuple[Target, Tensor]]:
    """Returns what the target stands for at the example itself, a class for a `Top`, and the score (1,).

    Methods whose rows differ from the example ask this first: noise must not change what is explained.
    """

    def pick(_: Any, __: slice, chunk: Chunk) -> tuple[Target, Tensor]:
        assert chunk.score is not None
        return chunk.resolved[0], chunk.score.detach()

    fold: Fold[Any, tuple[Target, Tensor]] = Fold(lambda: None, pick, lambda state: state)
    return (yield from ask(Query(case.rows(), target, fold)))


def resolve(case: Case, target: Target) -> Flow[Target]:
    """Returns what the target stands for at the example; as `anchor`, for methods that need no score of it."""
    return (yield from anchor(case, target))[0] if isinstance(target, OPEN) else target
