"""What loading a model yields before it is wrapped: one record, shared by every source of models."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from .kinds import OutputKind
from .preprocess import Preprocessing
from .transforms import CallablePreprocessing


@dataclass(frozen=True, slots=True)
class Parts:
    """A network and what is known about it: `module` in eval mode on the CPU, `name` the specification.

    `preprocessing` and `labels` are None where the source says nothing about them; `notes` are sentences
    about where the weights came from and what was assumed, to be kept with every result. `kind` is that of the
    output, where the source tells.
    """

    module: nn.Module
    preprocessing: Preprocessing | CallablePreprocessing | None
    labels: tuple[str, ...] | None
    name: str
    notes: tuple[str, ...] = ()
    kind: OutputKind | None = None


@contextlib.contextmanager
def seeded() -> Iterator[None]:
    """Yields with torch's CPU generator at seed 0, and puts the caller's random state back.

    Random weights are then the same on every load of the same specification. Only the CPU generator is
    touched, so that devices' generators need no saving.
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(0)
    try:
        yield
    finally:
        torch.set_rng_state(state)
