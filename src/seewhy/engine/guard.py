"""The guard around passes: one thread per model, evaluation mode, and everything put back as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

_OWN = frozenset({"_parameters", "_buffers", "_modules", "training"})
SMALL = 16
"""Buffers up to this size are compared by value: `.data` edits of counters bump no version."""


class ModelState:
    """A model's flags, buffers and plain attributes, so that they can be put back."""

    def __init__(self, module: nn.Module) -> None:
        self.modules = [m for m in module.modules() if not isinstance(m, torch.jit.ScriptModule)]
        self.scripted = [m for m in module.modules() if isinstance(m, torch.jit.ScriptModule)]
        self.training = [(m, m.training) for m in (*self.modules, *self.scripted)]
        self.trainable = [p for p in module.parameters() if p.requires_grad]
        self.buffers = [
            (m, name, tensor, _version(tensor), tensor.detach().clone())
            for m in self.modules
            for name, tensor in m._buffers.items()
            if tensor is not None
        ]
        self.attributes = [(m, _snapshot(m)) for m in self.modules]

    def enter(self) -> None:
        """Sets evaluation mode and switches parameter gradients off: no pass needs them."""
        for m, training in self.training:
            if training:
                m.training = False
        for p in self.trainable:
            p.requires_grad_(False)

    def rewind(self) -> None:
        """Puts back buffers and attributes that a pass has changed."""
        for i, (m, name, tensor, version, copy) in enumerate(self.buffers):
            if m._buffers.get(name) is not tensor:
                m._buffers[name] = tensor
            changed = _version(tensor) != version
            if changed or (tensor.numel() <= SMALL and not torch.equal(tensor, copy)):
                with torch.no_grad():
                    tensor.copy_(copy)
                self.buffers[i] = (m, name, tensor, _version(tensor), copy)
        for m, saved in self.attributes:
            _restore(m, saved)

    def leave(self) -> None:
        """Puts everything back."""
        self.rewind()
        for p in self.trainable:
            p.requires_grad_(True)
        for m, training in self.training:
            if training:
                m.training = True


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def _snapshot(m: nn.Module) -> dict[str, tuple[Any, Any]]:
    """Returns each plain attribute with a shallow copy of its content if it is a container or a tensor."""
    saved: dict[str, tuple[Any, Any]] = {}
    for name, value in m.__dict__.items():
        if name in _OWN or (name.startswith("_") and name.endswith("_hooks")):
            continue
        content: Any = None
        if type(value) in (list, dict, set):
            content = value.copy()
        elif isinstance(value, Tensor) and not value.requires_grad:
            content = value.detach().clone()
        saved[name] = (value, content)
    return saved


def _restore(m: nn.Module, saved: dict[str, tuple[Any, Any]]) -> None:
    now = m.__dict__
    added = [
        name
        for name in now
        if name not in saved and name not in _OWN and not (name.startswith("_") and name.endswith("_hooks"))
    ]
    for name in added:
        del now[name]
    for name, (value, content) in saved.items():
        if now.get(name, saved) is not value:
            now[name] = value
        if content is not None:
            _refill(value, content)


def _refill(value: Any, content: Any) -> None:
    """Gives a container or tensor its content back if it was changed."""
    if isinstance(value, Tensor):
        if value.shape != content.shape or not torch.equal(value, content):
            with torch.no_grad():
                value.set_(content) if value.shape != content.shape else value.copy_(content)
    elif isinstance(value, list):
        if len(value) != len(content) or any(a is not b for a, b in zip(value, content, strict=True)):
            value[:] = content
    elif isinstance(value, dict):
        if value.keys() != content.keys() or any(value[k] is not content[k] for k in content):
            value.clear()
            value.update(content)
    elif value != content:
        value.clear()
        value.update(content)


@contextmanager
def random_state(device: torch.device) -> Iterator[None]:
    """Puts the global random generators back behind a pass that may draw from them."""
    cpu = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    try:
        yield
    finally:
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, device)


@contextmanager
def quiet_modes(device: torch.device, autocast: torch.dtype | None) -> Iterator[None]:
    """Makes passes independent of the caller's no_grad, inference_mode and autocast."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        with suppress(RuntimeError):  # a device type without autocast
            stack.enter_context(
                torch.autocast(device.type, dtype=autocast, enabled=autocast is not None, cache_enabled=False)
            )
        yield


@contextmanager
def guarded(module: nn.Module, lock: Any) -> Iterator[ModelState]:
    """Holds the model's lock, sets evaluation mode, and puts everything back, whatever happens inside."""
    with lock:
        state = ModelState(module)
        try:
            state.enter()
            yield state
        finally:
            state.leave()
