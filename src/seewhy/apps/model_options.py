"""The options that every command has which loads a model of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ModelSpec = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="efficientnet-lite0 (the default), timm:NAME, torchvision:NAME, hf:FOLDER_OR_NAME, onnx:FILE, "
        "keras:FILE, or FILE.py:FACTORY. A name of timm or torchvision with @random has random weights.",
    ),
]
Checkpoint = Annotated[
    Path | None, typer.Option("--checkpoint", help="File of weights: safetensors, or a PyTorch state dict.")
]
Preprocess = Annotated[
    str | None,
    typer.Option(
        "--preprocess",
        help="Turn pictures into input, and name classes, as this model does: efficientnet-lite0, timm:NAME or "
        "torchvision:NAME. For files that do not say it.",
    ),
]
OutputKind = Annotated[
    str | None,
    typer.Option(
        "--output-kind",
        help="What the scores are, where they do not tell: logits, multilabel-logits, softmax, sigmoid or value.",
    ),
]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda or mps; chosen automatically if not given.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
