"""The guard around passes: one thread per model, evaluation mode, and everything put back as it was found."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..models.model import Memo
from .state import ModelState


@dataclass(slots=True)
class _Generator:
    """One of torch's global random generators, and who is using it."""

    take: Callable[[], Tensor]
    give: Callable[[Tensor], object]
    seed: Callable[[int], object]
    users: int = 0
    found: Tensor | None = None


_generators: dict[str, _Generator] = {}
_generators_lock = threading.Lock()


def _generators_of(device: torch.device) -> list[_Generator]:
    """Returns the generators that a network on this device may draw from."""
    names = ["cpu"] if device.type == "cpu" else ["cpu", str(device)]
    for name in names:
        if name not in _generators:
            made = _generator(torch.device(name))
            if made is not None:
                _generators[name] = made
    return [_generators[name] for name in names if name in _generators]


def _generator(device: torch.device) -> _Generator | None:
    if device.type == "cpu":
        default = torch.default_generator
        return _Generator(default.get_state, default.set_state, default.manual_seed)
    if device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]
        index = torch.cuda.current_device() if device.index is None else device.index
        default = torch.cuda.default_generators[index]
        return _Generator(default.get_state, default.set_state, default.manual_seed)
    if device.type == "mps":
        return _Generator(torch.mps.get_rng_state, torch.mps.set_rng_state, torch.mps.manual_seed)
    return None


@contextmanager
def random_state(device: torch.device) -> Iterator[None]:
    """Puts torch's global random generators back behind passes that seed them and may draw from them.

    Threads that explain at the same time share one return: the first in notes the state, the last out restores it.
    """
    with _generators_lock:
        used = _generators_of(device)
        for generator in used:
            if generator.users == 0:
                generator.found = generator.take()
            generator.users += 1
    try:
        yield
    finally:
        with _generators_lock:
            for generator in used:
                generator.users -= 1
                if generator.users == 0 and generator.found is not None:
                    generator.give(generator.found)


def seed_generators(device: torch.device, seed: int) -> None:
    """Seeds the generators that a network on this device may draw from, and no other device's."""
    for generator in _generators_of(device):
        generator.seed(seed)


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
def full_precision(device: torch.device) -> Iterator[None]:
    """Takes the caller's autocast off what methods compute themselves, on the model's device and on the CPU."""
    with ExitStack() as stack:
        for kind in {device.type, "cpu"}:
            if _autocast_active(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def _autocast_active(kind: str) -> bool:
    try:
        return torch.is_autocast_enabled(kind)
    except RuntimeError:  # a device type without autocast
        return False


@contextmanager
def guarded(modules: Sequence[nn.Module], memo: Memo) -> Iterator[ModelState]:
    """Holds the model's lock, sets evaluation mode, and puts everything back, whatever happens inside.

    modules: all of the network's, as `Model.refresh` returns them.
    """
    with memo.lock:
        state = ModelState(modules, memo.outline)
        try:
            state.enter()
            memo.outline = state.snapshot.outline
            yield state
            if state.used:
                memo.outline = state.snapshot.learned()
        finally:
            state.leave()
