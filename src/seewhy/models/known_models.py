"""Preprocessing and labels of a model that is known by name, for a network that was trained as it was."""

from __future__ import annotations

from typing import Any

from ..core.errors import UnknownNameError, nearest
from . import offline
from .labels import imagenet_labels
from .preprocess import Preprocessing


def known_preprocessing(spec: str) -> tuple[Preprocessing, tuple[str, ...] | None]:
    """Returns the preprocessing and the labels of the model that a specification names; no weights are read.

    spec: "efficientnet-lite0", "timm:NAME" or "torchvision:NAME", as `seewhy.load` takes them.

    Raises UnknownNameError for any other text.
    """
    prefix, _, name = spec.partition(":")
    if spec == offline.NAME:
        return _timm(spec, offline.ARCHITECTURE)
    if prefix == "timm" and name:
        return _timm(spec, name)
    if prefix == "torchvision" and name:
        return _torchvision(spec, name)
    raise UnknownNameError(
        f"preprocess: expected a function, or the name of a model whose preprocessing to use: '{offline.NAME}', "
        f"'timm:NAME' or 'torchvision:NAME'; given {spec!r}.{nearest(spec, [offline.NAME, 'timm:', 'torchvision:'])}"
    )


def _timm(spec: str, name: str) -> tuple[Preprocessing, tuple[str, ...] | None]:
    import timm
    from timm.data import infer_imagenet_subset, resolve_data_config

    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        known = timm.list_models()
        raise UnknownNameError(
            f"preprocess: {spec}: expected the name of one of timm's {len(known)} networks, given {name!r}."
            f"{nearest(architecture, known)}"
        )
    found: Any = timm.get_pretrained_cfg(name)
    config: dict[str, Any] = {} if found is None else found.to_dict()
    labels = imagenet_labels() if infer_imagenet_subset(config) == "imagenet-1k" else None
    return Preprocessing.from_timm(resolve_data_config(pretrained_cfg=config)), labels


def _torchvision(spec: str, name: str) -> tuple[Preprocessing, tuple[str, ...] | None]:
    from torchvision import models

    known = models.list_models()
    if name not in known:
        raise UnknownNameError(
            f"preprocess: {spec}: expected the name of one of torchvision's {len(known)} networks, given {name!r}."
            f"{nearest(name, known)}"
        )
    weights: Any = models.get_model_weights(name).DEFAULT
    names = tuple(weights.meta.get("categories", ()))
    return Preprocessing.from_torchvision(weights), (imagenet_labels() if len(names) == 1000 else names) or None
