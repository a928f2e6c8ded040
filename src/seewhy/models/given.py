"""What a caller says about a model, checked before anything is loaded or run: device, labels, value range."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import torch
from torch import Tensor

from ..core.errors import SettingError


def given_device(device: str | torch.device | None) -> torch.device | None:
    """Returns the device that is asked for; raises SettingError where this machine or this torch has none such."""
    if device is None:
        return None
    try:
        wanted = torch.device(device)
        torch.empty(0, device=wanted)  # only an allocation tells that driver, build and index fit
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")[:200]
        raise SettingError(_no_device(device, f" ({reason})")) from error
    if wanted.type == "meta":
        raise SettingError(_no_device(device, ", which holds no values"))
    return wanted


def _no_device(device: object, why: str) -> str:
    return (
        f"device: expected one that is there, {', '.join(devices())}; given {str(device)!r}{why}. Name one of them, or "
        "leave the device out."
    )


def devices() -> tuple[str, ...]:
    """Returns the names of the devices that are there, the fastest first."""
    found = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return (*found, *mps, "cpu")


def best_device() -> torch.device:
    """Returns cuda, mps or cpu, the first that is there."""
    return torch.device(devices()[0].partition(":")[0])


def given_labels(labels: Any) -> tuple[str, ...] | None:
    """Returns class names by index; raises SettingError for what has no order of names, or is one name."""
    if labels is None:
        return None
    unordered = isinstance(labels, (str, bytes, Mapping, Set))
    try:
        names = None if unordered else tuple(map(str, labels))
    except TypeError:
        names = None
    if names is None:
        raise SettingError(
            "labels takes a list of class names in the order of the outputs, such as ['cat', 'dog']; given "
            f"{type(labels).__name__} {_short(labels)}. Make it such a list."
        )
    return names


def given_range(ends: Any) -> tuple[Tensor, Tensor] | None:
    """Returns (black, white), a number or one per channel each; raises SettingError unless black is below white."""
    if ends is None:
        return None
    try:
        low, high = (torch.as_tensor(end, dtype=torch.float32).reshape(-1) for end in ends)
        below = bool((low < high.to(low.device)).all())  # raises for numbers of channels that do not fit
    except (TypeError, ValueError, RuntimeError):
        raise SettingError(
            f"value_range takes (black, white) in x, each a number or one per channel; given {_short(ends)}."
        ) from None
    if not below:
        raise SettingError(
            "value_range takes (black, white) in x, with black below white in each channel; given "
            f"{_short(ends)}. Say what a black and a white pixel are in the model's input, such as (0, 1)."
        )
    return low, high


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
