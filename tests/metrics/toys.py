"""Small networks, claims made by hand, and one way to measure them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import seewhy
from seewhy.core.attribution import Attribution
from seewhy.core.metric import Claim, Measurement, Metric
from seewhy.core.rows import Case
from seewhy.core.targets import Class, Target
from seewhy.engine import Options
from seewhy.engine.run import drive
from seewhy.models.model import Model
from seewhy.study.cases import cases


class Score(nn.Module):
    """A number for each row, beside a class that nobody asks for."""

    def __init__(self, score: Callable[..., Tensor]) -> None:
        super().__init__()
        self.score = score
        self.unused = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, *x: Tensor) -> Tensor:
        found = self.score(*x)
        return torch.stack([found, torch.zeros_like(found)], 1)


def values(score: Callable[..., Tensor], **about: Any) -> Model:
    """A model whose output is plain numbers: it has no probability."""
    return seewhy.wrap(Score(score).eval(), output_kind="value", **about)


PLAIN = Options(prepared="never", backend="torch")
"""Nothing is converted or folded: these networks are too small for it to pay."""


def wrapped(network: nn.Module, **about: Any) -> Model:
    """A classifier that returns logits: said, because small ones may look like anything."""
    return seewhy.wrap(network, output_kind="logits", **about)


def cnn(size: int = 12, channels: int = 3, classes: int = 4, seed: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return (
        nn.Sequential(
            nn.Conv2d(channels, 6, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(6 * ((size - 1) // 2) ** 2, classes),
        )
        .double()
        .eval()
    )


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def case_of(model: Model, x: Any, seed: int = 0) -> Case:
    (found,) = cases(model, x, seed)
    return found


def attribution(case: Case, maps: Tensor | Sequence[Tensor], target: Target | None = None, **more: Any) -> Attribution:
    """The claim that these values, with their row axis, explain the case."""
    given = (maps,) if isinstance(maps, Tensor) else tuple(maps)
    facts = {"method": "by hand", "reduce": "sum", "units": "score"} | more
    return Attribution(
        values=given if len(given) > 1 else given[0],
        targets=(target or Class(0),),
        scores=torch.zeros(1),
        input_shapes=tuple(tuple(leaf.shape[1:]) for leaf in case.x[: len(given)]),
        **facts,
    )


def measure(
    model: Model, metric: Metric, x: Any, maps: Tensor | Sequence[Tensor], options: Options | None = None, **more: Any
) -> Measurement:
    """Returns the measurement of maps made by hand. more: `seed`, `truth`, `method`, fields of the attribution."""
    claim_parts = {name: more.pop(name) for name in ("truth", "method") if name in more}
    case = case_of(model, x, more.pop("seed", 0))
    made = attribution(case, maps, **more)
    found = drive(model, metric.flow(case, made.targets[0], Claim(made, **claim_parts)), options or PLAIN)
    assert isinstance(found, Measurement)
    return found
