"""How the engine may work: everything that changes cost but not the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from ..core.errors import SettingError
from ..models.extras import required
from ..models.runtimes import RUNTIMES
from .events import Event


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of a run.

    batch_size: rows a pass; None finds it and remembers it per input shape. With a fixed batch size, device
        and number of threads the same seed gives the same bits.
    autocast: a dtype such as torch.bfloat16 to run passes under torch.autocast; None runs at full precision,
        whatever autocast the caller has active.
    memory_share: share of the available memory that one batch may take on a CPU.
    prepared: whether passes may run on a prepared copy (folded batch-norm, channels_last): "auto" where the
        job repays it, "never", or "always" where the copy can be made and proves equal.
    backend: what forward passes without gradients run on, on a CPU: "auto" takes the fastest runtime installed
        ("openvino", "onnxruntime", "torch.compile") where the job repays its conversion and it proves equal;
        "torch"; or one of the three by name, which is used wherever it can be.
    in_flight: flows that are worked on at once; bounds the replies held.
    on_event: called with each event. cancelled: asked between passes; True stops the run.
    verify_sharing: checks by content that rows which share a pass are equal; for tests.
    """

    batch_size: int | None = None
    autocast: torch.dtype | None = None
    memory_share: float = 0.5
    prepared: Literal["auto", "never", "always"] = "auto"
    backend: Literal["auto", "torch", "openvino", "onnxruntime", "torch.compile"] = "auto"
    in_flight: int = 128
    on_event: Callable[[Event], None] | None = None
    cancelled: Callable[[], bool] | None = None
    verify_sharing: bool = False

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise SettingError(f"batch_size must be 1 or more, or None; given {self.batch_size}.")
        if not 0 < self.memory_share <= 1:
            raise SettingError(f"memory_share must lie between 0 and 1; given {self.memory_share}.")
        if self.prepared not in ("auto", "never", "always"):
            raise SettingError(f"prepared takes 'auto', 'never' or 'always'; given {self.prepared!r}.")
        self._check_backend()
        if self.in_flight < 1:
            raise SettingError(f"in_flight must be 1 or more; given {self.in_flight}.")

    def _check_backend(self) -> None:
        if self.backend in ("auto", "torch"):
            return
        kind = RUNTIMES.get(self.backend)
        if kind is None:
            known = ", ".join(map(repr, ("auto", "torch", *RUNTIMES)))
            raise SettingError(f"backend takes one of {known}; given {self.backend!r}.")
        for package in kind.packages:
            required(package, kind.extra, f"backend={self.backend!r}")

    def emit(self, event: Event) -> None:
        """Tells the listener, if there is one."""
        if self.on_event is not None:
            self.on_event(event)
