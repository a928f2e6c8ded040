"""The kinds of runtime: what each needs, what its conversion costs, and what share of the time it may save."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import Tensor

from . import compiled, onnx_runtime, openvino_runtime
from .flat import FlatNetwork

Call: TypeAlias = "Callable[..., Tensor]"


class RuntimeFailed(Exception):  # noqa: N818 - a reason to go on with torch, not an error that a user sees
    """The network cannot be converted, or answers otherwise on the runtime; the message says why."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of runtime.

    name: as in `Options(backend=...)`. packages: what must be installed. extra: the extra of seewhy that brings them.
    seconds: what a conversion costs, beside some passes; the measured order of magnitude. saves: the share of a
    prepared copy's time that it may save, a guess from networks measured; what it does save is measured before use.
    version: of the runtime, in words. convert: (flat network, example inputs, folder to write into, or None) to a call.
    load: (folder) to a call; None where nothing is kept on disk.
    """

    name: str
    packages: tuple[str, ...]
    extra: str
    seconds: float
    saves: float
    version: Callable[[], str]
    convert: Callable[[FlatNetwork, tuple[Tensor, ...], Path | None], Any]
    load: Callable[[Path], Any] | None


RUNTIMES: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind(
                "openvino",
                ("openvino",),
                "openvino",
                2.0,
                0.4,
                openvino_runtime.version,
                openvino_runtime.convert,
                openvino_runtime.load,
            ),
            Kind(
                "onnxruntime",
                ("onnxruntime", "onnx", "onnxscript"),
                "onnx-runtime",
                4.0,
                0.2,
                onnx_runtime.version,
                onnx_runtime.convert,
                onnx_runtime.load,
            ),
            Kind("torch.compile", (), "", 25.0, 0.15, lambda: torch.__version__, compiled.convert, None),
        )
    }
)
"""In the order in which they are tried."""


@functools.cache
def installed(kind: Kind) -> bool:
    """True where everything that a kind of runtime needs is installed."""
    try:
        return all(importlib.util.find_spec(package) is not None for package in kind.packages)
    except (ImportError, ValueError):  # something half installed, or half imported
        return False
