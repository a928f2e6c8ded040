"""Whether a row's answer depends on the rows beside it: batching is right only if it does not."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from ..core import tree
from ..core.query import Record
from ..models.model import Model
from .passes import PassRequest, run_pass

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 1e-1}


def depends_on_company(model: Model, network: nn.Module, request: PassRequest, answer: Tensor) -> bool:
    """Returns True if the first row answers differently alone; asked once for each model.

    Batch-norm without running statistics, experts of limited capacity, control flow on batch means, and
    networks that draw random numbers all answer True.
    """
    alone = replace(request, inputs=tree.take(request.inputs, slice(0, 1)), count=1, targets=(), record=Record())
    result = run_pass(model, network, alone)
    if result.answer is None:
        return False
    first, company = result.answer[:1].double(), answer[:1].double()
    if first.shape != company.shape:
        return True
    scale = max(float(company.abs().max()) if company.numel() else 0.0, 1e-12)
    return bool((first - company).abs().max() > TOLERANCE.get(answer.dtype, 1e-3) * scale)
