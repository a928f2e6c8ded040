"""How many rows go through at once: found by measuring, bounded by memory, remembered per kind of pass."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

GAIN = 1.1
"""A larger batch must be at least this much cheaper a row to be kept."""
LARGEST = {"cpu": 64, "cuda": 1024, "mps": 256}


def is_out_of_memory(error: BaseException) -> bool:
    """True for the ways in which torch says that memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def available_bytes() -> int | None:
    """Returns the memory that this process may still take, or None where the system does not say."""
    limits = [value for value in (_meminfo(), _cgroup()) if value is not None]
    return min(limits) if limits else None


def _meminfo() -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _cgroup() -> int | None:
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            limit = file.read().strip()
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as file:
            used = int(file.read())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(int(limit) - used, 0)


class PeakMeter(TorchDispatchMode):
    """Measures the most bytes that tensors made inside held at one time."""

    def __init__(self) -> None:
        super().__init__()
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
    and not an exception; from then on sizes double while rows get cheaper.
    """

    device: str
    fixed: int | None = None
    bytes_at: dict[int, int] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
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
        size = self.settled or (self.good * 2 if self.good else 8)
        size = min(size, LARGEST.get(self.device, 64), self._below_bad(), self.fits(share))
        return max(1, min(size, rows_left))

    def _below_bad(self) -> int:
        return self.bad - 1 if self.bad is not None else 1 << 30

    def fits(self, share: float) -> int:
        """Returns how many rows fit into the given share of the available memory, at least 1."""
        if len(self.bytes_at) < 2:
            return 1 << 30
        free = available_bytes()
        a_row = max(self.bytes_at[2] - self.bytes_at[1], 1)
        return 1 << 30 if free is None else max(1, int(free * share / a_row))

    def measures(self, rows: int, rows_left: int) -> bool:
        """True if this batch's bytes should be measured: more rows are coming and it is one of the first two."""
        wanted = self.device == "cpu" and self.fixed is None and rows_left > 1
        return wanted and rows in (1, 2) and rows not in self.bytes_at

    def succeeded(self, rows: int, seconds: float) -> None:
        """Learns from a batch that went through."""
        self.good = max(self.good, rows)
        a_row = seconds / rows
        self.seconds[rows] = min(a_row, self.seconds.get(rows, a_row))
        smaller = [size for size in self.seconds if size < rows]
        if self.settled is None and rows >= 4 and smaller:
            best = min(smaller, key=self.seconds.__getitem__)
            if self.seconds[rows] * GAIN > self.seconds[best]:
                self.settled = best if self.seconds[best] <= self.seconds[rows] else rows

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
