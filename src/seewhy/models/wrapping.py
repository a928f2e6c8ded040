"""From a network, or the name of one, to a `Model`: what `seewhy.wrap` and `seewhy.load` do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import InputTypeError, SettingError
from .black_box import BlackBox, name_of
from .derived import Derived
from .functions import function_box
from .given import best_device, given_device, given_labels, given_range
from .keras_models import adapted, advice, behind, is_keras_model
from .kinds import OutputKind, check_kind
from .known_models import known_preprocessing
from .model import AnyPreprocessing, Model, unwrapped
from .outputs import Selector
from .preprocess import Preprocessing
from .sources import build
from .text_loading import load_text
from .text_models import text_model
from .transformers_models import is_image_processor, is_transformers_model, labels_of, processor_steps
from .transforms import CallablePreprocessing

_ASSUMED = "preprocessing assumed"
"""How notes begin that no longer hold where a preprocessing is given."""


def wrap(  # noqa: PLR0913 - everything that may be known about somebody's network
    network: Any,
    preprocess: Any = None,
    labels: Sequence[str] | None = None,
    value_range: tuple[Any, Any] | None = None,
    *,
    output: Selector = None,
    output_kind: str | None = None,
    device: str | torch.device | None = None,
    name: str | None = None,
    arrays: bool | None = None,
    logits: bool = False,
    tokenizer: Any = None,
    task: str | None = None,
) -> Model:
    """Returns a `Model` around any nn.Module, Keras 3 model, or function of a batch; it is never changed itself.

    preprocess: how a picture becomes the input: a `Preprocessing`, torchvision or timm transforms, an image processor
        of transformers, any function from a PIL image to a tensor (C, H, W), or the name of a model whose
        preprocessing (and labels) to use, such as "timm:resnet50".
    labels: class names by index. value_range: what black and white are in x, a number or one per channel; known
        without saying where `preprocess` tells it.
    output: which part of the answer holds the scores: a key, a position, or a function; needed only where that
        is ambiguous. output_kind: "logits", "multilabel-logits", "softmax", "sigmoid" or "value"; told from the
        output if not given.
    device: None leaves the network where it is; another device explains a copy of it there, made now.
    arrays: for a function, True gives it NumPy arrays and False tensors (N, ...). None reads the annotation of its
        first parameter; without one, the first call tries tensors, then arrays.
    logits: for a Keras model, explains what its last softmax or sigmoid is given.
    tokenizer: a tokenizer of transformers, which makes a text model of the network: it must take inputs_embeds= and
        attention_mask=, and say by get_input_embeddings() which layer embeds its tokens. task: what it was made for,
        "encoder", "classifier", "question-answering", "masked-lm", "seq2seq-lm" or "causal-lm"; told from the names of
        transformers' own classes.

    A function is explained by methods that need scores only. One that takes a single row at a time wants
    `Options(batch_size=1)`.

    Raises InputTypeError for something that is no network, SettingError for settings that do not fit.
    """
    if isinstance(network, Model):
        return network
    if isinstance(network, Derived):
        return network.as_model()
    device, labels, own_range = given_device(device), given_labels(labels), given_range(value_range)
    if tokenizer is not None or task is not None:
        return _text(network, tokenizer, task, labels=labels, device=device, name=name)
    _check_settings(network, arrays, logits)
    module, kind = _network(network, arrays, logits, device)
    steps, usual = _preprocessing(preprocess, own_range)
    if labels is None:
        labels = usual or (labels_of(network) if is_transformers_model(network) else None)
    return Model(
        module=on_device(module, device),
        name=name or _name(network, module),
        preprocessing=steps,
        labels=None if labels is None else tuple(labels),
        output=output,
        kind=check_kind(output_kind) or kind,
        value_range=own_range or _range_of(steps),
        notes=advice(module, kind),
    )


def load(  # noqa: PLR0913 - as wrap: what the file itself does not say
    spec: str | Path | None = None,
    checkpoint: str | Path | None = None,
    *,
    preprocess: Any = None,
    labels: Sequence[str] | None = None,
    value_range: tuple[Any, Any] | None = None,
    output: Selector = None,
    output_kind: str | None = None,
    logits: bool = False,
    device: str | torch.device | None = None,
) -> Model:
    """Returns the model that `spec` names, with its own preprocessing and labels.

    spec: "efficientnet-lite0" (the default: real ImageNet weights from the extra `demo`, no download),
        "minilm" (a sentence encoder, from the extra `text`), "timm:NAME", "torchvision:NAME" (with "@random" for
        random weights), "hf:FOLDER_OR_NAME" (transformers: pictures' classifiers, and any text model),
        "onnx:FILE", "keras:FILE", "FILE.py:FACTORY", or a path that ends in .onnx, .keras or .h5.
    checkpoint: a file of weights, safetensors or one that torch.load reads with weights_only=True.
    preprocess, labels, value_range, output, output_kind, logits: as `wrap` takes them, in the place of the model's own;
        ONNX and Keras files seldom say how pictures become their input.
    device: None takes cuda, mps or cpu, the first that is there.

    Raises UnknownNameError, ModelFileError or MissingExtraError.
    """
    chosen, labels, own_range = given_device(device) or best_device(), given_labels(labels), given_range(value_range)
    text = None if checkpoint is not None else load_text(str(spec), chosen)
    if text is not None:
        _check_pictures_only(spec, preprocess, value_range, output, output_kind, logits or None)
        return text if labels is None else replace(text, labels=labels)
    parts = build(spec, checkpoint)
    network = behind(parts.module) if logits else parts.module
    _check_settings(network, None, logits)
    steps, usual = (parts.preprocessing, parts.labels) if preprocess is None else _preprocessing(preprocess, own_range)
    names = labels if labels is not None else usual or parts.labels
    module, kind = _network(network, None, logits, None)
    known = kind if logits else parts.kind or kind
    return Model(
        module=module.eval().to(chosen),
        name=parts.name,
        preprocessing=steps,
        labels=None if names is None else tuple(names),
        output=output,
        kind=check_kind(output_kind) or known,
        value_range=own_range or _range_of(steps),
        notes=(
            *(note for note in parts.notes if preprocess is None or not note.startswith(_ASSUMED)),
            *advice(module, known),
        ),
    )


def _check_pictures_only(spec: object, *settings: object) -> None:
    if any(setting is not None for setting in settings):
        raise SettingError(
            f"preprocess, value_range, output, output_kind and logits are for other models; {spec} reads text. Leave "
            "them out."
        )


def _text(network: Any, tokenizer: Any, task: str | None, **more: Any) -> Model:
    """Returns a network with its tokenizer as a text model."""
    if not isinstance(network, nn.Module):
        raise InputTypeError(f"A text model is a torch.nn.Module; given {type(network).__name__}.")
    if tokenizer is None or not hasattr(tokenizer, "is_fast"):
        raise SettingError(
            f"tokenizer= takes a tokenizer of transformers; given {type(tokenizer).__name__}. Load one with "
            "transformers.AutoTokenizer.from_pretrained(folder)."
        )
    module = on_device(network, more.pop("device"))
    name = more["name"] or type(network).__name__
    return text_model(module, tokenizer, task, name=name, labels=more["labels"])


def on_device(module: nn.Module, device: str | torch.device | None) -> nn.Module:
    """Returns the module itself, or a copy on another device; the given one is not moved."""
    wanted = given_device(device)
    if wanted is None or isinstance(module, BlackBox):
        return module
    tensors = (*module.parameters(), *module.buffers())
    if all(tensor.device.type == wanted.type for tensor in tensors):
        return module
    return copy.deepcopy(module).to(wanted)


def _network(
    network: Any, arrays: bool | None, logits: bool, device: str | torch.device | None
) -> tuple[nn.Module, OutputKind | None]:
    """Returns the module that passes run on, and the kind of its output where that is known."""
    if is_keras_model(network):
        return adapted(network, logits)
    if isinstance(network, nn.Module):
        return unwrapped(network), None
    function: Callable[..., Any] = network
    return function_box(function, arrays, device), None


def _check_settings(network: Any, arrays: bool | None, logits: bool) -> None:
    keras = is_keras_model(network)
    module = keras or isinstance(network, nn.Module)
    if not module and (isinstance(network, type) or not callable(network)):
        made = ", the class; make one of it" if isinstance(network, type) else ""
        given = network.__name__ if isinstance(network, type) else type(network).__name__
        raise InputTypeError(
            "Expected a torch.nn.Module, a Keras 3 model, or a function from a batch to its scores; given "
            f"{given}{made}. Files and names of models go to seewhy.load."
        )
    if arrays is not None and module:
        raise SettingError(f"arrays= is for functions; given a {type(network).__name__}. Leave it out.")
    if logits and not keras:
        raise SettingError(
            f"logits=True is for Keras models; given {type(network).__name__}. Leave it out, and choose the scale by "
            "the target: seewhy.targets.Class(index, of='logit')."
        )


def _name(network: Any, module: nn.Module) -> str:
    if isinstance(module, BlackBox) and not is_keras_model(network):
        return name_of(network)
    return type(network if is_keras_model(network) else module).__name__


def _preprocessing(steps: Any, value_range: Any) -> tuple[AnyPreprocessing | None, tuple[str, ...] | None]:
    """Returns how a picture becomes the input, and labels where a model's name was given."""
    if steps is None or isinstance(steps, (Preprocessing, CallablePreprocessing)):
        return steps, None
    if isinstance(steps, str):
        return known_preprocessing(steps)
    if is_image_processor(steps):
        return processor_steps(steps), None
    try:
        return Preprocessing.from_torchvision(steps), None
    except InputTypeError:
        return CallablePreprocessing(steps, value_range), None


def _range_of(steps: AnyPreprocessing | None) -> tuple[Tensor, Tensor] | None:
    """Returns what black and white are behind a preprocessing, where it tells."""
    known = None if steps is None else steps.value_range
    return None if known is None else (known[0].reshape(-1).float(), known[1].reshape(-1).float())
