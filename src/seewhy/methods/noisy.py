"""Noisy copies of an example: one constructor, so that all methods which use the same noise share their passes."""

from __future__ import annotations

from torch import Tensor

from ..core.rows import Case, Rows
from ..ops.noise import gaussian_rows

PURPOSE = "gaussian-noise"


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
