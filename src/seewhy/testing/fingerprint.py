"""What a network and torch look like from outside, so that a trace left behind is seen and named."""

from __future__ import annotations

import pickle
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module


def fingerprint(network: nn.Module) -> dict[str, Any]:
    """Returns the network's flags, weights, buffers, gradients, hooks and attributes, and torch's global state."""
    found: dict[str, Any] = {}
    for path, part in network.named_modules():
        where = path or "the network"
        found[f"training flag of {where}"] = part.training
        for name, value in vars(part).items():
            if name.endswith("_hooks"):
                found[f"{name.strip('_')} of {where}"] = tuple(value)
            elif name not in ("_parameters", "_buffers", "_modules", "training"):
                found[f"attribute {name} of {where}"] = id(value)
    for path, weights in network.named_parameters():
        found[f"requires_grad of {path}"] = weights.requires_grad
        found[f"gradient of {path}"] = None if weights.grad is None else weights.grad.clone()
        found[f"weights {path}"] = (id(weights), weights.detach().clone())
    for path, buffer in network.named_buffers():
        found[f"buffer {path}"] = (id(buffer), buffer.detach().clone())
    return found | _global_state()


def _global_state() -> dict[str, Any]:
    hooks = {
        f"torch's {name.strip('_')}": tuple(getattr(torch_module, name))
        for name in vars(torch_module)
        if name.startswith("_global_") and name.endswith("_hooks")
    }
    return {
        **hooks,
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "default dtype": torch.get_default_dtype(),
        "number of threads": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "anomaly mode": torch.is_anomaly_enabled(),
        "torch function modes": torch._C._len_torch_function_stack(),
        "torch dispatch modes": torch._C._len_torch_dispatch_stack(),
    }


def random_state() -> dict[str, Any]:
    """Returns the state of the global random generators of torch, NumPy and Python."""
    return {
        "torch's random generator": torch.get_rng_state(),
        "NumPy's random generator": pickle.dumps(np.random.get_state()),
        "Python's random generator": random.getstate(),
    }


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Returns in words what differs between two fingerprints."""
    missing = object()
    return [name for name in {**before, **after} if not _equal(before.get(name, missing), after.get(name, missing))]


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)
