"""What flows ask for, counted as they ask: evidence has a budget, and must say what it took."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from ..core.errors import SeewhyError
from ..core.query import Flow, Query
from ..engine import Event, Options, RoundStarted

T = TypeVar("T")


class TooDear(SeewhyError):  # noqa: N818 - no fault of anyone's
    """A flow asked for more rows than it may take."""


@dataclass(slots=True)
class Purse:
    """Counts the distinct rows that some flows take together: equal rows of one round run once."""

    taken: int = 0
    pending: dict[Hashable, int] = field(default_factory=dict)

    def ask(self, query: Query[Any]) -> None:
        """Books a query for the round to come."""
        rows = query.rows
        key: Hashable = len(self.pending) if rows.key is None else (rows.key, rows.entry, rows.leaves, query.view)
        self.pending[key] = rows.count

    @property
    def rows(self) -> int:
        """The rows of all rounds so far."""
        return self.taken + sum(self.pending.values())

    def settle(self) -> None:
        """Ends a round: what is asked for again will run again."""
        self.taken = self.rows
        self.pending.clear()


def settling(options: Options, purses: list[Purse]) -> Options:
    """Returns options whose rounds the purses hear of."""

    def on_event(event: Event) -> None:
        if isinstance(event, RoundStarted):
            for purse in purses:
                purse.settle()
        options.emit(event)

    return replace(options, on_event=on_event)


def watched(flow: Flow[T], purse: Purse, allowance: int | None = None) -> Flow[T]:
    """Returns the flow as it is, its queries booked; TooDear is thrown into it where it asks beyond its allowance."""
    advance: Callable[[], Any] = partial(next, flow)
    own = 0
    while True:
        try:
            asked = advance()
        except StopIteration as stop:
            result: T = stop.value
            return result
        queries = asked if isinstance(asked, tuple) else (asked,)
        own += sum(query.rows.count for query in queries)
        if allowance is not None and own > allowance:
            advance = partial(flow.throw, TooDear(f"it asked for {own} passes and may take {allowance}"))
            own = 0
            continue
        for query in queries:
            purse.ask(query)
        try:
            reply = yield asked
        except GeneratorExit:
            flow.close()
            raise
        except Exception as error:
            advance = partial(flow.throw, error)
        else:
            advance = partial(flow.send, reply)
