"""What the output is, is settled once for a model and not anew for every batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import seewhy
from seewhy.engine import Options
from seewhy.targets import Class


class SmallLogits(nn.Module):
    """Logits that lie between 0 and 1 for bright rows, and on both sides of 0 for dark ones."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 4, bias=False)
        with torch.no_grad():
            self.linear.weight.mul_(0.2)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (N, 4)."""
        flat = x.flatten(1)
        return self.linear(flat) + 0.4 * (flat.mean(1, keepdim=True) > 0.5)


@pytest.mark.parametrize("size", [1, 2, 8])
def test_a_row_has_the_same_probability_in_every_batch(size: int) -> None:
    network = SmallLogits().eval()
    rows = torch.cat([torch.rand(4, 3, 2, 2) * 0.4, 0.6 + torch.rand(4, 3, 2, 2) * 0.4])
    logits = network(rows).detach()
    assert (logits[:4] < 0).any()
    assert ((logits[4:] >= 0) & (logits[4:] <= 1)).all()
    found = seewhy.attribute(
        network, rows, "occlusion", Class(1, of="probability"), options=Options(batch_size=size, backend="torch")
    )
    torch.testing.assert_close(found.scores.float(), logits.softmax(1)[:, 1])
