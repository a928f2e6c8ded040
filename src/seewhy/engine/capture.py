"""Hooks of one pass: captures named layers, lets rows enter at a layer, and stops behind the last one needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import LayerError
from ..core.query import DEFAULT_LAYER
from ..models.heads import Spoken, is_linear
from ..models.tracing import LayerProbe, first_tensor, with_first_tensor


class StopForward(BaseException):
    """Ends a forward pass whose rest nobody asked for; not an Exception, so that no model swallows it."""


class CaptureOverwritten(Exception):  # noqa: N818 - a signal inside the engine, not an error that a user sees
    """The default layer's output was written to in place: the pass must be repeated with the layer named."""


@dataclass(slots=True)
class Capture:
    """What one pass captures. `layers` are real names; `start_graph` makes leaves where nothing needs grad."""

    module: nn.Module
    layers: tuple[str, ...]
    start_graph: bool
    probe: LayerProbe | None = None
    stop_after: dict[str, int] | None = None
    watch_head: bool = False
    spoken: Spoken | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    handles: list[Any] = field(default_factory=list)

    def attach(self) -> None:
        """Registers the hooks."""
        for name in self.layers:
            self.calls[name] = 0
            layer = layer_of(self.module, name)
            if not isinstance(layer, torch.jit.ScriptModule):  # it refuses hooks
                self.handles.append(layer.register_forward_hook(self._hook(name)))
        if self.probe is not None:
            self.handles.extend(self.probe.attach(self.module))
        if self.watch_head:
            linear = ((name, part) for name, part in self.module.named_modules() if is_linear(part))
            self.handles.extend(part.register_forward_hook(self._after_linear(name)) for name, part in linear)

    def _after_linear(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(part: nn.Module, inputs: Any, output: Any) -> None:
            self.spoken = Spoken.of(name, part, inputs, output)

        return hook

    def enter_at(self, name: str, values: Tensor, calls: int | None) -> None:
        """Makes the layer answer `values` instead of its own output.

        calls: how often a pass calls it, where that is known: only the last use is exchanged, the one that is captured.
        """
        seen = 0

        def hook(_: nn.Module, __: Any, output: Any) -> Any:
            nonlocal seen
            seen += 1
            if calls is not None and seen < calls:
                return None
            own = first_tensor(output)
            if own is None or own.shape != values.shape:
                given = None if own is None else tuple(own.shape)
                raise LayerError(
                    f"Rows that enter at layer {name!r} must have the shape of its output, {given}; "
                    f"given {tuple(values.shape)}."
                )
            return with_first_tensor(output, values.clone())

        self.handles.append(layer_of(self.module, name).register_forward_hook(hook))

    def detach(self) -> None:
        """Removes every hook."""
        for handle in self.handles:
            handle.remove()
        self.handles.clear()

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(_: nn.Module, __: Any, output: Any) -> Any:
            tensor = first_tensor(output)
            if tensor is None or not tensor.is_floating_point():
                given = type(output).__name__ if tensor is None else f"a tensor of {tensor.dtype}"
                raise LayerError(
                    f"A layer to explain must give a real, floating-point tensor; layer {name!r} gives {given}. "
                    "Choose another: model.layers() lists them."
                )
            self.calls[name] += 1
            kept = leaf_of(tensor) if self.start_graph and not tensor.requires_grad else tensor
            self.tensors[name] = kept  # of a layer that is called again, the last use stays
            self._maybe_stop()
            # the network goes on with a copy, so that later in-place operations leave the captured one alone
            return with_first_tensor(output, kept.clone())

        return hook

    def _maybe_stop(self) -> None:
        if self.stop_after is not None and all(
            self.calls[name] >= self.stop_after.get(name, 0) for name in self.layers
        ):
            raise StopForward

    def finish_default(self) -> None:
        """Files the default layer's tensor under DEFAULT_LAYER."""
        assert self.probe is not None
        best = self.probe.best
        if best is None:
            why = (
                "the network is scripted or traced, and its inner layers cannot be observed; give the original module"
                if is_scripted(self.module)
                else "none gives an output with the input's spatial axes"
            )
            raise LayerError(
                f"A class activation map needs a layer with a place in the picture, and found no suitable one: {why}. "
                "Use a method that needs no layer, such as 'saliency' or 'integrated-gradients', or name a layer."
            )
        if not best.intact or (self.start_graph and not best.tensor.requires_grad):
            raise CaptureOverwritten
        self.tensors[DEFAULT_LAYER] = best.tensor


def layer_of(module: nn.Module, name: str) -> nn.Module:
    """Returns the layer of that name, or raises LayerError."""
    try:
        return nn.Module.get_submodule(module, name)  # unbound: scripted modules refuse the bound one
    except AttributeError:
        raise LayerError(
            f"A layer to explain must be one of this network's; it has none named {name!r}. model.layers() lists them."
        ) from None


def leaf_of(tensor: Tensor) -> Tensor:
    """Returns a leaf with the tensor's values, from which the graph starts."""
    with torch.inference_mode(False):  # a network may run its first part in inference mode
        start = tensor.clone() if tensor.is_inference() else tensor.detach()
        return start.requires_grad_()


def leaf_and_copy(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Returns a leaf to keep, and a copy for the network to go on with, which it may write to."""
    leaf = leaf_of(tensor)
    return leaf, leaf.clone()


def missing(names: Iterable[str], calls: dict[str, int], scripted: bool) -> LayerError:
    """Returns the error for layers that the forward pass never called."""
    listed = ", ".join(repr(name) for name in names if not calls.get(name))
    why = (
        "the network is scripted or traced, and its inner layers cannot be observed; give the original module"
        if scripted
        else "the forward pass does not call them as modules"
    )
    return LayerError(f"Layer {listed} was never reached: {why}. Choose a layer that model.layers() lists.")


def is_scripted(module: nn.Module) -> bool:
    """True if any part of the network is a TorchScript module."""
    return any(isinstance(m, torch.jit.ScriptModule) for m in module.modules())
