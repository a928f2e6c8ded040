"""`dream`: DeepDream of a photograph at its own size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import CancelledError, InputError, LayerError, SettingError
from ..core.query import Flow, Fold, Query, Record, ask
from ..core.rows import Case
from ..core.targets import Combination, Energy, Likeness, Target, describe
from ..core.visualization import Dream
from ..engine import Engine, Options
from ..engine.run import drive
from ..features.dream import Dreaming, Wish, dreaming
from ..features.objectives import Feature, laid_out
from ..models.images import open_picture
from ..models.model import Model
from ..models.wrapping import wrap
from .attribute import AnyModel, check_seed
from .cases import cases
from .layers import layers as table
from .subjects import subject_of
from .visualise import resolved

OnFrame = Callable[[Dream], None]
STRIDE = 16
"""The default layer is the last whose places stand for so many pixels: parts of objects, neither edges nor classes."""
LEAST = 64
"""Octaves with a shorter side are left out: networks answer nothing of use to them."""
ROOM = 32 << 20
"""Pixels of photograph that are dreamt on at most; larger ones are refused."""


def dream(  # noqa: PLR0913 - the front door: each of these is a question of its own
    model: AnyModel,
    image: Any,
    layers: Any = None,
    *,
    octaves: int = 4,
    scale: float = 1.4,
    steps: int = 10,
    rate: float = 0.01,
    tile: int = 512,
    guide: Any = None,
    seed: int = 0,
    options: Options | None = None,
    on_frame: OnFrame | None = None,
) -> Dream:
    """Returns a photograph redrawn until layers respond strongly, at its own size.

    image: a picture file, PIL image, array, or tensor (1, C, H, W) in the network's input.
    layers: names or modules, whose energy (mean of squares) grows, or features of `seewhy.features`; None chooses a
        layer of the middle. guide: another picture, towards whose activations each place is drawn instead.
    octaves, scale: sizes worked through, and the ratio of two. steps: of each, of mean size `rate` (white is 1).
    tile: longest side of what the network is given at once; its memory is bounded by that, not by the photograph.
    on_frame: called with what there is after each octave.

    Raises LayerError for layers that do not exist. A run that `options.cancelled` ends raises CancelledError with the
    newest frame in `finished`.
    """
    wrapped = wrap(model)
    how = Dreaming(octaves, scale, steps, rate, tile, min(16, (tile - 1) // 4))
    case = photograph(wrapped, image, check_seed(seed))
    target = _target(wrapped, case, layers, guide, tile)
    frames: list[Dream] = []

    def kept(frame: Dream) -> None:
        frames[:] = [frame]
        if on_frame is not None:
            on_frame(frame)

    wish = Wish(target, describe(target), how, LEAST, kept, {"seed": seed, "guided": guide is not None})
    try:
        done: Dream = Engine(wrapped, options or Options()).run([("dream", dreaming(case, wish))])["dream"].result()
    except CancelledError as error:
        error.finished = frames[0] if frames else None
        raise
    return done


def photograph(model: Model, image: Any, seed: int) -> Case:
    """Returns a picture at its own size as a case, neither resized nor cropped; a tensor is taken as it is."""
    if isinstance(image, Tensor):
        return subject_of(model, image, seed).case
    pixels = open_picture(image).pixels
    if pixels.shape[0] * pixels.shape[1] > ROOM:
        raise InputError(f"A photograph to dream on has at most {ROOM} pixels; given {pixels.shape[:2]}. Shrink it.")
    if model.value_range is None:
        raise InputError(
            "The model does not tell what black and white are in its input, so a picture cannot be turned into it. "
            "Give value_range= or preprocess= to seewhy.wrap, or a tensor."
        )
    levels = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 255
    low, high = (bound.reshape(1, -1, 1, 1) for bound in model.value_range)
    if low.shape[1] == 1 and getattr(model.preprocessing, "channels", 3) == 1:
        levels = levels.mul(levels.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]).sum(1, keepdim=True)
    (case,) = cases(model, low + levels * (high - low), seed)
    return case


def _target(model: Model, case: Case, layers: Any, guide: Any, tile: int) -> Target:
    items = [layers] if isinstance(layers, (str, nn.Module, Feature)) else list(layers or ())
    features = [item for item in items if isinstance(item, Feature)]
    if features:
        if len(features) < len(items) or guide is not None:
            raise SettingError("layers takes layers or features, not both; a guide goes with layers only.")
        found = resolved(model, _probe(model, case, tile), features, False)[0]
        if any(map(_placed, found)):
            raise SettingError(
                "A dream goes through several sizes and tiles, in which a position is another place each time; given a "
                "Neuron, or a Direction with a position. Use the whole Channel or Direction."
            )
        return _sum(found)
    names = [model.layer_name(item) for item in items if not isinstance(item, Feature)] or [_middle(model, case)]
    return _sum([Energy(name) for name in names]) if guide is None else _guided(model, guide, names, case.seed)


def _sum(parts: Sequence[Target]) -> Target:
    return parts[0] if len(parts) == 1 else Combination(tuple((1.0, part) for part in parts))


def _placed(target: Target) -> bool:
    """Returns whether a target is one place of a map."""
    if isinstance(target, Combination):
        return any(_placed(part) for _, part in target.parts)
    return getattr(target, "position", None) is not None


def _probe(model: Model, case: Case, tile: int) -> Case:
    """Returns a corner of the photograph, large enough to tell how layers are laid out, and small whatever its size."""
    side = min(14 * STRIDE, tile)
    (probe,) = cases(model, case.x[0][..., :side, :side].contiguous(), case.seed)
    return probe


def _middle(model: Model, case: Case) -> str:
    """Returns the last outermost layer whose places stand for `STRIDE` pixels, or the default of activation maps."""
    side = 14 * STRIDE
    x = torch.zeros(1, case.x[0].shape[1], side, side, device=model.device, dtype=model.dtype or torch.float32)
    found = table(model, x)
    fitting = [row.name for row in found.rows if row.shape is not None and row.shape[1:] == (14, 14)]
    outermost = min((name.count(".") for name in fitting), default=0)
    name = next((name for name in reversed(fitting) if name.count(".") == outermost), found.default)
    if name is None:
        raise LayerError(f"A dream needs a layer with places in the picture, and {found.why}. Name one: layers=[...].")
    return name


def _guided(model: Model, guide: Any, names: Sequence[str], seed: int) -> Target:
    """Returns the likeness to a guide, each layer's weighted so that they count alike."""
    case = subject_of(model, guide, seed).case

    def look() -> Flow[Any]:
        fold: Fold[Any, Any] = Fold(lambda: None, lambda _, __, chunk: chunk, lambda chunk: chunk)
        return (yield from ask(Query(case.rows(), None, fold, Record(activations=tuple(names)))))

    seen = drive(model, look(), Options(batch_size=1, backend="torch")).activations
    parts = []
    height, width = case.x[0].shape[-2:]
    for name in names:
        layout = laid_out(tuple(seen[name].shape[1:]), (int(height), int(width)))
        values = seen[name][0].movedim(-1, 0) if layout.axis == -1 else seen[name][0]
        vectors = values.reshape(layout.channels, -1).T.contiguous()
        size = float(vectors.square().sum(1).mean())
        parts.append((1.0 / size if size else 1.0, Likeness(name, vectors, layout.axis)))
    return parts[0][1] if len(parts) == 1 else Combination(tuple(parts))
