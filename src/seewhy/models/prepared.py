"""Makes the prepared copy of a model: the same function, cheaper on a CPU, with the user's model as it was.

Batch-norms are folded into the convolutions before them, and weights are laid out channels last. Whoever uses
a copy proves it against the model first; here only what follows from the formulas is changed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .content import named_tensors
from .folding import (
    CONVOLUTIONS,
    Pair,
    PreparationFailed,
    foldable_pairs,
    has_hooks,
    is_activated_norm,
)
from .machine import available_bytes

__all__ = ["Pair", "PreparationFailed", "can_copy", "can_prepare", "foldable_pairs", "prepare"]

MEMORY_SHARE = 0.25  # of the available memory, that the parameters and buffers of one copy may take

_PLAIN_TENSORS = (Tensor, nn.Parameter, getattr(nn, "Buffer", Tensor))  # torch 2.5 brought nn.Buffer
_CHANNELS_LAST = (nn.Conv2d, nn.ConvTranspose2d)


def can_prepare(module: nn.Module) -> str | None:
    """Returns why no prepared copy of this module should be tried, or None where one may be.

    The answer costs no pass. Beside what `can_copy` asks for, a copy repays itself only where a convolution is.
    A reason completes "no prepared copy because ...".
    """
    reason = can_copy(module)
    if reason is None and not any(isinstance(part, (*CONVOLUTIONS, *_CHANNELS_LAST)) for part in module.modules()):
        return "it has no convolution module"
    return reason


def can_copy(module: nn.Module) -> str | None:
    """Returns why no copy of this module may stand for it in passes, or None where one may.

    A copy needs plain modules (not scripted, compiled, quantised, hooked or lazy, no `forward` patched into an
    instance), plain dense tensors on the CPU, and a size of at most a quarter of the memory now available.
    """
    parts = list(module.modules())
    reasons = (reason for part in parts if (reason := _module_reason(part)))
    tensors = {id(item): item for part in parts for _, item in named_tensors(part)}.values()
    reason = next(reasons, None) or next((found for item in tensors if (found := _tensor_reason(item))), None)
    if reason is not None:
        return reason
    size = sum(item.numel() * item.element_size() for item in tensors)
    available = available_bytes()
    if available is not None and size > MEMORY_SHARE * available:
        share = f"{MEMORY_SHARE:.0%} of the {available >> 20} MiB of available memory"
        return f"its {size >> 20} MiB are more than {share}"
    return None


def prepare(
    module: nn.Module,
    pairs: Iterable[Pair],
    keep: frozenset[str] = frozenset(),
    *,
    channels_last: bool = True,
) -> nn.Module:
    """Returns a copy of the module with the pairs folded, in eval mode, with all parameters frozen.

    With running mean m and variance v, scale g and shift b of the batch-norm, per output channel, in float64:
    `s = g / sqrt(v + eps)`, `weight' = s weight`, `bias' = s (bias - m) + b`, cast back to the dtype at hand.
    The convolution then gives what the batch-norm gave. The batch-norm becomes an `nn.Identity`, or the
    `nn.Sequential` of `drop` and `act` if it is timm's `BatchNormAct2d`, so every module keeps its name.

    `keep` names the modules whose output is captured, replaced or scored: a pair is left alone if among them
    is its convolution, its batch-norm or a module that hands on the convolution's very output. All other
    outputs are the model's own up to rounding. With `channels_last` the weights of 2-d convolutions are laid
    out so, and with them their outputs; a model that calls `.view` on those may raise: prepare it without.

    Raises `PreparationFailed` where the module cannot be copied or nothing would be gained.
    """
    # Tensors born in inference mode could never be saved for a backward pass.
    with torch.inference_mode(False), torch.no_grad():
        twin = _copied(module)
        folded = [_folded(twin, pair) for pair in pairs if pair.spares(keep)]
        planar = [part for part in twin.modules() if channels_last and isinstance(part, _CHANNELS_LAST)]
        if not any(folded) and not planar:
            raise PreparationFailed("no pair can be folded and no layout changed: nothing to gain")
        for conv in planar:
            conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)
    for part in twin.modules():
        # The bare flag: a `train` method of the user's own may do more, such as merge weights.
        part.training = False
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    return twin


def _copied(module: nn.Module) -> nn.Module:
    try:
        twin = copy.deepcopy(module)
    except Exception as error:
        raise PreparationFailed(f"it cannot be copied: {type(error).__name__}: {error}") from error
    mine = {id(part) for part in module.modules()} | set(_storages(module))
    if type(twin) is not type(module) or any(key in mine for key in (*map(id, twin.modules()), *_storages(twin))):
        raise PreparationFailed("its copy shares modules or tensors with it")
    return twin


def _storages(module: nn.Module) -> Iterator[int | tuple[str, int]]:
    for item in (*module.parameters(), *module.buffers()):
        yield id(item)
        if item.numel():
            yield "storage", item.untyped_storage().data_ptr()


def _folded(twin: nn.Module, pair: Pair) -> bool:
    """Folds one pair in the copy; returns False where extreme statistics do not fit into the dtype."""
    conv, norm = twin.get_submodule(pair.conv), twin.get_submodule(pair.bn)
    weight, bias = conv._parameters["weight"], conv._parameters["bias"]
    mean, variance = norm._buffers["running_mean"], norm._buffers["running_var"]
    gain, shift = norm._parameters["weight"], norm._parameters["bias"]
    assert isinstance(weight, Tensor)  # as `foldable_pairs` saw to
    assert isinstance(mean, Tensor)
    assert isinstance(variance, Tensor)
    eps: Any = norm.eps
    scale = (variance.double() + eps).rsqrt()
    scale = scale if gain is None else scale * gain.double()
    offset = -mean.double() if bias is None else bias.double() - mean.double()
    offset = offset * scale if shift is None else offset * scale + shift.double()
    new_weight = (weight.double() * scale.reshape(-1, *[1] * (weight.dim() - 1))).to(weight.dtype)
    new_bias = offset.to(weight.dtype)
    if not bool(new_weight.isfinite().all() and new_bias.isfinite().all()):
        return False
    conv.weight = nn.Parameter(new_weight, requires_grad=False)
    conv.bias = nn.Parameter(new_bias, requires_grad=False)
    # The object stays and changes its class, since code may reach it by other ways than its name (a plain
    # list of layers) and may read its attributes (`num_features`, `weight.dtype`).
    norm.__class__ = nn.Sequential if is_activated_norm(norm) else nn.Identity
    return True


def _module_reason(part: nn.Module) -> str | None:
    kind = type(part)
    if isinstance(part, torch.jit.ScriptModule):
        return "it is scripted or traced"
    if hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None) is not None:
        return "it is compiled"
    if "quantized" in kind.__module__:
        return f"it is quantised ({kind.__name__})"
    if any(nn.parameter.is_lazy(item) for _, item in named_tensors(part)):
        return f"it is lazy: no pass has shaped it yet ({kind.__name__})"
    if has_hooks(part):
        return f"hooks are registered on it ({kind.__name__})"
    if "forward" in vars(part):
        return f"the forward of one of its modules was replaced ({kind.__name__})"
    return None


def _tensor_reason(item: Tensor) -> str | None:
    if item.device.type != "cpu":
        return f"it has tensors on {item.device}, not on the CPU"
    if item.is_quantized:
        return "it has quantised tensors"
    if item.layout is not torch.strided or type(item) not in _PLAIN_TENSORS:
        return f"it has tensors that are not plain and dense ({type(item).__name__})"
    return None
