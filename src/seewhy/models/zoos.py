"""Networks by name, from timm and torchvision, with pretrained weights, random ones or a checkpoint's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ..core.errors import InputTypeError, ModelFileError, SettingError, UnknownNameError, nearest
from . import offline
from .checkpoints import Checkpoint, apply_checkpoint, class_count, read_checkpoint
from .labels import imagenet_labels
from .parts import Parts, seeded
from .preprocess import Preprocessing

RANDOM = "random weights (seed 0), as asked for: maps show mechanics, not what a trained network sees"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a zoo: the whole `spec`, the network's `name` in it, and where its weights come from.

    With `random` false and no `checkpoint`, the weights are the zoo's pretrained ones.
    """

    spec: str
    name: str
    random: bool = False
    checkpoint: Path | None = None

    @property
    def pretrained(self) -> bool:
        """Whether the zoo's own weights are wanted."""
        return not self.random and self.checkpoint is None


@dataclass(frozen=True, slots=True)
class _Filled:
    """A network with random or checkpoint weights; `classes` where the checkpoint changed their number."""

    module: nn.Module
    read: Checkpoint | None
    classes: int | None
    notes: tuple[str, ...]


def from_default(request: Request) -> Parts:
    """Returns the default model: EfficientNet-Lite0 (Tan and Le 2019), trained on ImageNet-1k."""
    if not request.pretrained:
        return _timm_parts(request, _filled(request, _timm_maker(offline.ARCHITECTURE)))
    with seeded():
        module = _timm_maker(offline.ARCHITECTURE)(None)
    offline.load_default_weights(module)
    return _timm_parts(request, module, offline.SOURCE)


def from_timm(request: Request) -> Parts:
    """Returns a network of timm, pretrained (by default or by tag) unless the request says otherwise.

    Raises:
        UnknownNameError: timm has no such network or tag.
        ModelFileError: the pretrained weights cannot be had, or the checkpoint does not fit.
    """
    import timm

    _check_timm_name(request)
    if not request.pretrained:
        return _timm_parts(request, _filled(request, _timm_maker(request.name)))
    if not timm.is_model_pretrained(request.name):
        raise ModelFileError(
            f"{request.spec}: expected pretrained weights, but timm has none for this network; give "
            f"checkpoint=, or ask for random weights with '{request.spec}@random'."
        )
    module = _downloaded(request, lambda: timm.create_model(request.name, pretrained=True))
    config: Any = module.pretrained_cfg
    return _timm_parts(request, module, f"timm's pretrained weights, tag {config.get('tag') or 'none'}")


def from_torchvision(request: Request) -> Parts:
    """Returns a network of torchvision, with its DEFAULT weights unless the request says otherwise.

    Raises:
        UnknownNameError: torchvision has no such network.
        ModelFileError: the pretrained weights cannot be had, or the checkpoint does not fit.
    """
    from torchvision import models

    known = models.list_models()
    if request.name not in known:
        raise UnknownNameError(
            f"{request.spec}: expected the name of one of torchvision's {len(known)} networks, given "
            f"{request.name!r}.{nearest(request.name, known)}"
        )
    weights = _torchvision_weights(models.get_model_weights(request.name), request.checkpoint)
    categories = tuple(weights.meta.get("categories", ()))
    usual = imagenet_labels() if len(categories) == 1000 else categories

    def preprocessing() -> Preprocessing:
        return Preprocessing.from_torchvision(weights)

    if request.pretrained:
        module = _downloaded(request, lambda: models.get_model(request.name, weights=weights))
        note = f"torchvision's pretrained weights {weights.name}"
        return _parts(request, module, usual or None, (note,), preprocessing)
    filled = _filled(request, _torchvision_maker(request.name))
    labels, notes = _labels(filled, usual)
    notes = (*notes, f"preprocessing assumed: that of {weights}")
    if filled.read is not None and getattr(filled.module, "transform_input", None) is False:
        notes = (*notes, "transform_input is False; torchvision's own weights for this network want True")
    return _parts(request, filled.module, labels, (*filled.notes, *notes), preprocessing)


def _timm_maker(name: str) -> Callable[[int | None], nn.Module]:
    import timm

    def make(classes: int | None) -> nn.Module:
        sized = {} if classes is None else {"num_classes": classes}
        network: nn.Module = timm.create_model(name, pretrained=False, **sized)
        return network

    return make


def _torchvision_weights(known: Any, checkpoint: Path | None) -> Any:
    """Returns the weights that a file of torchvision's own name holds, else the default ones.

    Releases of weights for one network differ in how pictures are resized.
    """
    named = [] if checkpoint is None else [one for one in known if one.url.rpartition("/")[2] == checkpoint.name]
    return named[0] if named else known.DEFAULT


