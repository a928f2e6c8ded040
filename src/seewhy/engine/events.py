"""What the engine tells a listener while it works; silent unless somebody listens."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class RoundStarted:
    """All pending queries are about to be answered: `rows` distinct rows for `queries` queries."""

    number: int
    queries: int
    rows: int


@dataclass(frozen=True, slots=True)
class ChunkDone:
    """One batch went through the model; `done` of the round's `rows` are answered."""

    round: int
    done: int
    rows: int


@dataclass(frozen=True, slots=True)
class BackedOff:
    """A batch of `rows` did not fit into memory and was halved."""

    rows: int


@dataclass(frozen=True, slots=True)
class Note:
    """Something that was decided on the way and is worth knowing."""

    text: str


@dataclass(frozen=True, slots=True)
class FlowDone:
    """One flow ended; `error` is None if it succeeded."""

    key: Hashable
    error: BaseException | None


Event: TypeAlias = RoundStarted | ChunkDone | BackedOff | Note | FlowDone
