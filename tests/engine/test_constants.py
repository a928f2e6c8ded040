"""Values that are no tensors belong to their rows: rows that differ in them do not share a batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import seewhy
from seewhy.core.queries import scores
from seewhy.core.query import ask
from seewhy.core.targets import Class
from seewhy.engine import Engine
from seewhy.study.cases import cases


class Flagged(nn.Module):
    """Doubles its scores where the flag is set."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x: Tensor, flag: bool) -> Tensor:
        """Returns (N, 2)."""
        found: Tensor = self.linear(x) * (2 if flag else 1)
        return found


def test_rows_with_other_constants_are_not_mixed() -> None:
    model = seewhy.wrap(Flagged().eval())
    x = torch.rand(1, 3)
    both = [cases(model, {"x": x, "flag": flag}, 0)[0] for flag in (False, True)]
    flows = [(place, ask(scores(case.rows(), Class(1)))) for place, case in enumerate(both)]
    found = [outcome.result() for outcome in Engine(model).run(flows).values()]
    torch.testing.assert_close(found[1], 2 * found[0])
