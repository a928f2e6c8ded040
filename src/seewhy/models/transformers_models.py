"""Image classifiers of transformers: a folder or a name to a network, its labels, its processor as preprocessing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..core.errors import InputTypeError, ModelFileError, SettingError
from .extras import required
from .images import Picture
from .labels import as_labels
from .parts import Parts, seeded
from .preprocess import Preprocessing
from .transforms import CallablePreprocessing

_SAME = 1e-4
"""How far two preprocessings may differ and be the same: far below one of 256 levels."""
_ALIKE = 1.0
"""How far they may differ on average, in levels of 256, and still resize and crop alike."""
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}  # as Pillow numbers them


def from_transformers(spec: str, name: str) -> Parts:
    """Returns the image classifier in a folder, or on the hub under a name, as transformers loads it.

    Its own code is never run (`trust_remote_code` stays off). Raises MissingExtraError without transformers,
    ModelFileError where there is no such classifier, or it cannot be had.
    """
    transformers = required("transformers", "transformers", spec)
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ModelFileError(
            f"{spec}: expected a folder that save_pretrained wrote, but '{folder}' has no config.json; name the "
            "folder of the model itself."
        )
    try:
        with seeded():
            module: nn.Module = transformers.AutoModelForImageClassification.from_pretrained(name)
    except MemoryError:
        raise
    except Exception as error:  # the hub's client, and each kind of damage, fail in their own ways
        reason = " ".join(str(error).split())[:200]
        raise ModelFileError(
            f"{spec}: expected a network that transformers {transformers.__version__} can load from a folder or the "
            "hub, for pictures an image classifier, for texts a model whose config.json names a text architecture "
            f"({type(error).__name__}: {reason}). Check the name, go online once (it is kept), or name a folder that "
            "holds config.json and the weights, for texts also the tokenizer's files."
        ) from error
    steps, notes = _preprocessing(transformers, name)
    return Parts(module, steps, labels_of(module), spec, (f"loaded by transformers {transformers.__version__}", *notes))


def is_transformers_model(value: object) -> bool:
    """True for a network of transformers; imports nothing."""
    return _is(value, "PreTrainedModel")


def is_image_processor(value: object) -> bool:
    """True for an image processor of transformers; imports nothing."""
    return _is(value, "ImageProcessingMixin", "transformers.image_processing_base")


def _is(value: object, kind: str, home: str = "transformers.modeling_utils") -> bool:
    known = getattr(sys.modules.get(home), kind, None)
    return isinstance(known, type) and isinstance(value, known)


def labels_of(module: Any) -> tuple[str, ...] | None:
    """Returns the labels in a network's configuration; None where they are only numbers."""
    names = getattr(module.config, "id2label", None)
    try:
        labels = as_labels(dict(names or {}))
    except ModelFileError:
        return None
    return None if all(label == f"LABEL_{index}" for index, label in enumerate(labels)) else labels


def _preprocessing(
    transformers: Any, name: str
) -> tuple[Preprocessing | CallablePreprocessing | None, tuple[str, ...]]:
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(name)
    except Exception as error:  # no preprocessor_config.json, or a processor that this installation cannot build
        reason = " ".join(str(error).split())[:160]
        return None, (f"no preprocessing: transformers finds no image processor ({reason}); give preprocess=",)
    steps = processor_steps(processor)
    plain = isinstance(steps, Preprocessing)
    return steps, () if plain else (f"preprocessing: transformers' own {type(processor).__name__}",)


def processor_steps(processor: Any) -> Preprocessing | CallablePreprocessing:
    """Returns what an image processor computes, as our own preprocessing where that gives the same numbers.

    Proven on one picture, to 1e-4. Where it differs (processors that resize tensors instead of pictures round
    otherwise, by up to one of 256 levels), the processor itself is called; the way back to the photograph is known
    to a pixel wherever its steps are those of a `Preprocessing`.
    """
    like = _like(processor)
    call = _Processor(processor)
    if like is None:
        return CallablePreprocessing(call, _value_range(processor))
    probe = _probe()
    try:
        given = call(Image.fromarray(probe.pixels))
        mine = like(probe)[0]
    except Exception:  # the processor's own error comes again, with the user's picture
        return CallablePreprocessing(call, _value_range(processor))
    if given.shape != mine.shape:
        return CallablePreprocessing(call, _value_range(processor))
    if float((given - mine).abs().max()) <= _SAME:
        return like
    if not _alike(given, mine, like.std):
        return CallablePreprocessing(call, _value_range(processor))
    return CallablePreprocessing(call, like.value_range, like=like)


