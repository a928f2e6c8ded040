"""How many rows go through at once: found by measuring, bounded by memory, remembered per kind of pass."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..models.machine import available_bytes

DEARER = 1.15
"""A larger batch is given up if its rows cost this much more than those of a smaller one, twice."""
LEAST = 4
"""Sizes that are compared: what is left over at a lot's end is smaller and says little."""
LARGEST = {"cpu": 256, "cuda": 1024, "mps": 256, "outside": 32}
"""Rows that no batch goes beyond. "outside" are models that run outside torch, whose memory cannot be measured."""
CHUNK_BYTES = 3 << 28
"""What a batch may take on a CPU: larger ones leave the caches, gain nothing, and hold up whoever waits."""


def is_out_of_memory(error: BaseException) -> bool:
    """True for the ways in which torch says that memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


class PeakMeter(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own lack of types
    """Measures the most bytes that tensors made inside held at one time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, Tensor):
                self._note(tensor)
        return out

    def _note(self, tensor: Tensor) -> None:
        try:
            storage = tensor.untyped_storage()
            key, size = storage.data_ptr(), storage.nbytes()
        except (RuntimeError, NotImplementedError):
            return
        if key == 0 or key in self._known:
            return
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


@dataclass(slots=True)
class BatchSize:
    """What is known about batch sizes for one kind of pass (row shapes, what is recorded, device).

    On a CPU the first two batches are of 1 and 2 rows, measured, since running out of memory there is a kill
    and not an exception; from then on sizes double while they fit and rows get no dearer.
    """

    device: str
    fixed: int | None = None
    outside: bool = False
    bytes_at: dict[int, int] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    tries: dict[int, int] = field(default_factory=dict)
    good: int = 0
    bad: int | None = None
    settled: int | None = None

    def next(self, rows_left: int, share: float) -> int:
        """Returns how many rows the next batch should take."""
        if rows_left <= 1:
            return rows_left
        if self.fixed is not None:
            return min(self.fixed, rows_left, self._below_bad())
        if self.device == "cpu" and len(self.bytes_at) < 2:
            return min(2 if 1 in self.bytes_at else 1, rows_left)
        size = self.settled or (1 << self.good.bit_length() if self.good else 8)
        largest = LARGEST["outside"] if self.outside else LARGEST.get(self.device, 64)
        size = min(size, largest, self._below_bad(), self.fits(share))
        return max(1, min(size, rows_left))

    def _below_bad(self) -> int:
        return self.bad - 1 if self.bad is not None else 1 << 30

    def fits(self, share: float) -> int:
        """Returns how many rows fit into the given share of the available memory: a power of two."""
        if len(self.bytes_at) < 2:
            return 1 << 30
        free = available_bytes()
        a_row = max(self.row_bytes, 1)
        allowed = CHUNK_BYTES if free is None else min(CHUNK_BYTES, int(free * share))
        return 1 << max(allowed // a_row, 1).bit_length() - 1

    @property
    def row_bytes(self) -> int:
        """Returns what a further row of a batch takes at its peak; 0 where that was not measured."""
        return max(self.bytes_at[2] - self.bytes_at[1], 1) if {1, 2} <= self.bytes_at.keys() else 0

    def measures(self, rows: int, rows_left: int) -> bool:
        """True if this batch's bytes should be measured: more rows are coming and it is one of the first two."""
        wanted = self.device == "cpu" and self.fixed is None and rows_left > 1
        return wanted and rows in (1, 2) and rows not in self.bytes_at

    def succeeded(self, rows: int, seconds: float) -> None:
        """Learns from a batch that went through."""
        self.good = max(self.good, rows)
        a_row = seconds / rows
        self.seconds[rows] = min(a_row, self.seconds.get(rows, a_row))
        self.tries[rows] = self.tries.get(rows, 0) + 1
        best = min((size for size in self.seconds if size >= LEAST), key=self.seconds.__getitem__, default=rows)
        if best < rows and self.tries[rows] > 1 and self.seconds[rows] > self.seconds[best] * DEARER:
            self.settled = best

    def failed(self, rows: int) -> None:
        """Learns from a batch that did not fit."""
        self.bad = rows if self.bad is None else min(self.bad, rows)
        self.good = min(self.good, rows // 2)
        self.settled = None


def timed(size: BatchSize, rows: int, rows_left: int, run: Callable[[], Any]) -> Any:
    """Returns what `run` returns, and lets the batch size learn from its time and, at first, its memory."""
    if size.measures(rows, rows_left):
        with PeakMeter() as meter:
            result = run()
        size.bytes_at[rows] = meter.peak
        size.good = max(size.good, rows)
        return result
    begin = time.perf_counter()
    result = run()
    if size.device == "cuda":
        torch.cuda.synchronize()
    size.succeeded(rows, time.perf_counter() - begin)
    return result
