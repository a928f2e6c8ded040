"""Keras 3 models: on the torch backend modules with gradients and layers by Keras's names, on others black boxes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..core.errors import InputError, MissingExtraError, ModelFileError, SettingError
from .black_box import BlackBox, as_array
from .extras import required
from .keras_tail import Tail, find_tail, layer_kind
from .kinds import OutputKind
from .parts import Parts

SUFFIXES = (".keras", ".h5", ".hdf5")
_BACKEND = "KERAS_BACKEND"


def is_keras_model(value: object) -> bool:
    """True for a Keras 3 model; imports nothing, since whoever has one has imported Keras."""
    keras = sys.modules.get("keras")
    kind = getattr(keras, "Model", None)
    return isinstance(kind, type) and isinstance(value, kind)


def from_keras(spec: str, file: Path) -> Parts:
    """Returns the network in a Keras file; the kind of its output is what its last activation makes.

    Where Keras is not imported yet and no backend is chosen, torch is: `KERAS_BACKEND` is then set for this process,
    and a note says so. Files are read in Keras's safe mode, so that no code in them runs, and are not compiled.

    Raises MissingExtraError without Keras, ModelFileError for a file that it cannot read.
    """
    if not file.is_file():
        what = "a directory" if file.is_dir() else "no such file"
        raise ModelFileError(f"{spec}: expected a Keras file, but '{file}' is {what}; check the path.")
    keras, notes = _keras(spec)
    try:
        model = keras.models.load_model(str(file), compile=False, safe_mode=True)
    except Exception as error:  # zip, HDF5 and Keras itself fail in their own ways
        reason = " ".join(str(error).split())[:200]
        raise ModelFileError(
            f"{spec}: expected a model that Keras {keras.__version__} can load in its safe mode, but '{file}' is "
            f"none, is damaged, or needs classes of its own ({type(error).__name__}: {reason}). Load such a model "
            "yourself and give it to seewhy.wrap."
        ) from error
    module, kind = adapted(model)
    return Parts(module, None, None, spec, notes, kind)


def _keras(spec: str) -> tuple[Any, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    if "keras" not in sys.modules and not os.environ.get(_BACKEND):
        os.environ[_BACKEND] = "torch"
        notes = (f"{_BACKEND} was not set: set to torch for this process",)
    try:
        keras = required("keras", "keras", spec)
    except MissingExtraError as error:
        backend, missing = os.environ.get(_BACKEND), error.__cause__
        if not isinstance(missing, ModuleNotFoundError) or missing.name == "keras":
            raise
        raise MissingExtraError(
            f"{spec}: expected the package {missing.name}, which Keras needs for {_BACKEND}={backend} and which is not "
            f"installed; install it, or set {_BACKEND}=torch."
        ) from error
    if not hasattr(keras, "Operation"):
        raise ModelFileError(
            f"{spec}: expected Keras 3, but Keras {keras.__version__} is installed; pip install 'keras>=3.5'."
        )
    return keras, notes


def adapted(model: Any, logits: bool = False) -> tuple[nn.Module, OutputKind | None]:
    """Returns the module that explains a Keras model, and the kind of its output where the last activation tells.

    Pictures and volumes go in with channels on axis 1, also where the model takes them last. logits: leaves out the
    softmax or sigmoid at the end.

    Raises SettingError where logits are asked for and no last activation can be told apart.
    """
    keras: Any = sys.modules["keras"]
    tail = find_tail(model)
    torch_backend = keras.backend.backend() == "torch"
    if logits and (tail is None or not torch_backend):
        why = "needs the torch backend" if tail is not None else "needs a model whose output layer is Dense or Softmax"
        raise SettingError(
            f"logits=True leaves out the last softmax or sigmoid and {why}; this is "
            f"{type(model).__name__} {model.name!r} on {keras.backend.backend()}. Leave it out: the scores are then "
            "what the model returns."
        )
    kind = tail.kind if tail is not None and not logits else layer_kind(model) if tail is None else None
    if torch_backend:
        return KerasNetwork(model, tail, logits), kind
    return BlackBox(_OtherBackend(model)), kind


def behind(module: Any) -> Any:
    """Returns the Keras model that `adapted` made a module of, or the module itself where it did not."""
    if isinstance(module, KerasNetwork):
        return module._modules["keras_model"]
    inside = module.answer if isinstance(module, BlackBox) else None
    return inside.model if isinstance(inside, _OtherBackend) else module


def advice(module: nn.Module, kind: OutputKind | None) -> tuple[str, ...]:
    """Returns what whoever explains a Keras network that ends in softmax should know, as notes."""
    if not isinstance(module, KerasNetwork) or kind != "softmax":
        return ()
    return (
        "the scores are probabilities, behind the model's softmax: gradients of one also speak of its rivals; "
        "logits=True explains the class's own score",
    )


class _Layout:
    """How the model takes its inputs: their shapes where it declares them, and where the channels are."""

    def __init__(self, model: Any) -> None:
        self.names = [str(item.name) for item in _declared(model)]
        self.shapes = [tuple(item.shape) for item in _declared(model)]
        formats = {getattr(layer, "data_format", None) for layer in sublayers(model)} - {None}
        keras: Any = sys.modules["keras"]
        usual = formats.pop() if len(formats) == 1 else keras.config.image_data_format()
        self.channels_last = usual == "channels_last"

    def given(self, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """Returns the inputs as the model takes them."""
        if named:
            places = {name: number for number, name in enumerate(self.names)}
            return {name: self._turned(value, places.get(name)) for name, value in named.items()}
        turned = [self._turned(value, number) for number, value in enumerate(inputs)]
        return turned[0] if len(turned) == 1 else turned

    def _turned(self, value: Any, number: int | None) -> Any:
        if not isinstance(value, Tensor):
            return value
        turned = value.movedim(1, -1) if self.channels_last and value.dim() in (4, 5) else value
        if number is not None and number < len(self.shapes):
            self._check(value, turned, self.shapes[number])
        return turned

    def _check(self, value: Tensor, turned: Tensor, wanted: tuple[int | None, ...]) -> None:
        same = turned.dim() == len(wanted) and all(
            side in (None, have) for side, have in zip(wanted[1:], turned.shape[1:], strict=True)
        )
        if same:
            return
        taken = self.channels_last and len(wanted) in (4, 5)
        sides = [wanted[-1], *wanted[1:-1]] if taken else list(wanted[1:])
        shape = ", ".join(["N", *("any" if side is None else str(side) for side in sides)])
        last = taken and value.dim() == len(wanted) and wanted[-1] == value.shape[-1]
        way = " Its channels are on the last axis: x.movedim(-1, 1); they are turned for Keras here." if last else ""
        raise InputError(f"x must be ({shape}) for this Keras model; given {tuple(value.shape)}.{way}")


class KerasNetwork(nn.Module):
    """A Keras model on the torch backend, its layers named as Keras names them.

    A layer inside a layer whose name occurs twice is named by its path, "outer/inner". A softmax or sigmoid inside the
    last layer is applied behind it, as if it were a layer of its own: what is captured there is what the activation
    is given.
    """

    def __init__(self, model: Any, tail: Tail | None, logits: bool) -> None:
        super().__init__()
        for name, layer in layer_names(model).items():
            self._modules[name] = layer  # names may hold dots and slashes, which add_module refuses
        self.add_module("keras_model", model)
        self.layout = _Layout(model)
        self.tail = tail
        self.logits = logits

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Returns the model's output for pictures (N, C, *places)."""
        keras: Any = sys.modules["keras"]
        given = self.layout.given(inputs, named)
        lead = next((item for item in (*inputs, *named.values()) if isinstance(item, Tensor)), None)
        model: Any = self._modules["keras_model"]
        device = "cpu" if lead is None else str(lead.device)
        with keras.device(device):
            if self.tail is None:
                return model(given)
            handle = self.tail.layer.register_forward_hook(self.tail.before_activation, prepend=True)
            try:
                answer = model(given)
            finally:
                handle.remove()
            return answer if self.logits else self.tail.activation(answer)


