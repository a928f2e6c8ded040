"""A network with flat inputs and its scores as the only output: the form in which networks are converted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ...core import tree
from ..model import call
from ..outputs import Selector, understand


class FlatNetwork(nn.Module):
    """Takes the tensors of an input one by one and returns the scores (n, ...).

    inputs: an example, whose structure and constants every call shares. output: which part of the network's answer
    holds the scores. `plain` is True after a call if the answer was the tensor of scores and nothing beside it.
    """

    def __init__(self, network: nn.Module, inputs: tree.Inputs, output: Selector) -> None:
        super().__init__()
        self.network = network
        self.paths = tuple(tree.leaves(inputs))
        self.skeleton = skeleton(inputs)
        self.output = output
        self.plain = False

    def forward(self, *tensors: Tensor) -> Tensor:
        """Returns the scores."""
        given = dict(zip(self.paths, tensors, strict=True))
        raw = call(self.network, _filled(self.skeleton, given))
        count = next((len(tensor) for tensor in tensors if tensor.dim()), 0)
        found = understand(raw, self.output, count)
        self.plain = found.raw is found.scores
        return found.tensor()


@dataclass(frozen=True, slots=True)
class _Place:
    """Stands for a tensor in the structure of an input."""

    path: str


def skeleton(inputs: tree.Inputs) -> Any:
    """Returns the structure of an input: its constants, and places where its tensors were. Compares by value."""
    return tree.map_leaves(lambda path, _: _Place(path), inputs)


def _filled(node: Any, given: dict[str, Tensor]) -> Any:
    if isinstance(node, _Place):
        return given[node.path]
    if isinstance(node, dict):
        return {name: _filled(value, given) for name, value in node.items()}
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return type(node)(*(_filled(value, given) for value in node))
    if isinstance(node, (tuple, list)):
        return type(node)(_filled(value, given) for value in node)
    return node
