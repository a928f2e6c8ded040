"""The onnxruntime as a runtime: exports the network to ONNX and runs it on as many threads as torch has."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from ..extras import required
from .flat import FlatNetwork

_FILE = "network.onnx"


def version() -> str:
    """Returns the runtime's version."""
    return str(_package().__version__)


def convert(network: FlatNetwork, inputs: tuple[Tensor, ...], folder: Path | None) -> Any:
    """Returns a call of the converted network; with a folder it is written there."""
    if folder is not None:
        _export(network, inputs, folder)
        return load(folder)
    with TemporaryDirectory() as temporary:
        _export(network, inputs, Path(temporary))
        return load(Path(temporary))


def load(folder: Path) -> Any:
    """Returns a call of a network that `convert` has written."""
    package = _package()
    options = package.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is said in the exception
    session = package.InferenceSession(str(folder / _FILE), options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]

    def call(*tensors: Tensor) -> Tensor:
        arrays = [leaf.contiguous().numpy() for leaf in tensors]
        return torch.from_numpy(session.run(None, dict(zip(names, arrays, strict=True)))[0].copy())

    return call


def _export(network: FlatNetwork, inputs: tuple[Tensor, ...], folder: Path) -> None:
    quiet = io.StringIO()  # the exporter tells its progress on stdout
    with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, inputs, str(folder / _FILE), dynamo=True, verbose=False)


def _package() -> Any:
    return required("onnxruntime", "onnx-runtime", "backend='onnxruntime'")
