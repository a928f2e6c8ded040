"""What every call owes, whatever happens: network, input and global state exactly as they were found."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seewhy
from seewhy import SeewhyError
from seewhy.methods import (
    Cam,
    GradCam,
    GradCamPlusPlus,
    GuidedBackprop,
    HiResCam,
    InputXGradient,
    IntegratedGradients,
    LayerCam,
    Saliency,
    SmoothGrad,
    XGradCam,
)

from . import oracle as oracles
from .oracle import CAMS, Oracle

INPUTS = ("saliency", "input-x-gradient", "smoothgrad", "integrated-gradients", "adaptive")
GUIDED = ("guided-backprop",)
ALL = (*INPUTS, *GUIDED, *CAMS)
_CAM_CLASSES = dict(zip(CAMS, (Cam, GradCam, GradCamPlusPlus, XGradCam, LayerCam, HiResCam), strict=True))


def method(name: str, layer: Any = None, reshape: Any = None) -> Any:
    """The settings object of a method, cheap and comparable with the oracle."""
    plain = {
        "saliency": Saliency(),
        "input-x-gradient": InputXGradient(),
        "smoothgrad": SmoothGrad(samples=3, noise=0.0),
        "integrated-gradients": IntegratedGradients(steps=8, baseline="zero"),
        "adaptive": IntegratedGradients(baseline="zero", tolerance=0.005),
        "guided-backprop": GuidedBackprop(),
    }
    return plain[name] if name in plain else _CAM_CLASSES[name](layer=layer, reshape=reshape)


def _tensor(value: Tensor | None) -> Any:
    if value is None:
        return None
    value = value.detach()
    if value.is_quantized or value.layout is not torch.strided:
        return str(value)
    flat = value.cpu().resolve_neg().reshape(-1).contiguous()
    return tuple(value.shape), value.dtype, flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def _plain(value: Any, depth: int = 0) -> Any:
    """A value that can be compared later: tensors and containers by content, other objects by identity."""
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, torch.Generator):
        return _tensor(value.get_state())
    if isinstance(value, (list, tuple)):
        return type(value), tuple(_plain(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return tuple((key, _plain(item, depth + 1)) for key, item in value.items())
    if isinstance(value, (int, float, str, bool, type(None), set, frozenset)):
        return repr(value)
    return id(value)


def fingerprint(network: nn.Module, *inputs: Tensor) -> dict[str, Any]:
    """Everything about a network, its inputs and torch that a call must leave alone."""
    found: dict[str, Any] = {}
    for path, part in network.named_modules():
        found[f"{path} class"] = type(part)
        if hasattr(part, "training"):
            found[f"{path} training"] = part.training
        if not isinstance(part, torch.jit.ScriptModule):
            for name, value in vars(part).items():
                if name.endswith("_hooks"):
                    found[f"{path} {name}"] = tuple(value)
                elif name not in ("_parameters", "_buffers", "_modules"):
                    found[f"{path} {name}"] = _plain(value)
        for name, value in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
            hooks = value._backward_hooks
            found[f"{path} tensor {name}"] = (id(value), _tensor(value), value.requires_grad, _tensor(value.grad))
            found[f"{path} tensor hooks {name}"] = tuple(hooks) if hooks else ()
        for name, _ in part.named_children():
            found[f"{path} child {name}"] = True
    for place, x in enumerate(inputs):
        grad = x.grad if x.is_leaf else None
        found[f"x {place}"] = (_tensor(x), x.requires_grad, _tensor(grad), x.stride(), bool(x._backward_hooks))
    return found | {
        "torch random": torch.get_rng_state().numpy().tobytes(),
        "numpy random": pickle.dumps(np.random.get_state()),
        "python random": random.getstate(),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "default dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "modes": (torch._C._len_torch_function_stack(), torch._C._len_torch_dispatch_stack()),
        "global hooks": tuple(
            tuple(value)
            for name, value in vars(nn.modules.module).items()
            if name.startswith("_global_") and name.endswith("_hooks")
        ),
    }


@contextmanager
def unchanged(network: nn.Module, *inputs: Tensor) -> Iterator[None]:
    """Asserts, also when an exception passes, that nothing was left behind."""
    before = fingerprint(network, *inputs)
    try:
        yield
    finally:
        after = fingerprint(network, *inputs)
        changed = [name for name in {**before, **after} if before.get(name, "absent") != after.get(name, "absent")]
        assert not changed, f"left changed: {changed}"


@dataclass(frozen=True)
class Refusal:
    """A clear error: its type, words that its message must hold, or the very exception that must come through."""

    kind: type[BaseException] = SeewhyError
    words: tuple[str, ...] = ()
    same: BaseException | None = None

    def check(self, error: BaseException) -> None:
        if self.same is not None:
            assert error is self.same
            return
        assert isinstance(error, self.kind), repr(error)
        text = str(error)
        missing = [word for word in self.words if word not in text]
        assert not missing, f"{missing} not in: {text}"


def refusal(kind: type[BaseException], *words: str) -> Refusal:
    return Refusal(kind, words)


def same(error: BaseException) -> Refusal:
    return Refusal(type(error), same=error)


@contextmanager
def refused(expected: Refusal) -> Iterator[None]:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - checked below, by type, words or identity
        yield
    expected.check(caught.value)


def close(got: Tensor, wanted: Tensor, tolerance: float) -> None:
    """Asserts that a map equals the oracle's, relative to its largest value."""
    assert got.shape == wanted.shape, (tuple(got.shape), tuple(wanted.shape))
    assert bool(torch.isfinite(got).all())
    scale = max(float(wanted.abs().max()), 1e-30) if wanted.numel() else 1.0
    gap = float((got.double() - wanted).abs().max()) / scale
    assert gap <= tolerance, f"differs by {gap:.2e} of the largest value"


def check_map(name: str, made: Any, oracle: Oracle, rows: Tensor, how: Any) -> None:
    """Asserts that each row's map is the oracle's. `how` has `tolerance`, `place`, and `large` for costly networks."""
    for row, x in enumerate(rows):
        x = x[None].detach()
        got = made.values[row : row + 1].detach()
        if name in CAMS:
            wanted = oracles.layer_map(name, oracle, x, how.place)
            assert wanted is not None, "CAM should have been refused here"
            close(got, wanted, how.tolerance)
            continue
        if name == "adaptive":
            difference = oracles.score_of(oracle, x) - oracles.score_of(oracle, torch.zeros_like(x))
            assert abs(float(got.double().sum()) - difference) <= 0.02 * abs(difference) + 1e-6
            if how.large:
                continue
        wanted = oracles.input_map(name, oracle, x)
        if name == "adaptive":
            close(got, wanted, max(0.06, how.tolerance))
            continue
        close(got, wanted, how.tolerance)


Call = Callable[[], Any]
__all__ = [
    "ALL",
    "CAMS",
    "GUIDED",
    "INPUTS",
    "Refusal",
    "check_map",
    "close",
    "method",
    "refusal",
    "refused",
    "same",
    "seewhy",
    "unchanged",
]
