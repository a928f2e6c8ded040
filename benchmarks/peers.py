"""Other libraries' versions of the methods, each called as its own manual does, built outside the timing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import captum.attr
import pytorch_grad_cam
import torch
import torchcam.methods
from torch import Tensor

from .harness import Call, Contender, contender
from .subject import LAYER

CAPTUM = {
    "saliency": "Saliency",
    "input-x-gradient": "InputXGradient",
    "guided-backprop": "GuidedBackprop",
    "grad-cam": "LayerGradCam",
}
GRAD_CAM = {
    "grad-cam": "GradCAM",
    "grad-cam++": "GradCAMPlusPlus",
    "xgrad-cam": "XGradCAM",
    "layer-cam": "LayerCAM",
    "hires-cam": "HiResCAM",
}
TORCHCAM = {
    "cam": "CAM",
    "grad-cam": "GradCAM",
    "grad-cam++": "GradCAMpp",
    "xgrad-cam": "XGradCAM",
    "layer-cam": "LayerCAM",
}
LIBRARIES = {"captum": CAPTUM, "pytorch-grad-cam": GRAD_CAM, "torchcam": TORCHCAM}


def key(library: str, method: str) -> str:
    """Returns the name under which a library's method is timed."""
    return f"{library} {method}"


def versions_of(method: str) -> dict[str, str]:
    """Returns the timed names of a method, by library that has it."""
    return {library: key(library, method) for library, known in LIBRARIES.items() if method in known}


def contenders(network: Any, x: Tensor) -> list[Contender]:
    """Returns every peer's methods on the same network and input."""
    top = int(network(x).argmax())
    makers: dict[str, Callable[[str], Contender]] = {
        "captum": lambda method: _captum(network, x, method, top),
        "pytorch-grad-cam": lambda method: _pytorch_grad_cam(network, x, method),
        "torchcam": lambda method: _torchcam(network, x, method),
    }
    return [makers[library](method) for library, known in LIBRARIES.items() for method in known]


def _captum(network: Any, x: Tensor, method: str, top: int) -> Contender:
    """Captum wants the class told, and is told it for nothing."""
    kind = getattr(captum.attr, CAPTUM[method])
    layer = [network.get_submodule(LAYER)] if "Layer" in CAPTUM[method] else []
    explainer = kind(network, *layer)

    def call() -> object:
        leaf = x.detach().clone().requires_grad_()
        return explainer.attribute(leaf, target=top)

    return contender(key("captum", method), call)


def _pytorch_grad_cam(network: Any, x: Tensor, method: str) -> Contender:
    @contextmanager
    def open_() -> Iterator[Call]:
        extractor = getattr(pytorch_grad_cam, GRAD_CAM[method])(network, [network.get_submodule(LAYER)])
        with extractor:
            yield lambda: extractor(input_tensor=x, targets=None)
        network.zero_grad(set_to_none=True)  # it leaves gradients in the parameters

    return Contender(key("pytorch-grad-cam", method), open_)


def _torchcam(network: Any, x: Tensor, method: str) -> Contender:
    """The original CAM needs no gradient, and its manual runs it without."""

    @contextmanager
    def open_() -> Iterator[Call]:
        head = ["classifier"] if method == "cam" else []
        with getattr(torchcam.methods, TORCHCAM[method])(network, LAYER, *head) as extractor:

            def call() -> object:
                with torch.inference_mode(method == "cam"):
                    output = network(x)
                return extractor(output.argmax(1).item(), output)

            yield call

    return Contender(key("torchcam", method), open_)
