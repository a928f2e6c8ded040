"""What is measured on: the default network, photographs, and the bare passes that methods are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import seewhy
from seewhy.engine.memory import BatchSize
from seewhy.models.images import open_picture

LAYER = "bn2"
"""The layer that class activation maps of EfficientNet-Lite0 use: what `forward_features` returns."""
SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True, slots=True)
class Photo:
    name: str
    x: Tensor


@dataclass(frozen=True, slots=True)
class Subject:
    """The model and its pictures; `source` says in words where these come from, `folder` is that of --photos."""

    model: seewhy.Model
    photos: list[Photo]
    source: str
    folder: Path | None = None

    @property
    def network(self) -> Any:
        """The network itself, as every contender gets it."""
        return self.model.module

    @property
    def x(self) -> Tensor:
        """The first photograph as model input (1, 3, 224, 224)."""
        return self.photos[0].x

    def batch(self, count: int) -> Tensor:
        """Returns as many photographs as one input."""
        return torch.cat([photo.x for photo in self.photos[:count]])


def load_subject(count: int, folder: Path | None) -> Subject:
    """Returns the default model with `count` photographs: of a folder, or those that packages bring along."""
    model = seewhy.load(device="cpu")
    source: dict[str, Any]
    if folder is None:
        source = dict(_packaged(count))
        text = "photographs of scikit-image, scikit-learn and matplotlib, then their mirror images and centres"
    else:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if len(files) < count:
            raise SystemExit(f"--photos: expected a folder with at least {count} pictures; it has {len(files)}.")
        source = {path.name: path for path in files[:: len(files) // count][:count]}
        text = f"photographs of a folder given with --photos, evenly picked from its {len(files)}"
    preprocessing: Any = model.preprocessing
    photos = [Photo(name, preprocessing(open_picture(picture))) for name, picture in source.items()]
    return Subject(model, photos, f"{count} {text}", folder)


def chelsea(model: seewhy.Model) -> Tensor:
    """Returns scikit-image's cat as model input."""
    preprocessing: Any = model.preprocessing
    made: Tensor = preprocessing(open_picture(dict(_packaged(1))["chelsea"]))
    return made


def _packaged(count: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    from matplotlib import cbook
    from skimage import data
    from sklearn.datasets import load_sample_image

    pictures = {name: getattr(data, name)() for name in ("chelsea", "coffee", "astronaut", "rocket")}
    pictures |= {name: load_sample_image(f"{name}.jpg") for name in ("china", "flower")}
    pictures["grace_hopper"] = np.asarray(open_picture(str(cbook.get_sample_data("grace_hopper.jpg", False))).pixels)
    changes = {"": lambda p: p, " mirrored": lambda p: p[:, ::-1], " centre": _centre}
    made = [(name + how, change(picture)) for how, change in changes.items() for name, picture in pictures.items()]
    yield from made[:count]


def _centre(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns the middle 60 % of a picture."""
    height, width = (size // 5 for size in picture.shape[:2])
    return picture[height:-height, width:-width]


def gradient_batches(model: seewhy.Model) -> dict[bool, BatchSize]:
    """Returns what the engine found out about batches of input gradients: on the network itself, on its copy."""
    return {
        own: size
        for (_, entry, view, record, _, (own, _)), size in model.memo.batches.items()
        if entry is None and view is None and record.input_gradient and not record.layers
    }


def scored(output: Tensor) -> Tensor:
    """Returns the sum of the rows' top scores."""
    return output.gather(1, output.argmax(1, keepdim=True)).sum()


def gradient_of(score: Tensor, leaf: Tensor, again: bool = False) -> Tensor:
    """Returns the gradient of a score; `again` keeps the graph for another one."""
    (gradient,) = torch.autograd.grad(score, leaf, retain_graph=again)
    return gradient


def bare_gradient(network: nn.Module, x: Tensor) -> Tensor:
    """Returns the gradient of the top scores with respect to the input: forward and backward, nothing else."""
    leaf = x.detach().clone().requires_grad_()
    return gradient_of(scored(network(leaf)), leaf)


def bare_forward(network: nn.Module, x: Tensor) -> Tensor:
    """Returns the network's answer, without autograd."""
    with torch.no_grad():
        answer: Tensor = network(x)
    return answer


def bare_layer(network: Any, x: Tensor) -> Tensor:
    """Returns the gradient at the layer: no autograd in front of it, forward and backward behind it."""
    with torch.no_grad():
        activation = network.forward_features(x)
    activation.requires_grad_()
    return gradient_of(scored(network.forward_head(activation)), activation)


def bare_targets(network: nn.Module, x: Tensor, classes: list[int]) -> list[Tensor]:
    """Returns the input gradients of several classes: one forward, a backward for each."""
    leaf = x.detach().clone().requires_grad_()
    output = network(leaf)
    return [gradient_of(output[0, k], leaf, again=True) for k in classes]


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Switches parameter gradients off for a while."""
    wanted = [p for p in network.parameters() if p.requires_grad]
    for p in wanted:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in wanted:
            p.requires_grad_(True)
