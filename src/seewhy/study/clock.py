"""Bills of flows that share batches: how many rows each asked for, and its share of the time."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

from ..core.leaderboard import Cost
from ..core.query import Flow
from ..engine import Event, RoundStarted
from ..engine.meter import Meters
from ..engine.passes import PassResult
from ..engine.rounds import Segment


@dataclass(slots=True)
class Clock(Meters):
    """Meters that also divide the time: a batch's among its rows, a row's among the flows that asked for it."""

    seconds: dict[Hashable, float] = field(default_factory=dict)
    backward_rows: dict[Hashable, int] = field(default_factory=dict)
    since: float = field(default_factory=perf_counter)

    def on_event(self, event: Event) -> None:
        """Begins to count where a round begins: what lies before was booked by `timed`."""
        if isinstance(event, RoundStarted):
            self.since = perf_counter()

    def ran(self, parts: Sequence[Segment], result: PassResult, backend: str, row_bytes: int = 0) -> None:
        """Books one batch, and the time since the last one, on everyone who had rows in it."""
        Meters.ran(self, parts, result, backend, row_bytes)
        now = perf_counter()
        row = (now - self.since) / max(1, sum(map(len, parts)))
        self.since = now
        for part in parts:
            share = row * len(part) / len(part.group.askers)
            for asker in part.group.askers:
                self.seconds[asker.flow] = self.seconds.get(asker.flow, 0.0) + share
                if asker.query.record.needs_gradient and asker.query.target is not None:
                    self.backward_rows[asker.flow] = self.backward_rows.get(asker.flow, 0) + len(part)

    def cost(self, flow: Hashable) -> Cost:
        """Returns what a flow has cost so far."""
        meter = self.of(flow)
        return Cost(
            meter.rows, self.backward_rows.get(flow, 0), self.seconds.get(flow, 0.0), float(meter.row_bytes) or None
        )

    def timed(self, key: Hashable, flow: Flow[Any]) -> Flow[Any]:
        """Returns what the flow returns, with the time of its own arithmetic booked on it."""
        advance: Callable[[], Any] = partial(next, flow)
        try:
            while True:
                start = perf_counter()
                try:
                    asked = advance()
                except StopIteration as stop:
                    return stop.value
                finally:
                    self.seconds[key] = self.seconds.get(key, 0.0) + perf_counter() - start
                try:
                    advance = partial(flow.send, (yield asked))
                except Exception as error:
                    advance = partial(flow.throw, error)
        finally:
            flow.close()
