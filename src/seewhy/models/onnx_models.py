"""ONNX files as models: onnxruntime answers on the CPU, so the methods that need scores only explain them."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core.errors import InputError, InputTypeError, ModelFileError
from .black_box import BlackBox, as_array
from .extras import required
from .labels import as_labels, imagenet_labels
from .parts import Parts
from .preprocess import Preprocessing

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
_LABEL_KEYS = ("labels", "classes", "class_names", "names", "id2label")
_IMAGENET_SHAPE = (3, 224, 224)
IMAGENET = Preprocessing(
    resize=256, crop=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), interpolation="bilinear"
)
"""What most classifiers of ImageNet take; assumed for a file that takes 3 x 224 x 224 and tells 1000 classes apart."""


def from_onnx(spec: str, file: Path) -> Parts:
    """Returns the network in an ONNX file, as a black box.

    Labels come from the file's metadata. A network from 3 x 224 x 224 to 1000 classes that says nothing about itself
    is taken for a classifier of ImageNet with the usual preprocessing, and a note says so.

    Raises MissingExtraError without onnxruntime, ModelFileError for a file that it cannot run.
    """
    if not file.is_file():
        what = "a directory" if file.is_dir() else "no such file"
        raise ModelFileError(f"{spec}: expected an ONNX file, but '{file}' is {what}; check the path.")
    session = _session(spec, file)
    inputs = tuple(_InputSlot.of(spec, item) for item in session.get_inputs())
    outputs = session.get_outputs()
    labels, notes = _labels(session.get_modelmeta().custom_metadata_map)
    steps = None
    if _is_imagenet(inputs, outputs, labels):
        steps = IMAGENET
        labels = labels or imagenet_labels()
        notes = (
            *notes,
            "preprocessing assumed: ImageNet's usual one (256, crop 224, its mean and std), since the file says "
            "nothing about it; give preprocess= if it is another",
        )
    module = BlackBox(_Runner(session, inputs, tuple(item.name for item in outputs)))
    return Parts(module, steps, labels, spec, (f"run by onnxruntime {_version()} on the CPU: scores only", *notes))


def _session(spec: str, file: Path) -> Any:
    runtime = required("onnxruntime", "onnx", spec)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is said in the exception
    try:
        return runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a dozen classes of its own
        reason = str(error).strip().partition("\n")[0][:200]
        raise ModelFileError(
            f"{spec}: expected an ONNX network that onnxruntime can run, but '{file}' ({file.stat().st_size} bytes) is "
            f"none, is damaged, or needs more than this onnxruntime has: {reason}. Export it again, or name the right "
            "file."
        ) from error


def _version() -> str:
    return str(required("onnxruntime", "onnx", "onnx").__version__)


@dataclass(frozen=True, slots=True)
class _InputSlot:
    """One input of the graph: its shape, None where a side is free, and what its numbers are kept in."""

    name: str
    shape: tuple[int | None, ...]
    dtype: Any

    @staticmethod
    def of(spec: str, item: Any) -> _InputSlot:
        if item.type not in _DTYPES:
            raise ModelFileError(
                f"{spec}: expected inputs that are arrays of numbers, but {item.name!r} is {item.type}; export the "
                "network with a float32 input."
            )
        sides = tuple(side if isinstance(side, int) and side > 0 else None for side in item.shape)
        return _InputSlot(item.name, sides, _DTYPES[item.type])

    def array(self, leaf: Any) -> np.ndarray[Any, Any]:
        """Returns the numbers as the graph takes them; integers are rounded and stay inside their range."""
        values: np.ndarray[Any, Any] = np.asarray(as_array(leaf))
        self._check(values.shape)
        if np.issubdtype(self.dtype, np.integer) and values.dtype.kind == "f":
            ends = np.iinfo(self.dtype)
            values = np.clip(np.rint(values.astype(np.float64)), ends.min, ends.max)
        return np.ascontiguousarray(values.astype(self.dtype, copy=False))

    def _check(self, given: tuple[int, ...]) -> None:
        fits = len(given) == len(self.shape) and all(
            want in (None, have) for want, have in zip(self.shape[1:], given[1:], strict=True)
        )
        if not fits:
            wanted = ", ".join(["N", *("any" if side is None else str(side) for side in self.shape[1:])])
            turned = ""
            if len(given) == len(self.shape) == 4 and self.shape[1] in (given[-1],):
                turned = " Its last axis looks like the channels: x.permute(0, 3, 1, 2)."
            elif len(given) == len(self.shape) == 4 and self.shape[1] in (None, given[1]):
                sides = wanted.removeprefix("N, ")
                turned = (
                    " How large a picture gets is up to its preprocessing: preprocess= of seewhy.load takes a function "
                    f"from a PIL image to a tensor ({sides}); --preprocess on the command line takes over that of "
                    "a named model, its size included."
                )
            raise InputError(f"{self.name!r} of this ONNX network must be ({wanted}); given {given}.{turned}")


class _Runner:
    """Runs the session, in pieces where the graph has a fixed number of rows."""

    def __init__(self, session: Any, inputs: tuple[_InputSlot, ...], outputs: tuple[str, ...]) -> None:
        self.session = session
        self.inputs = inputs
        self.outputs = outputs
        fixed = {item.shape[0] for item in inputs if item.shape} - {None}
        self.rows = fixed.pop() if len(fixed) == 1 else None

    def __call__(self, *given: Any, **named: Any) -> Any:
        arrays = {
            item.name: item.array(leaf) for item, leaf in zip(self.inputs, self._ordered(given, named), strict=True)
        }
        count = len(next(iter(arrays.values())))
        if self.rows is None or self.rows == count:
            found = self.session.run(None, arrays)
        else:
            found = self._in_pieces(arrays, count, self.rows)
        answers = dict(zip(self.outputs, found, strict=True))
        return answers if len(answers) > 1 else found[0]

    def _ordered(self, given: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Any, ...]:
        """Returns the inputs in the graph's order."""
        names = tuple(item.name for item in self.inputs)
        if named and set(named) == set(names):
            return tuple(named[name] for name in names)
        if not named and len(given) == len(names):
            return given
        raise InputTypeError(
            f"x must hold the inputs of this ONNX network, {', '.join(names)}, as a tuple or a dict; given "
            f"{', '.join(named) or f'{len(given)} of them'}."
        )

    def _in_pieces(self, arrays: Mapping[str, Any], count: int, size: int) -> list[Any]:
        """Returns the answers of as many runs as it takes; the last one is filled up with copies of the last row."""
        found = []
        for start in range(0, count, size):
            piece = {name: array[start : start + size] for name, array in arrays.items()}
            missing = size - len(next(iter(piece.values())))
            if missing:
                piece = {name: np.concatenate([part, np.repeat(part[-1:], missing, 0)]) for name, part in piece.items()}
            found.append(self.session.run(None, piece))
        return [np.concatenate(parts)[:count] for parts in zip(*found, strict=True)]


def _labels(metadata: Mapping[str, str]) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Returns class names from the file's metadata: JSON, or the text of a Python dict or list."""
    for key in _LABEL_KEYS:
        if key not in metadata:
            continue
        value: Any = metadata[key]
        with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            value = ast.literal_eval(value)
        try:
            return as_labels(value), (f"labels: the file's metadata entry {key!r}",)
        except ModelFileError as error:
            return None, (f"the file's metadata entry {key!r} was not read: {error}",)
    return None, ()


def _is_imagenet(inputs: tuple[_InputSlot, ...], outputs: Any, labels: tuple[str, ...] | None) -> bool:
    if len(inputs) != 1 or inputs[0].shape[1:] != _IMAGENET_SHAPE or not np.issubdtype(inputs[0].dtype, np.floating):
        return False
    return bool(outputs) and list(outputs[0].shape)[1:] == [1000] and (labels is None or len(labels) == 1000)
