"""The protocol: a flow yields queries and is sent replies; `ask` makes the reply's type follow the query's."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar, cast

from torch import Tensor

from .rows import Rows
from .targets import Target

S = TypeVar("S")
R = TypeVar("R")
T = TypeVar("T")
K = TypeVar("K")

DEFAULT_LAYER = "<default>"
"""Stands for the layer that a class activation map uses when none is named; found inside the pass."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a pass has to bring back beside the score. head: the linear layer that spoke last.

    attention: the attention weights of all layers, which need no names. attention_gradients: those and the gradients of
    the score with respect to them.
    """

    output: bool = False
    input_gradient: bool = False
    activations: tuple[str, ...] = ()
    gradients: tuple[str, ...] = ()
    head: bool = False
    attention: bool = False
    attention_gradients: bool = False

    def __or__(self, other: Record) -> Record:
        return Record(
            self.output or other.output,
            self.input_gradient or other.input_gradient,
            tuple(sorted({*self.activations, *other.activations})),
            tuple(sorted({*self.gradients, *other.gradients})),
            self.head or other.head,
            self.attention or other.attention,
            self.attention_gradients or other.attention_gradients,
        )

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers captured, with or without gradient."""
        return tuple(sorted({*self.activations, *self.gradients}))

    @property
    def attends(self) -> bool:
        """True if attention weights are kept."""
        return self.attention or self.attention_gradients

    @property
    def needs_gradient(self) -> bool:
        """True if a backward pass is needed."""
        return self.input_gradient or self.attention_gradients or bool(self.gradients)


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """The linear layer, or convolution of one place, that a pass called last.

    weight (K, C) and bias (K,) as they were in the pass; output (n, K) or (n, K, *places), what it gave.
    """

    name: str
    weight: Tensor
    bias: Tensor
    output: Tensor


@dataclass(frozen=True, slots=True)
class Chunk:
    """What some rows of a query gave back: values only, no graph.

    `score` (n,); `input_gradient` one (n, ...) tensor per attributed leaf; `activations` and `gradients` by
    the layer's name as it was asked for; `resolved` the target of each row once its output was known;
    `names` the real name of each layer asked for; `head` None where the network has none that can be read;
    `attention` and `attention_gradients` one (n, heads, Q, K) tensor per attention over tokens, first to last.
    """

    score: Tensor | None = None
    output: Any = None
    input_gradient: tuple[Tensor, ...] = ()
    activations: Mapping[str, Tensor] = field(default_factory=dict)
    gradients: Mapping[str, Tensor] = field(default_factory=dict)
    resolved: tuple[Target, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    head: Head | None = None
    attention: tuple[Tensor, ...] = ()
    attention_gradients: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True)
class Fold(Generic[S, R]):
    """How the pieces of an answer become the reply.

    `add(state, rows, chunk)` is called in row order and sees a chunk of any size, so it must not depend on
    where chunks begin.
    """

    start: Callable[[], S]
    add: Callable[[S, slice, Chunk], S]
    finish: Callable[[S], R]


@dataclass(frozen=True, slots=True)
class Query(Generic[R]):
    """Rows to run, the target to score, what to record, the view of the model, and the fold."""

    rows: Rows
    target: Target | None
    fold: Fold[Any, R]
    record: Record = field(default_factory=Record)
    view: str | None = None


Flow: TypeAlias = Generator["Query[Any] | tuple[Query[Any], ...]", Any, T]


def ask(query: Query[R]) -> Flow[R]:
    """Returns the reply to one query."""
    reply = yield query
    return cast(R, reply)


def ask_all(*queries: Query[Any]) -> Flow[tuple[Any, ...]]:
    """Returns the replies to several queries, answered in one round."""
    reply = yield queries
    return cast("tuple[Any, ...]", reply)


def together(*flows: Flow[Any]) -> Flow[tuple[Any, ...]]:
    """Returns the results of several flows that go on side by side: what they ask in one round shares its passes."""
    results: list[Any] = [None] * len(flows)
    replies: dict[int, Any] = dict.fromkeys(range(len(flows)))
    while True:
        asked: dict[int, Any] = {}
        for place, reply in replies.items():
            try:
                asked[place] = flows[place].send(reply)
            except StopIteration as stop:
                results[place] = stop.value
        if not asked:
            return tuple(results)
        replies = yield from ask_each(asked)


def ask_each(asked: Mapping[K, Query[Any] | tuple[Query[Any], ...]]) -> Flow[dict[K, Any]]:
    """Returns the reply to each one's query, or its replies to several, by who asked; one round answers all."""
    several = {name: item if isinstance(item, tuple) else (item,) for name, item in asked.items()}
    given = iter((yield tuple(query for queries in several.values() for query in queries)))
    replies: dict[K, Any] = {}
    for name, queries in several.items():
        own = tuple(next(given) for _ in queries)
        replies[name] = own if isinstance(asked[name], tuple) else own[0]
    return replies
