"""From a network, or the name of one, to a `Model`: what `seewhy.wrap` and `seewhy.load` do."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import InputTypeError, SettingError
from .kinds import check_kind
from .model import AnyPreprocessing, Model, unwrapped
from .outputs import Selector
from .preprocess import Preprocessing
from .sources import build
from .transforms import CallablePreprocessing


def wrap(  # noqa: PLR0913 - everything that may be known about somebody's network
    network: Any,
    preprocess: Any = None,
    labels: Sequence[str] | None = None,
    value_range: tuple[Any, Any] | None = None,
    *,
    output: Selector = None,
    output_kind: str | None = None,
    device: str | torch.device | None = None,
    name: str | None = None,
) -> Model:
    """Returns a `Model` around any nn.Module; the module itself is never changed.

    preprocess: how a picture becomes the input: a `Preprocessing`, torchvision or timm transforms, or any function
        from a PIL image to a tensor (C, H, W).
    labels: class names by index. value_range: what black and white are in x, a number or one per channel; known
        without saying where `preprocess` tells it.
    output: which part of the answer holds the scores: a key, a position, or a function; needed only where that
        is ambiguous. output_kind: "logits", "multilabel-logits", "softmax", "sigmoid" or "value"; told from the
        output if not given.
    device: None leaves the network where it is; another device explains a copy of it there, made now.

    Raises InputTypeError for something that is no network, SettingError for settings that do not fit.
    """
    if isinstance(network, Model):
        return network
    if not isinstance(network, nn.Module):
        raise InputTypeError(
            f"Expected a torch.nn.Module; given {type(network).__name__}. Put a function into a module: define "
            "forward in a subclass of nn.Module."
        )
    module = unwrapped(network)
    steps = _preprocessing(preprocess, value_range)
    if value_range is None and steps is not None:
        value_range = steps.value_range
    return Model(
        module=on_device(module, device),
        name=name or type(module).__name__,
        preprocessing=steps,
        labels=None if labels is None else tuple(map(str, labels)),
        output=output,
        kind=check_kind(output_kind),
        value_range=_range(value_range),
    )


def load(
    spec: str | None = None,
    checkpoint: str | Path | None = None,
    *,
    device: str | torch.device | None = None,
) -> Model:
    """Returns the model that `spec` names, with its own preprocessing and labels.

    spec: "efficientnet-lite0" (the default: real ImageNet weights from the extra `demo`, no download),
        "timm:NAME", "torchvision:NAME" (with "@random" for random weights), "FILE.py:FACTORY".
    checkpoint: a file of weights, safetensors or one that torch.load reads with weights_only=True.
    device: None takes cuda, mps or cpu, the first that is there.

    Raises UnknownNameError, ModelFileError or MissingExtraError.
    """
    parts = build(spec, checkpoint)
    steps = parts.preprocessing
    chosen = torch.device(device) if device is not None else best_device()
    module = unwrapped(parts.module).to(chosen)
    return Model(
        module=module,
        name=parts.name,
        preprocessing=steps,
        labels=parts.labels,
        value_range=_range(steps.value_range if steps is not None else None),
        notes=parts.notes,
    )


def best_device() -> torch.device:
    """Returns cuda, mps or cpu, the first that is there."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def on_device(module: nn.Module, device: str | torch.device | None) -> nn.Module:
    """Returns the module itself, or a copy on another device; the given one is not moved."""
    if device is None:
        return module
    wanted = torch.device(device)
    tensors = (*module.parameters(), *module.buffers())
    if all(tensor.device.type == wanted.type for tensor in tensors):
        return module
    return copy.deepcopy(module).to(wanted)


def _preprocessing(steps: Any, value_range: Any) -> AnyPreprocessing | None:
    if steps is None or isinstance(steps, (Preprocessing, CallablePreprocessing)):
        return steps
    try:
        return Preprocessing.from_torchvision(steps)
    except InputTypeError:
        return CallablePreprocessing(steps, value_range)


def _range(ends: Any) -> tuple[Tensor, Tensor] | None:
    if ends is None:
        return None
    try:
        low, high = (torch.as_tensor(end, dtype=torch.float32).reshape(-1) for end in ends)
    except (TypeError, ValueError, RuntimeError):
        raise SettingError(
            f"value_range takes (black, white) in x, each a number or one per channel; given {ends!r}."
        ) from None
    return low, high
