"""Times contenders in turns, so that whatever else the machine does hits all of them alike."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Effort:
    """How thoroughly to measure: rounds that are timed, rounds before them that are not, and sizes."""

    repeats: int = 21
    warm: int = 3
    photos: int = 20
    together: int = 8
    many_steps: int = 500


QUICK = Effort(repeats=2, warm=1, photos=2, together=2, many_steps=100)


@dataclass(frozen=True, slots=True)
class Contender:
    """Something to time: opening it is not timed (building extractors, copying a network), its call is."""

    name: str
    open: Callable[[], AbstractContextManager[Call]]


def contender(name: str, call: Call) -> Contender:
    """Returns a contender that needs nothing built."""
    return Contender(name, lambda: nullcontext(call))


@dataclass(frozen=True, slots=True)
class Ratio:
    """Median and quartiles of the ratios within each round."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of each contender, one for each round."""

    seconds: dict[str, list[float]]

    def ratio(self, over: str | Sequence[str], under: str | Sequence[str], times: float = 1.0) -> Ratio:
        """Returns `times` the summed time of some contenders over that of others, round by round."""
        pairs = zip(self._sums(over), self._sums(under), strict=True)
        low, median, high = _quartiles([times * a / b for a, b in pairs])
        return Ratio(median, low, high)

    def milliseconds(self, name: str) -> str:
        """Returns a contender's median time."""
        return f"{1e3 * statistics.median(self.seconds[name]):.0f} ms"

    def fastest(self, names: Sequence[str]) -> str:
        """Returns the contender with the smallest median."""
        return min(names, key=lambda name: statistics.median(self.seconds[name]))

    def _sums(self, names: str | Sequence[str]) -> list[float]:
        chosen = [names] if isinstance(names, str) else names
        return [sum(round_) for round_ in zip(*(self.seconds[name] for name in chosen), strict=True)]


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def interleave(contenders: Sequence[Contender], repeats: int, warm: int) -> Timings:
    """Returns the times of `repeats` rounds, each with every contender once and in an order of its own.

    The order changes so that nobody always runs behind the one that leaves the caches cold.
    """
    order = random.Random(0)
    seconds: dict[str, list[float]] = {one.name: [] for one in contenders}
    for round_ in range(warm + repeats):
        for one in order.sample(list(contenders), len(contenders)):
            taken = _timed(one)
            if round_ >= warm:
                seconds[one.name].append(taken)
    return Timings(seconds)


def _timed(one: Contender) -> float:
    with one.open() as call, _no_collection():
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keeps the garbage collector out of a timing: collects the young before, nothing during."""
    gc.collect(0)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
