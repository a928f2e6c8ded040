"""Where models come from: reads a specification and lets the source that it names build the network."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from ..core.errors import ModelFileError, UnknownNameError, nearest
from . import keras_models, minilm, offline
from .checkpoints import apply_checkpoint, read_checkpoint
from .onnx_models import from_onnx
from .parts import Parts
from .transformers_models import from_transformers
from .user_files import from_file
from .zoos import Request, from_default, from_timm, from_torchvision

DEFAULT = offline.NAME
RANDOM_SUFFIX = "@random"
_ZOOS: dict[str, Callable[[Request], Parts]] = {"timm": from_timm, "torchvision": from_torchvision}
_FORMATS: dict[str, Callable[[str, str], Parts]] = {
    "hf": from_transformers,
    "onnx": lambda spec, name: from_onnx(spec, Path(name)),
    "keras": lambda spec, name: keras_models.from_keras(spec, Path(name)),
}
_SUFFIXES = {".onnx": "onnx", **dict.fromkeys(keras_models.SUFFIXES, "keras")}
_READS = (
    f"'{DEFAULT}', '{minilm.NAME}', 'timm:NAME', 'torchvision:NAME' (each of these two also with '{RANDOM_SUFFIX}'), "
    "'hf:FOLDER_OR_NAME', 'onnx:FILE', 'keras:FILE' or 'FILE.py:FACTORY'"
)


def build(spec: str | Path | None = None, checkpoint: str | Path | None = None) -> Parts:
    """Returns the network that a specification names, in eval mode on the CPU, and what is known about it.

    * `efficientnet-lite0` (also None): real ImageNet weights from an installed package, no download.
    * `timm:NAME`, `torchvision:NAME`: that library's pretrained weights, downloaded by it where it has to.
    * `hf:FOLDER_OR_NAME`: an image classifier of transformers, downloaded by it where it has to.
    * `onnx:FILE`, `keras:FILE`, or just a file that ends in .onnx, .keras or .h5: see `onnx_models`, `keras_models`.
    * `FILE.py:FACTORY`: runs the file and calls FACTORY(), which returns an nn.Module, a pair
      (nn.Module, preprocess), or a dict with 'model' and maybe 'preprocess' and 'labels'.

    With `checkpoint` the weights come from that file; a zoo's network takes its number of classes from it.
    The suffix `@random` on a name (`timm:resnet18@random`) asks for random weights, always the same ones. The
    caller's random state, default device and inference mode play no part and stay as they are.

    Raises:
        UnknownNameError: the specification, or the network, tag or factory in it, is not known.
        ModelFileError: a file cannot be used, or weights cannot be had or do not fit.
        MissingExtraError: a package that this kind of model needs is not installed.
    """
    spec = DEFAULT if spec is None else str(spec)
    file = None if checkpoint is None else Path(checkpoint)
    with _plain_torch():
        parts = _source(spec, file)
        parts.module.eval().to("cpu")
    return parts


def _source(spec: str, checkpoint: Path | None) -> Parts:
    prefix, colon, rest = spec.partition(":")
    kind = prefix if colon and prefix in _FORMATS else _SUFFIXES.get(Path(spec).suffix.lower(), "")
    if kind:
        return _whole(spec, kind, rest if kind == prefix else spec, checkpoint)
    python = re.fullmatch(r"(.+\.py):([^:/\\]*)", spec)
    if python and prefix not in _ZOOS:
        return _user_parts(spec, Path(python[1]), python[2], checkpoint)
    name, marked, after = (rest if colon else spec).partition(RANDOM_SUFFIX)
    if marked and checkpoint is not None:
        raise ModelFileError(
            f"{spec}: expected either '{RANDOM_SUFFIX}' or checkpoint=, given both; leave out the one you do not mean."
        )
    if name and not after:
        request = Request(spec.removesuffix(RANDOM_SUFFIX), name, bool(marked), checkpoint)
        if colon and prefix in _ZOOS:
            return replace(_ZOOS[prefix](request), name=spec)
        if not colon and name == DEFAULT:
            return replace(from_default(request), name=spec)
    raise UnknownNameError(_unknown(spec))


def _whole(spec: str, kind: str, name: str, checkpoint: Path | None) -> Parts:
    """Returns the model of a format that holds its own weights."""
    if not name:
        raise UnknownNameError(f"model: expected {_READS}, given {spec!r}. Name the file behind '{kind}:'.")
    if checkpoint is not None:
        raise ModelFileError(
            f"{spec}: expected no checkpoint=, since what '{kind}:' names holds its own weights; given "
            f"'{checkpoint}'. Leave it out."
        )
    return _FORMATS[kind](spec, name)


def _unknown(spec: str) -> str:
    """Returns what was expected instead of a specification that is of no known form."""
    bare = spec.partition("@")[0]
    prefix, colon, _ = bare.partition(":")
    hint = nearest(prefix + colon, [DEFAULT, minilm.NAME, *(f"{source}:" for source in (*_ZOOS, *_FORMATS))])
    if prefix in _ZOOS:
        hint = f" Write '{prefix}:NAME' or '{prefix}:NAME{RANDOM_SUFFIX}'."
    elif spec.endswith(".py"):
        hint = f" Name the function that builds the network too: '{spec}:build'."
    elif re.search(r"\.(pth|pt|ckpt|bin|safetensors)$", spec):
        hint = " Weights alone do not say what the network is: name it, and give this file as checkpoint=."
    elif re.fullmatch(r"[A-Za-z]\w*", bare):
        hint = hint or f" Say where it comes from: 'timm:{spec}' or 'torchvision:{spec}'."
    return f"model: expected {_READS}, given {spec!r}.{hint}"


def _user_parts(spec: str, file: Path, factory: str, checkpoint: Path | None) -> Parts:
    built = from_file(spec, file, factory)
    labels = built.labels
    notes: tuple[str, ...] = (f"built by {factory} of {file.name}",)
    if checkpoint is None:
        notes = (*notes, "weights as the factory left them: no checkpoint given")
    else:
        read = read_checkpoint(checkpoint)
        prefix = apply_checkpoint(built.module, read.state, spec)
        taken = (f"checkpoint: took {prefix!r} off the names",) if prefix else ()
        notes = (*notes, f"weights of the checkpoint {checkpoint.name}", *read.notes, *taken)
        labels = labels or read.labels
    return Parts(built.module, built.preprocessing, labels, spec, notes)


@contextlib.contextmanager
def _plain_torch() -> Iterator[None]:
    """Yields with weights made on the CPU as ordinary tensors, whatever mode or device the caller has set."""
    with torch.inference_mode(False), torch.device("cpu"):
        yield