class _OtherBackend:
    """Calls a Keras model of another backend with arrays."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.layout = _Layout(model)

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        given = self.layout.given(inputs, named)
        if isinstance(given, dict):
            arrays: Any = {name: as_array(value) for name, value in given.items()}
        else:
            arrays = [as_array(value) for value in given] if isinstance(given, list) else as_array(given)
        return self.model.predict_on_batch(arrays)


def _declared(model: Any) -> list[Any]:
    """Returns the model's symbolic inputs; none for a model that is a class of its own."""
    try:
        return list(model.inputs or ())
    except (AttributeError, ValueError):  # not built, or never declared
        return []


def sublayers(model: Any) -> list[Any]:
    """Returns every layer in a Keras model, also those inside others, without the model itself."""
    return list(model._flatten_layers(recursive=True, include_self=False))


def layer_names(model: Any) -> dict[str, nn.Module]:
    """Returns the layers by name, outer ones first; an inner one whose name is taken is named by its path."""
    keras: Any = sys.modules["keras"]
    named: dict[str, nn.Module] = {}
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", model)]
    for path, parent in waiting:  # grows while it is gone through
        for layer in parent._flatten_layers(recursive=False, include_self=False):
            if isinstance(layer, keras.layers.InputLayer) or id(layer) in seen:
                continue
            seen.add(id(layer))
            name = layer.name if layer.name not in named else f"{path}{layer.name}"
            while name in named:
                name += "'"
            named[name] = layer
            waiting.append((f"{path}{layer.name}/", layer))
    return named
