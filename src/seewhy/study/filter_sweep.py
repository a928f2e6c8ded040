"""Runs a layer over any number of pictures and keeps what few of them each channel answers to most and least."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..core.filters import State, Statistics
from ..core.queries import stack
from ..core.query import Chunk, Flow, Query, Record, ask
from ..core.rows import Case
from ..core.targets import Unit
from .filter_layers import channels_first

MEAN, MAXIMUM, ROW, COLUMN, PICTURE = range(5)
_SAME = 1e-6
"""A channel whose values span no more than this share of their size is constant."""


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """One picture's numbers for each channel (C,), float64 on the CPU.

    place: (C, 2), row and column of the largest value, -1 where all are equal.
    """

    mean: Tensor
    maximum: Tensor
    low: Tensor
    active: Tensor
    place: Tensor


def summarised(case: Case, layer: str, channels: Tensor) -> Flow[Summary]:
    """Returns the picture's numbers; the pass stops behind the layer, and no map is kept."""
    shape = case.x[0].shape

    def pick(chunk: Chunk) -> Summary:
        placed, *_ = channels_first(chunk.activations[layer], shape, layer)
        return summary(placed[0, channels.to(placed.device)])

    fold = stack(pick, lambda parts: parts[0])
    return (yield from ask(Query(case.rows(), Unit(layer, 0), fold, Record(activations=(layer,)))))


def layer_values(case: Case, layer: str) -> Flow[Tensor]:
    """Returns what the layer gives for the picture, (1, ...)."""
    fold = stack(lambda chunk: chunk.activations[layer], torch.cat)
    return (yield from ask(Query(case.rows(), Unit(layer, 0), fold, Record(activations=(layer,)))))


def summary(values: Tensor) -> Summary:
    """Returns the numbers of maps (C, *places)."""
    columns = values.shape[-1] if values.dim() > 1 else 1
    flat = values.reshape(len(values), -1)
    maximum, at = flat.max(1)
    wide = torch.float64 if flat.device.type == "cpu" else torch.float32
    numbers = (flat.to(wide).mean(1), maximum, flat.amin(1), (flat > 0).to(wide).mean(1))
    mean, high, low, active = (part.to("cpu", torch.float64) for part in numbers)
    where = torch.where(high > low, at.cpu(), -1)
    place = torch.stack([where // columns, where % columns], 1)
    place[where < 0] = -1
    return Summary(mean, high, low, active, place.double())


@dataclass(slots=True)
class Board:
    """For each channel the `top` pictures with the largest (or smallest) of one number.

    Of equals (rectifiers that saturate make many) the one with the larger (smaller) mean, then the earlier.
    """

    channels: int
    top: int
    by: int
    sign: float
    keys: Tensor = field(init=False)
    rows: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.keys = torch.full((self.channels, self.top), -torch.inf, dtype=torch.float64, device="cpu")
        self.rows = torch.zeros((self.channels, self.top, 5), dtype=torch.float64, device="cpu")

    def add(self, row: Tensor) -> None:
        """Puts one picture's numbers, (C, 5), where they belong."""
        key = self.sign * row[:, self.by]
        last = self.sign * self.rows[:, -1, MEAN]
        better = (key > self.keys[:, -1]) | ((key == self.keys[:, -1]) & (self.sign * row[:, MEAN] > last))
        where = torch.nonzero(better).flatten()
        if len(where):
            keys = torch.cat([self.keys[where], key[where, None]], 1)
            rows = torch.cat([self.rows[where], row[where, None]], 1)
            means = self.sign * rows[:, :, MEAN]
            means[keys == -torch.inf] = -torch.inf  # a place that is still free
            second = means.argsort(dim=1, descending=True, stable=True)
            first = keys.gather(1, second).argsort(dim=1, descending=True, stable=True)
            order = second.gather(1, first)[:, : self.top]
            self.keys[where] = keys.gather(1, order)
            self.rows[where] = rows.gather(1, order[:, :, None].expand(-1, -1, 5))

    def listed(self) -> list[list[list[float]]]:
        """Returns the pictures of each channel, best first, at most top, each with its five numbers."""
        filled = (self.keys > -torch.inf).sum(1).tolist()
        return [rows[:count] for rows, count in zip(self.rows.tolist(), filled, strict=True)]


@dataclass(slots=True)
class Sweep:
    """What is kept of all pictures: it does not grow with them. boards: by maximum and by mean, most and least."""

    channels: int
    top: int
    count: int = 0
    boards: dict[tuple[int, float], Board] = field(init=False)
    sums: Tensor = field(init=False)
    low: Tensor = field(init=False)
    high: Tensor = field(init=False)

    def __post_init__(self) -> None:
        kinds = [(by, sign) for by in (MAXIMUM, MEAN) for sign in (1.0, -1.0)]
        self.boards = {(by, sign): Board(self.channels, self.top, by, sign) for by, sign in kinds}
        self.sums = torch.zeros((3, self.channels), dtype=torch.float64, device="cpu")
        self.low = torch.full((self.channels,), torch.inf, dtype=torch.float64, device="cpu")
        self.high = -self.low

    def add(self, picture: int, found: Summary) -> None:
        """Adds one picture."""
        number = torch.full_like(found.mean, float(picture))
        row = torch.stack([found.mean, found.maximum, found.place[:, 0], found.place[:, 1], number], 1)
        for board in self.boards.values():
            board.add(row)
        self.sums += torch.stack([found.mean, found.maximum, found.active])
        self.low = torch.minimum(self.low, found.low)
        self.high = torch.maximum(self.high, found.maximum)
        self.count += 1

    def tensors(self) -> dict[str, Tensor]:
        """Returns all that is kept, but for the count."""
        boards = list(self.boards.values())
        keys = {f"keys-{place}": board.keys for place, board in enumerate(boards)}
        rows = {f"rows-{place}": board.rows for place, board in enumerate(boards)}
        return {**keys, **rows, "sums": self.sums, "low": self.low, "high": self.high}

    def put_back(self, tensors: Mapping[str, Tensor], count: int) -> None:
        """Goes on from what `tensors` returned; raises ValueError for another sweep's."""
        own = self.tensors()
        if {name: one.shape for name, one in own.items()} != {name: one.shape for name, one in tensors.items()}:
            raise ValueError("these are tensors of another sweep")
        for name, one in own.items():
            one.copy_(tensors[name])
        self.count = count

    def statistics(self, channel: int) -> Statistics:
        """Returns a channel's numbers over all pictures."""
        mean, maximum, active = (float(total) / self.count for total in self.sums[:, channel])
        return Statistics(mean, maximum, float(self.low[channel]), float(self.high[channel]), active)

    def state(self, channel: int) -> State:
        """Returns whether a channel is dead or constant."""
        low, high = float(self.low[channel]), float(self.high[channel])
        if low == 0 and high == 0:
            return "dead"
        return "constant" if high - low <= _SAME * max(abs(low), abs(high)) else ""
