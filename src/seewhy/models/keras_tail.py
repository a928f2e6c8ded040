"""The softmax or sigmoid at the end of a Keras model, told apart from what it is given."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from .kinds import OutputKind

_KINDS: dict[str, OutputKind] = {"softmax": "softmax", "sigmoid": "sigmoid", "linear": "logits"}


@dataclass(frozen=True, slots=True)
class Tail:
    """The output layer of a model that ends in softmax or sigmoid. dense: the activation is part of a Dense layer."""

    layer: Any
    kind: OutputKind
    dense: bool

    def before_activation(self, layer: Any, given: tuple[Any, ...], _: Any) -> Any:
        """A forward hook: returns what the activation is given, in the place of the layer's output."""
        x = given[0][0] if isinstance(given[0], (list, tuple)) else given[0]
        if not self.dense:
            return x
        keras: Any = sys.modules["keras"]
        product = keras.ops.matmul(x, layer.kernel)
        return product if layer.bias is None else keras.ops.add(product, layer.bias)

    def activation(self, values: Any) -> Any:
        """Returns the values behind the activation."""
        if self.dense:
            return self.layer.activation(values)
        return self.layer.call(values)


def find_tail(model: Any) -> Tail | None:
    """Returns the last activation of a model with one output whose last layer is used once, else None."""
    layer = _output_layer(model)
    keras: Any = sys.modules["keras"]
    if layer is None or len(layer._inbound_nodes) != 1:
        return None
    kind = layer_kind(layer)
    if kind not in ("softmax", "sigmoid"):
        return None
    if isinstance(layer, keras.layers.Dense):
        plain = type(layer) is keras.layers.Dense and getattr(layer, "quantization_mode", None) is None
        return Tail(layer, kind, True) if plain else None
    return Tail(layer, kind, False) if isinstance(layer, (keras.layers.Softmax, keras.layers.Activation)) else None


def _output_layer(model: Any) -> Any:
    """Returns the layer that makes the one output of a functional or sequential model, also where it is nested."""
    keras: Any = sys.modules["keras"]
    while isinstance(model, keras.Model):
        try:
            outputs = list(model.outputs or ())
        except (AttributeError, ValueError):  # a model that is a class of its own
            return None
        if len(outputs) != 1:
            return None
        model = getattr(getattr(outputs[0], "_keras_history", None), "operation", None)
    return model


def layer_kind(layer: Any) -> OutputKind | None:
    """Returns the kind that a layer's activation makes of its output; None for one that is not among them."""
    keras: Any = sys.modules["keras"]
    if isinstance(layer, keras.layers.Softmax):
        return "softmax" if layer.axis in (-1, 1) else None
    name = getattr(getattr(layer, "activation", None), "__name__", None)
    return _KINDS.get(str(name))
