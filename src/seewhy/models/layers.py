"""The layers of a model as a table: names, output shapes, and which one a class activation map uses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core import tree
from ..core.errors import InputError
from .model import Model, call
from .tracing import LayerProbe, first_tensor

_HOLDERS = (nn.ParameterDict, nn.ParameterList)  # modules that are never called


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer: output shape of one row as it was in the pass, None if the pass did not reach it."""

    name: str
    type: str
    shape: tuple[int, ...] | None
    calls: int

    @property
    def size(self) -> str:
        """The shape in words."""
        return "not reached" if self.shape is None else " x ".join(map(str, self.shape)) or "scalar"


@dataclass(frozen=True, slots=True)
class Layers:
    """All layers in the order of their first call, the default layer of class activation maps, and why."""

    rows: tuple[LayerRow, ...]
    default: str | None
    why: str

    def __iter__(self) -> Iterator[LayerRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> LayerRow:
        """Returns the layer of that name."""
        return next(row for row in self.rows if row.name == name)

    def __str__(self) -> str:
        width = max((len(row.name) for row in self.rows), default=0)
        lines = [
            f"{'*' if row.name == self.default else ' '} {row.name:<{width}}  {row.size:<20}  {row.type}"
            for row in self.rows
        ]
        if self.default is not None:
            lines.append(f"* default layer of class activation maps: {self.default}, {self.why}")
        else:
            lines.append(f"no default layer for class activation maps: {self.why}")
        return "\n".join(lines)


def trace_layers(model: Model, inputs: tree.Inputs) -> Layers:
    """Returns the table of layers seen in one forward pass of `inputs`; the caller guards the model."""
    shapes: dict[str, tuple[int, ...]] = {}
    calls: dict[str, int] = {}
    handles: list[Any] = []

    def watch(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            tensor = first_tensor(output)
            calls[name] = calls.get(name, 0) + 1
            shapes[name] = () if tensor is None else tuple(tensor.shape[1:])

        return hook

    lead = next(iter(tree.leaves(inputs).values()))
    probe = LayerProbe(tuple(lead.shape))
    modules = {name: part for name, part in model.module.named_modules() if name and not isinstance(part, _HOLDERS)}
    try:
        for name, module in modules.items():
            if not isinstance(module, torch.jit.ScriptModule):
                handles.append(module.register_forward_hook(watch(name)))
        handles.extend(probe.attach(model.module))
        with torch.no_grad():
            call(model.module, inputs)
    finally:
        for handle in handles:
            handle.remove()
    order = [*shapes, *(name for name in modules if name not in shapes)]
    rows = [LayerRow(n, type(modules[n]).__name__, shapes.get(n), calls.get(n, 0)) for n in order]
    if probe.best is None:
        return Layers(tuple(rows), None, "no layer's output has the input's spatial axes")
    return Layers(tuple(rows), probe.best.name, probe.best.why)


def example_input(model: Model) -> Tensor:
    """Returns a grey input of the size that the model's preprocessing makes.

    Raises InputError where the preprocessing does not tell the size.
    """
    steps = model.preprocessing
    crop = getattr(steps, "crop", None) or getattr(steps, "resize", None)
    if not isinstance(crop, tuple):
        raise InputError(
            "layers() needs an input to trace the network, since its preprocessing does not tell the size: "
            "model.layers(x) with a tensor such as torch.zeros(1, 3, 224, 224)."
        )
    channels = getattr(steps, "channels", 3)
    return torch.zeros(1, channels, *crop, device=model.device, dtype=model.dtype or torch.float32)
