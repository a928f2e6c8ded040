"""Whether a row's answer depends on the rows beside it: batching is right only if it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ..core import tree
from ..core.query import Record
from .passes import PassRequest, PassResult

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 1e-1}


def depends_on_company(
    request: PassRequest, company: PassResult, run: Callable[[PassRequest], PassResult]
) -> bool | None:
    """Returns True if the last row answers differently alone, None if that cannot be told; asked once a model.

    Batch-norm without running statistics, experts of limited capacity, control flow on batch means, and networks
    that draw random numbers all answer True. The last row, because the first draws the same numbers alone.
    """
    if company.answer is None and not company.scored:
        return None
    last = slice(request.count - 1, request.count)
    alone = run(
        replace(
            request,
            inputs=tree.take(request.inputs, last),
            count=1,
            targets=tuple(targets[last] for targets in request.targets),
            record=Record(),
            view=None,
        )
    )
    differences = [_differs(mine, other[last]) for mine, other in _answers(alone, company)]
    return any(differences) if differences else None


def _answers(alone: PassResult, company: PassResult) -> Iterator[tuple[Tensor, Tensor]]:
    if alone.answer is not None and company.answer is not None:
        yield alone.answer, company.answer
    for mine, other in zip(alone.scored, company.scored, strict=True):
        yield mine.score, other.score


def _differs(alone: Tensor, company: Tensor) -> bool:
    if alone.shape != company.shape:
        return True
    one, other = alone.double(), company.double()
    scale = max(float(other.abs().max()) if other.numel() else 0.0, 1e-12)
    return bool((one - other).abs().max() > TOLERANCE.get(alone.dtype, 1e-3) * scale)
