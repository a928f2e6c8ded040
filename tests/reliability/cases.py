"""What a case of the reliability list is: a set-up, its oracle, and what must be refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from seewhy.core.errors import LayerError

from .contract import CAMS, Refusal, check_map, kinds, method, refusal, refused, seewhy, unchanged
from .oracle import Oracle


def photo(channels: int = 3, rows: int = 1, size: tuple[int, ...] = (16, 16)) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.rand(rows, channels, *size, generator=generator)


def _as_is(layer: Tensor) -> Tensor:
    return layer


@dataclass
class Case:
    """One set-up of the page.

    refuses: methods, or kinds of them, that must raise a clear error; None that those must not, although others do.
    coarse: the tolerance of methods that only read scores, where these are rounded more than the layer is.
    head: the name of the network's last linear layer. index: the class that the oracle's score is of. pooling: what
    lies between the layer and the head; None where CAM must refuse.
    """

    network: nn.Module
    oracle: Oracle | None
    x: Tensor = field(default_factory=photo)
    target: Any = 2
    layer: Any = "act2"
    reshape: Any = None
    model: Any = None
    refuses: dict[str, Refusal | None] = field(default_factory=dict)
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    tolerance: float = 1e-4
    coarse: float = 0.0
    place: Callable[[Tensor], Tensor] = _as_is
    after: Callable[[], None] = lambda: None
    large: bool = False
    ids: Any = None
    head: str = "fc"
    index: int = 2
    pooling: str | None = "average"

    def refusal(self, name: str) -> Refusal | None:
        found = next((self.refuses[key] for key in kinds(name) if key in self.refuses), None)
        return POOLED if found is None and name == "cam" and self.pooling is None else found


CASES: dict[str, Callable[[], Case]] = {}
POOLED = refusal(LayerError, "CAM needs global average pooling", "grad-cam")


def case(identifier: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    def note(make: Callable[[], Case]) -> Callable[[], Case]:
        CASES[identifier] = make
        return make

    return note


def second_class(output: Tensor) -> Tensor:
    """The score that most cases explain."""
    return output[0, 2]


def explain(case: Case, name: str) -> None:
    """Checks one method on one case: its map or its refusal, and that nothing was left behind."""
    network = case.model if case.model is not None else case.network
    layered = name in CAMS
    chosen = method(name, case.layer if layered else None, case.reshape if layered else None)
    expected = case.refusal(name)
    with unchanged(case.network, case.x), case.around():
        if expected is not None:
            with refused(expected):
                seewhy.attribute(network, case.x, chosen, target=case.target)
            return
        result = seewhy.attribute(network, case.x, chosen, target=case.target)
    assert case.oracle is not None
    assert not result.values.requires_grad
    with torch.inference_mode(False):
        check_map(name, result, case.oracle, case.x, case)
