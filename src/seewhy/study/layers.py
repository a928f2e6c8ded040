"""`model.layers()`: the table of layers, traced under the model's guard."""

from __future__ import annotations

from typing import Any

from ..engine.guard import guarded, quiet_modes, random_state
from ..models.layers import Layers, example_input, trace_layers
from ..models.model import Model
from .cases import as_inputs


def layers(model: Model, x: Any = None) -> Layers:
    """Returns all layers in the order of their first call, with output shapes and the default layer of CAMs.

    One forward pass of `x`, or of a grey picture of the size that the model's preprocessing makes.
    """
    inputs = example_input(model) if x is None else as_inputs(model, x)
    device = model.device
    with guarded(model.refresh(), model.memo), quiet_modes(device, None), random_state(device):
        return trace_layers(model, inputs)
