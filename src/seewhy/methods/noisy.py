"""Noisy copies of an example: one constructor and one way to draw, so that methods on equal noise share passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor

from ..core.attribution import Values
from ..core.queries import running
from ..core.query import Chunk, Flow, Query, Record, ask
from ..core.rows import Case, Rows
from ..core.targets import Target
from ..ops.noise import gaussian_rows
from ..ops.statistics import relative_error
from .common import check_count, check_limit, check_positive, standard_errors

PURPOSE = "gaussian-noise"


class Running(Protocol):
    """A statistic of rows that come block by block."""

    def update(self: R, batch: Tensor) -> R:
        """Returns the statistic with the rows of a batch added."""

    def merge(self: R, other: R) -> R:
        """Returns the statistic of both sets of rows."""


R = TypeVar("R", bound=Running)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How many noisy copies, and how noisy: the settings that methods on noise have in common."""

    samples: int
    noise: float
    tolerance: float | None
    max_samples: int

    def check(self) -> None:
        """Raises SettingError unless the settings make sense."""
        check_count("samples", self.samples, 2)
        check_positive("noise", self.noise, zero=True)
        check_count("max_samples", self.max_samples, 2)
        check_limit(self.tolerance, "samples", self.samples, self.max_samples)


@dataclass(frozen=True, slots=True)
class Tally(Generic[R]):
    """What is made of the gradients of noisy rows: f of each, a statistic of these, its values and their error."""

    power: Callable[[Tensor], Tensor]
    empty: Callable[[], R]
    result: Callable[[R], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Sampled:
    """What sampling found: values and their standard errors (1, ...) for each leaf, and how far it came."""

    values: tuple[Tensor, ...]
    error: Values
    diagnostics: Mapping[str, Any]


def sample(case: Case, target: Target, sampling: Sampling, tally: Tally[R]) -> Flow[Sampled]:
    """Returns the statistic of each leaf's gradients at noisy rows, drawn in blocks until they are enough.

    Blocks of `samples` until the relative error is at most `tolerance` or `max_samples` are drawn; one block where
    there is no tolerance.
    """
    kept = tuple(tally.empty() for _ in case.leaves)
    drawn, reached = 0, math.inf
    goal, last = sampling.tolerance, sampling.samples if sampling.tolerance is None else sampling.max_samples
    while drawn < last and (goal is None or reached > goal):
        stop = min(drawn + sampling.samples, last)
        new = yield from ask(_statistic(noisy_rows(case, sampling.noise, drawn, stop), target, tally))
        kept = tuple(old.merge(part) for old, part in zip(kept, new, strict=True))
        drawn = stop
        reached = relative_error(tally.result(part) for part in kept)
    diagnostics: dict[str, Any] = {"samples": drawn, "relative_error": reached}
    if goal is not None:
        diagnostics["converged"] = reached <= goal
    values, errors = zip(*map(tally.result, kept), strict=True)
    return Sampled(tuple(part[None] for part in values), standard_errors(case, errors), diagnostics)


def _statistic(rows: Rows, target: Target, tally: Tally[R]) -> Query[tuple[R, ...]]:
    def step(state: tuple[R, ...], _: slice, chunk: Chunk) -> tuple[R, ...]:
        parts = zip(state, chunk.input_gradient, strict=True)
        return tuple(kept.update(tally.power(leaf)) for kept, leaf in parts)

    fold = running(lambda: tuple(tally.empty() for _ in rows.leaves), step)
    return Query(rows, target, fold, Record(input_gradient=True))


def noisy_rows(case: Case, noise: float, start: int, stop: int) -> Rows:
    """Returns rows x + noise * (max(x) - min(x)) * normal, numbered from `start` to `stop`.

    Each row draws from its own generator, made of (seed, case, row), so that rows do not depend on how they are
    batched; each attributed leaf has its own range and its own draws.
    """
    scales = [noise * float(leaf.max() - leaf.min()) if leaf.numel() else 0.0 for leaf in case.x]

    def one(path: str, leaf: Tensor, scale: float, rows: range) -> Tensor:
        drawn = gaussian_rows(leaf.shape[1:], rows, seed=case.seed, case_id=case.id, purpose=f"{PURPOSE}{path}")
        return leaf + scale * drawn.to(leaf.device, leaf.dtype)

    def build(part: slice) -> tuple[Tensor, ...]:
        rows = range(start, stop)[part]
        return tuple(
            one(path, leaf, scale, rows) for path, leaf, scale in zip(case.leaves, case.x, scales, strict=True)
        )

    return case.vary(stop - start, build, (PURPOSE, noise, case.seed, start, stop))
