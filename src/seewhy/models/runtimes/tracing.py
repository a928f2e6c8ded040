"""The fixed list of operations that a converter reads: torch's trace of a flat network."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from .flat import FlatNetwork


def traced(network: FlatNetwork, inputs: tuple[Tensor, ...]) -> Any:
    """Returns the trace, or what `torch.export` makes where this torch no longer traces.

    A trace costs a pass, an export some ten. What a trace gets wrong, decisions by value, `graph_of` has seen before.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that shapes become constants is meant
        if hasattr(torch.jit, "trace"):
            return torch.jit.trace(network, inputs, check_trace=False)  # type: ignore[no-untyped-call]
        return torch.export.export(network, inputs)
