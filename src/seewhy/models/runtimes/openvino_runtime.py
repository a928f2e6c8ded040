"""OpenVINO as a runtime: converts a traced network, and runs it in float32 on as many threads as torch has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..extras import required
from .flat import FlatNetwork
from .tracing import traced

_FILE = "network.xml"


def version() -> str:
    """Returns the runtime's version."""
    return str(_package().__version__).partition("-")[0]


def convert(network: FlatNetwork, inputs: tuple[Tensor, ...], folder: Path | None) -> Any:
    """Returns a call of the converted network; with a folder it is written there and read back."""
    package = _package()
    found = _read(traced(network, inputs), inputs)
    # Fixed shapes are a fifth cheaper than free ones, and cannot mean anything else than they did in the trace.
    found.reshape(dict(zip(found.inputs, [list(leaf.shape) for leaf in inputs], strict=True)))
    if folder is None:
        return _ready(package, found)
    package.save_model(found, str(folder / _FILE), compress_to_fp16=False)
    return load(folder)


def _read(trace: Any, inputs: tuple[Tensor, ...]) -> Any:
    """Returns the trace as a network of OpenVINO's.

    By its front end: `openvino.convert_model` asks the same of it, and tells Intel's server that it did.
    """
    if isinstance(trace, torch.export.ExportedProgram):
        decoder = _package(".frontend.pytorch.fx_decoder").TorchFXPythonDecoder.from_exported_program(trace)
    else:
        decoder = _package(".frontend.pytorch.ts_decoder").TorchScriptPythonDecoder(trace, example_input=inputs)
    reader = _package(".frontend").FrontEndManager().load_by_framework("pytorch")
    return reader.convert(reader.load(decoder))  # the decoder must outlive the call


def load(folder: Path) -> Any:
    """Returns a call of a network that `convert` has written."""
    package = _package()
    return _ready(package, package.Core().read_model(str(folder / _FILE)))


def _ready(package: Any, found: Any) -> Any:
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # the default would take bfloat16 where the processor has it
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    ready = package.Core().compile_model(found, "CPU", settings)

    def call(*tensors: Tensor) -> Tensor:
        answer = ready([leaf.contiguous().numpy() for leaf in tensors])
        return torch.from_numpy(answer[0].copy())

    return call


def _package(part: str = "") -> Any:
    return required(f"openvino{part}", "openvino", "backend='openvino'")
