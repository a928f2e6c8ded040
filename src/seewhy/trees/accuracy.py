"""How often a network, its soft tree and its hard tree are right, from one pass over labelled rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..core.decisions import Rule
from ..core.errors import InputError
from ..core.hierarchy import Tree
from ..core.tree import map_leaves
from .batches import in_order
from .rules import Rules


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Shares of the rows that each way of deciding gets right, 0 to 1, and how many rows there were."""

    network: float
    soft: float
    hard: float
    rows: int

    def __str__(self) -> str:
        return f"network {self.network:.2%}, soft tree {self.soft:.2%}, hard tree {self.hard:.2%} of {self.rows} rows"


def accuracy(network: nn.Module, tree: Tree, data: Any, rule: Rule = "embedded", batch_size: int = 256) -> Accuracy:
    """Returns how often the network, its soft tree and its hard tree name the target, in evaluation mode.

    network: answers with (N, K) logits; found as it was left. data: a Dataset of (inputs, target), or a DataLoader.
    rule: how the trees decide, "embedded" or "marginal".

    Raises InputError for data that cannot be used, or an output that does not fit the tree.
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    rules = Rules(tree).to(device)
    modes = [(module, module.training) for module in network.modules()]
    right, rows = torch.zeros(3, dtype=torch.long), 0
    network.eval()
    try:
        with torch.no_grad():
            for inputs, targets in in_order(data, batch_size):
                scores = network(map_leaves(lambda _, leaf: leaf.to(device), inputs))
                turns = rules.turns(scores, rule)
                answers = torch.stack([scores.argmax(1), rules.leaves(turns).argmax(1), rules.greedy(turns)])
                targets = torch.as_tensor(targets, device=device)
                if targets.shape != answers[0].shape:
                    raise InputError(
                        f"Targets must be one class index a row, ({len(scores)},); given {tuple(targets.shape)}."
                    )
                right += (answers == targets).sum(1).cpu()
                rows += len(scores)
    finally:
        for module, mode in modes:
            module.training = mode
    network_right, soft, hard = (right / max(1, rows)).tolist()
    return Accuracy(network_right, soft, hard, rows)