def _alike(given: Tensor, mine: Tensor, std: tuple[float, ...]) -> bool:
    """True if two inputs (C, H, W) show the same part of the picture, to one pixel: crops' halves are rounded."""
    scale = torch.tensor(std)[:, None, None] * 255
    shifts = [(down, right) for down in (0, -1, 1) for right in (0, -1, 1)]
    gaps = (((given - mine.roll(shift, (1, 2))) * scale)[:, 1:-1, 1:-1].abs() for shift in shifts)
    return any(float(gap.mean((1, 2)).max()) <= _ALIKE for gap in gaps)


class _Processor:
    """A function from a PIL image to the processor's pixel values (C, H, W)."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, image: Image.Image) -> Tensor:
        found = self.processor(images=image, return_tensors="pt")
        if "pixel_values" not in found:
            raise InputTypeError(
                f"Expected 'pixel_values' from {type(self.processor).__name__}; given {', '.join(map(str, found))}. "
                "Give a function from a picture to a tensor as preprocess=."
            )
        values: Tensor = found["pixel_values"]
        return values[0].to(torch.float32)


def _probe() -> Picture:
    """Returns a picture with smooth parts, edges and noise, wider than high."""
    rows, columns = np.mgrid[:301, :403]
    noise = np.random.default_rng(0).integers(0, 256, rows.shape)
    return Picture(
        np.stack([rows % 256, (rows // 16 + columns // 16) % 2 * 255, noise], axis=2).astype(np.uint8), "probe"
    )


def _like(processor: Any) -> Preprocessing | None:
    """Returns the preprocessing that the processor's settings describe, or None where they describe another."""
    resize, crop = _resize(processor)
    if resize == -1 or getattr(processor, "do_pad", None):
        return None
    if getattr(processor, "do_center_crop", None):
        crop = _both(_sides(getattr(processor, "crop_size", None)))
        if crop is None:
            return None
    rescaled = bool(getattr(processor, "do_rescale", None))
    if not rescaled or abs(float(getattr(processor, "rescale_factor", 0) or 0) * 255 - 1) > 1e-6:
        return None
    mean, std = _statistics(processor)
    try:
        return Preprocessing(
            resize=resize,
            crop=crop,
            mean=mean,
            std=std,
            interpolation=_FILTERS.get(int(getattr(processor, "resample", 2) or 0), "bilinear"),
        )
    except (SettingError, TypeError, ValueError):
        return None


def _resize(processor: Any) -> tuple[Any, tuple[int, int] | None]:
    """Returns the size as `Preprocessing` takes it (-1 for a rule that it does not have) and the crop behind it."""
    if not getattr(processor, "do_resize", None):
        return None, None
    sides = _sides(getattr(processor, "size", None))
    share = getattr(processor, "crop_pct", None)
    side = sides.get("shortest_edge", 0)
    if set(sides) == {"height", "width"} and share is None:
        return (sides["height"], sides["width"]), None
    if set(sides) != {"shortest_edge"}:
        return -1, None
    if share is None:
        return side, None
    return (int(side / share), (side, side)) if side < 384 else ((side, side), None)  # ConvNeXt's rule


def _sides(size: Any) -> dict[str, int]:
    """Returns a size's entries that are set."""
    if isinstance(size, int):
        return {"height": size, "width": size}
    entries = dict(size) if isinstance(size, Mapping) else vars(size) if hasattr(size, "__dict__") else {}
    return {str(name): int(value) for name, value in entries.items() if value is not None}


def _both(sides: Mapping[str, int]) -> tuple[int, int] | None:
    return (sides["height"], sides["width"]) if set(sides) == {"height", "width"} else None


def _statistics(processor: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not getattr(processor, "do_normalize", None):
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return tuple(processor.image_mean), tuple(processor.image_std)


def _value_range(processor: Any) -> tuple[Tensor, Tensor] | None:
    """Returns black and white after rescaling and normalising, where the settings tell."""
    factor = getattr(processor, "rescale_factor", None) if getattr(processor, "do_rescale", None) else 1.0
    if not isinstance(factor, (int, float)) or getattr(processor, "offset", None):
        return None
    mean, std = (torch.tensor(values) for values in _statistics(processor))
    return (0 - mean) / std, (255 * float(factor) - mean) / std