def _torchvision_maker(name: str) -> Callable[[int | None], nn.Module]:
    from torchvision import models

    parameters = inspect.signature(models.get_model_builder(name)).parameters
    # A detector would otherwise fetch a pretrained backbone although nothing pretrained was asked for.
    fixed: dict[str, Any] = {"weights_backbone": None} if "weights_backbone" in parameters else {}
    if name in ("googlenet", "inception_v3"):  # what they do anyway, after a warning
        fixed["init_weights"] = True

    def make(classes: int | None) -> nn.Module:
        sized = fixed if classes is None else {**fixed, "num_classes": classes}
        network: nn.Module = models.get_model(name, weights=None, **sized)
        return network

    return make


def _filled(request: Request, make: Callable[[int | None], nn.Module]) -> _Filled:
    """Returns the network with random weights, or with the checkpoint's and as many classes as that has."""
    with seeded():
        module = make(None)
    if request.checkpoint is None:
        return _Filled(module, None, None, (RANDOM,))
    read = read_checkpoint(request.checkpoint)
    classes = class_count(module, read.state)
    if classes is not None:
        with seeded():
            module = make(classes)
    prefix = apply_checkpoint(module, read.state, request.spec)
    notes = [f"weights of the checkpoint {request.checkpoint.name}", *read.notes]
    if prefix:
        notes.append(f"checkpoint: took {prefix!r} off the names")
    if classes is not None:
        notes.append(f"{classes} classes, as in the checkpoint's last layer")
    return _Filled(module, read, classes, tuple(notes))


def _labels(filled: _Filled, usual: tuple[str, ...]) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Returns the checkpoint's own labels, else the usual ones if they can be right, and what was assumed."""
    if filled.read is None:
        return None, ()
    outputs = filled.classes if filled.classes is not None else len(usual)
    own = filled.read.labels
    if own is None:
        if filled.classes is not None or not usual:
            return None, ()
        return usual, (f"labels assumed: the usual ones for this network's {outputs} classes",)
    if outputs and len(own) != outputs:
        return None, (f"the checkpoint's {len(own)} labels were left out: the network has {outputs} classes",)
    return own, ()


def _timm_parts(request: Request, filled: _Filled | nn.Module, note: str = "") -> Parts:
    from timm.data import infer_imagenet_subset, resolve_model_data_config

    module = filled if isinstance(filled, nn.Module) else filled.module

    def preprocessing() -> Preprocessing:
        return Preprocessing.from_timm(resolve_model_data_config(module))

    usual = imagenet_labels() if infer_imagenet_subset(module) == "imagenet-1k" else ()
    if isinstance(filled, nn.Module):
        return _parts(request, module, usual or None, (note,), preprocessing)
    labels, notes = _labels(filled, usual)
    notes = (*filled.notes, *notes, "preprocessing assumed: timm's for this network")
    return _parts(request, module, labels, notes, preprocessing)


def _parts(
    request: Request,
    module: nn.Module,
    labels: tuple[str, ...] | None,
    notes: tuple[str, ...],
    preprocessing: Callable[[], Preprocessing],
) -> Parts:
    """Returns the parts; a network that takes no picture (a video, five bands) has no preprocessing."""
    try:
        return Parts(module, preprocessing(), labels, request.spec, notes)
    except (SettingError, InputTypeError) as error:
        return Parts(module, None, labels, request.spec, (*notes, f"no preprocessing: {error}"))


def _check_timm_name(request: Request) -> None:
    import timm

    architecture, _, tag = request.name.partition(".")
    if not timm.is_model(architecture):
        known = timm.list_models()
        raise UnknownNameError(
            f"{request.spec}: expected the name of one of timm's {len(known)} networks, given "
            f"{request.name!r}.{nearest(architecture, known)}"
        )
    tagged = timm.list_pretrained(architecture + ".*")
    if tag and request.name not in tagged:
        tags = ", ".join(tagged) or "none"
        raise UnknownNameError(
            f"{request.spec}: expected a tag of timm's {architecture}, given {tag!r}; it has {tags}."
        )


def _downloaded(request: Request, make: Callable[[], Any]) -> nn.Module:
    try:
        with seeded():
            network: nn.Module = make()
    except MemoryError:
        raise
    except Exception as error:  # each hub client fails in its own ways
        reason = str(error).strip().partition("\n")[0][:160]
        raise ModelFileError(
            f"{request.spec}: expected to find its pretrained weights or to download them, but the network "
            f"or the hub is unavailable or failed ({type(error).__name__}: {reason}); go online once (they "
            f"are kept), give checkpoint=, or ask for random weights with '{request.spec}@random'."
        ) from error
    return network
