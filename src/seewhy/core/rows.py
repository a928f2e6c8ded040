"""Rows: model inputs that are built only when the engine asks for a slice of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from torch import Tensor

from . import tree
from .tree import Inputs

ENTRY = "entry"
"""Path of the leaf that holds the values of rows which enter at a layer."""


@dataclass(frozen=True, slots=True)
class Rows:
    """`count` inputs and the function that builds a slice of them.

    `leaves` are the paths that gradients are taken of. Rows with equal `key` are equal rows: the engine runs
    them once. Keys are made by `Case` only, from the case and the transformation. Where `entry` names a
    layer, the built tree is `{"inputs": the model's inputs, "entry": that layer's output}`.
    """

    count: int
    build: Callable[[slice], Inputs]
    leaves: tuple[str, ...]
    owner: str
    seed: int = 0
    key: Hashable | None = None
    entry: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the model tells methods about its input: the values of black and white, per channel.

    readings: how many parts of the input the network reads apart from each other, each by all layers, such as two
    texts that are compared.
    """

    value_range: tuple[Tensor, Tensor] | None = None
    readings: int = 1


@dataclass(frozen=True, slots=True)
class Case:
    """One example: a one-row input, the leaves to attribute, and an id made from its content."""

    id: str
    inputs: Inputs
    leaves: tuple[str, ...]
    seed: int = 0
    facts: Facts = field(default_factory=Facts)

    @property
    def x(self) -> tuple[Tensor, ...]:
        """The attributed leaves, each with one row."""
        found = tree.leaves(self.inputs)
        return tuple(found[path] for path in self.leaves)

    def rows(self) -> Rows:
        """The example itself, as one row that every query of this case shares."""
        return Rows(1, lambda s: tree.take(self.inputs, s), self.leaves, self.id, self.seed, (self.id,))

    def vary(
        self,
        count: int,
        build: Callable[[slice], tuple[Tensor, ...]],
        transformation: Hashable | None = None,
    ) -> Rows:
        """Rows in which the attributed leaves are replaced by `build(slice)` and all else stays.

        `transformation` names what `build` does, completely: two calls with equal values must build equal
        rows, which then share their passes. None never shares.
        """

        def rows(s: slice) -> Inputs:
            new = dict(zip(self.leaves, build(s), strict=True))
            return tree.replace(tree.repeat(self.inputs, len(range(count)[s])), new)

        key = None if transformation is None else (self.id, transformation, count)
        return Rows(count, rows, self.leaves, self.id, self.seed, key)

    def enter(
        self,
        layer: str,
        count: int,
        build: Callable[[slice], Tensor],
        transformation: Hashable | None = None,
    ) -> Rows:
        """Rows that enter at a layer: `build(slice)` gives that layer's output."""

        def rows(s: slice) -> Inputs:
            return {"inputs": tree.repeat(self.inputs, len(range(count)[s])), ENTRY: build(s)}

        key = None if transformation is None else (self.id, layer, transformation, count)
        return Rows(count, rows, (ENTRY,), self.id, self.seed, key, layer)
