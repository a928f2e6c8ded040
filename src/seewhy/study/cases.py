"""From the user's input to cases: one row each, checked, with an id made from its content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core import tree
from ..core.errors import InputError, InputTypeError, NotFiniteError
from ..core.numbers import finite
from ..core.rows import Case, Facts
from ..models.images import open_picture
from ..models.model import AnyPreprocessing, Model

_PLACES: dict[type[nn.Module], int] = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}


def cases(model: Model, x: Any, seed: int) -> list[Case]:
    """Returns a case for each row of `x`: a tensor, array, picture, or a tuple or dict of tensors.

    All floating-point leaves are attributed. Raises InputTypeError or InputError for what cannot be explained.
    """
    inputs = tree.map_leaves(_plain, as_inputs(model, x))
    leaves = tree.leaves(inputs)
    attributed = tuple(path for path, leaf in leaves.items() if leaf.is_floating_point())
    _check(model, leaves, attributed)
    facts = Facts(model.value_range)
    rows = [tree.take(inputs, slice(row, row + 1)) for row in range(tree.row_count(inputs))]
    return [Case(content_id(row, model), row, attributed, seed, facts) for row in rows]


def as_inputs(model: Model, x: Any) -> tree.Inputs:
    """Returns `x` as a tree of tensors; arrays become tensors, pictures go through the preprocessing."""
    if isinstance(x, np.ndarray):
        return _from_array(x)
    if isinstance(x, Tensor):
        return x
    if isinstance(x, Mapping):
        return {name: _part(model, value) for name, value in x.items()}
    if isinstance(x, (tuple, list)):
        return tuple(_part(model, part) for part in x)
    if hasattr(x, "convert") and hasattr(x, "size"):
        return preprocessing_of(model)(open_picture(x))
    raise InputTypeError(
        f"x must be a tensor (N, C, H, W), an array, or a tuple or dict of them; given {type(x).__name__}. Image files "
        "go to seewhy.explain."
    )


def preprocessing_of(model: Model) -> AnyPreprocessing:
    """Returns how a picture becomes the model's input; raises InputTypeError where that is not known."""
    if model.preprocessing is None:
        raise InputTypeError(
            "Expected a tensor: this model has no preprocessing, so a picture cannot be turned into its input. "
            "Give the tensor, or say how: preprocess= of seewhy.wrap and seewhy.load (on the command line "
            "--preprocess), a function from a picture to a tensor or the name of a model to do as, such as "
            "'timm:resnet50'."
        )
    return model.preprocessing


def _from_array(x: np.ndarray[Any, Any]) -> Tensor:
    if isinstance(x, np.ma.MaskedArray):
        raise InputTypeError("x must be a plain array; given a masked one. Fill its gaps first: x.filled(value).")
    native = x.astype(x.dtype.newbyteorder("="), copy=True, order="C")
    try:
        return torch.from_numpy(native)
    except TypeError:
        raise InputTypeError(
            f"x must be an array of numbers; given one of dtype {x.dtype}. Convert it: x.astype(numpy.float32)."
        ) from None


def _plain(path: str, leaf: Tensor) -> Tensor:
    """Returns a leaf without its graph, so that no result keeps the caller's graph alive.

    Raises InputTypeError for tensors whose elements cannot be read one by one.
    """
    name = f"x[{path!r}]" if path else "x"
    if leaf.is_meta:
        raise InputTypeError(f"{name} must hold values; given a tensor on the meta device. Make a real one.")
    if leaf.layout is not torch.strided or leaf.is_nested or leaf.is_quantized:
        given = "nested" if leaf.is_nested else "quantised" if leaf.is_quantized else str(leaf.layout)
        raise InputTypeError(
            f"{name} must be a dense tensor; given a {given} one. Use to_dense(), to_padded_tensor() or dequantize()."
        )
    return leaf.detach()


def _part(model: Model, part: Any) -> tree.Inputs:
    """Returns one of several inputs; flags and numbers are constants."""
    return part if isinstance(part, (bool, int, float, type(None))) else as_inputs(model, part)


def _check(model: Model, leaves: Mapping[str, Tensor], attributed: tuple[str, ...]) -> None:
    if not leaves:
        raise InputTypeError("x must hold at least one tensor; given none. Make one of numbers: torch.tensor(numbers).")
    counts = {path: len(leaf) for path, leaf in leaves.items() if leaf.dim()}
    if len(set(counts.values())) > 1:
        raise InputError(f"All inputs must have the same number of rows on axis 0; given {counts}.")
    for path, leaf in leaves.items():
        name = f"x[{path!r}]" if path else "x"
        if leaf.is_complex():
            raise InputTypeError(
                f"{name} must be real; given {leaf.dtype}. Explain its real and imaginary parts as two channels."
            )
        if leaf.dim() == 0 and path in attributed:
            raise InputError(f"{name} must have a batch axis; given a single number. Use {name}[None].")
        if leaf.is_floating_point() and leaf.numel() and not finite(leaf):
            bad = int((~torch.isfinite(leaf)).sum())
            what = "NaN" if bool(torch.isnan(leaf).any()) else "infinite values"
            raise NotFiniteError(
                f"{name} must be finite; it holds {what} in {bad} of {leaf.numel()} places. Clean the input first."
            )
    if not attributed:
        kinds = ", ".join(f"{path or 'x'}: {leaf.dtype}" for path, leaf in leaves.items())
        raise InputTypeError(
            f"x must hold floating-point values to attribute to; given {kinds}. Scale a picture as the network "
            "expects it (x.float() / 255 and its normalisation)."
        )
    if len(leaves) == 1:
        _check_batch_axis(model, next(iter(leaves.values())))


def _check_batch_axis(model: Model, x: Tensor) -> None:
    """Raises InputError where a convolutional network is given a picture without its batch axis.

    torch's convolutions take that silently, and the first axis would be explained as the batch.
    """
    places = (_PLACES[kind] for m in model.module.modules() for kind in _PLACES if isinstance(m, kind))
    first = next(places, None)
    if first is not None and x.dim() == first + 1 and all(other == first for other in places):
        axes = {1: "(N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}[first]
        raise InputError(f"x must have a batch axis, {axes}; given shape {tuple(x.shape)}. Use x[None].")


def content_id(row: tree.Inputs, model: Model) -> str:
    """Returns an id made from one row's content, values that are no tensors too, and how pictures are preprocessed."""
    digest = hashlib.sha256(getattr(model.preprocessing, "key", "").encode())
    for path, value in tree.constants(row):
        digest.update(f"{path}:{value};".encode())
    for path, leaf in tree.leaves(row).items():
        digest.update(f"{path}:{leaf.dtype}:{tuple(leaf.shape)};".encode())
        raw = leaf.cpu().resolve_conj().resolve_neg().reshape(-1).contiguous()
        content: Any = raw.view(torch.uint8).numpy() if raw.numel() else b""
        digest.update(content)
    return digest.hexdigest()[:32]
