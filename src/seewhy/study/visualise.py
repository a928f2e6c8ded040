"""`visualize`: pictures that excite channels, neurons, directions and classes of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, overload

import torch
from torch import Tensor

from ..core import tree
from ..core.errors import CancelledError, InputError, SettingError
from ..core.query import DEFAULT_LAYER, Flow, Fold, Query, Record, ask
from ..core.rows import Case
from ..core.targets import Target, describe, inner_layers
from ..core.visualization import Visualization
from ..engine import Engine, Options
from ..engine.prepared import REPAYS
from ..engine.run import drive
from ..engine.scoring import settled_kind
from ..features.ascent import EXERCISE, Ascent
from ..features.objectives import Feature, Layout, Logit, Weighted, laid_out
from ..features.visualisation import Task, visualisation
from ..models.labels import find
from ..models.layers import example_input
from ..models.model import Model
from ..models.outputs import understand
from ..models.wrapping import wrap
from .attribute import AnyModel, check_seed
from .cases import cases
from .subjects import subject_of

OnFrame = Callable[[Visualization], None]


@overload
def visualize(
    model: AnyModel,
    feature: Feature,
    *,
    image: Any = ...,
    steps: int | None = ...,
    seed: int = ...,
    size: tuple[int, ...] | None = ...,
    count: int = ...,
    diversity: float | None = ...,
    ascent: Ascent | None = ...,
    options: Options | None = ...,
    on_frame: OnFrame | None = ...,
) -> Visualization: ...


@overload
def visualize(
    model: AnyModel,
    feature: Sequence[Feature],
    *,
    image: Any = ...,
    steps: int | None = ...,
    seed: int = ...,
    size: tuple[int, ...] | None = ...,
    count: int = ...,
    diversity: float | None = ...,
    ascent: Ascent | None = ...,
    options: Options | None = ...,
    on_frame: OnFrame | None = ...,
) -> list[Visualization]: ...


def visualize(  # noqa: PLR0913 - the front door: each of these is a question of its own
    model: AnyModel,
    feature: Feature | Sequence[Feature],
    *,
    image: Any = None,
    steps: int | None = None,
    seed: int = 0,
    size: tuple[int, ...] | None = None,
    count: int = 1,
    diversity: float | None = None,
    ascent: Ascent | None = None,
    options: Options | None = None,
    on_frame: OnFrame | None = None,
) -> Visualization | list[Visualization]:
    """Returns pictures that excite a feature; of a list of features one record each, worked on in shared rounds.

    feature: `seewhy.features.Channel`, `Neuron`, `Direction`, `Logit`, or a weighted sum of them.
    image: a picture or (1, C, H, W) tensor to start from: plain Adam on its pixels, 100 steps of 0.1 in the network's
        own units (`seewhy.features.EXERCISE`). None starts from faint noise, in Fourier space, with jitter.
    ascent: all settings; steps and diversity override it.
    size: (H, W), or (C, H, W), of the picture; None is what the model's preprocessing makes.
    count: pictures of each feature, kept apart by `diversity`.
    on_frame: called with the best pictures so far, every few steps; what an interrupted run leaves.

    Raises LayerError, TargetError for layers, channels and positions that do not exist. A run that
    `options.cancelled` ends raises CancelledError with the newest frames in `finished`.
    """
    wrapped = wrap(model)
    several = not isinstance(feature, Feature)
    features = [feature] if isinstance(feature, Feature) else list(feature)
    _check(features, count)
    how = _settings(ascent, image is not None, steps, diversity)
    case = picture_case(wrapped, image, size, check_seed(seed))
    targets, layouts = resolved(wrapped, case, features, count > 1)
    frames: dict[int, Visualization] = {}

    def keep(place: int) -> OnFrame:
        def kept(frame: Visualization) -> None:
            frames[place] = frame
            if on_frame is not None:
                on_frame(frame)

        return kept

    flows = [
        (place, visualisation(case, replace(task, on_frame=keep(place))))
        for place, task in enumerate(
            _tasks(wrapped, targets, layouts, Task(targets[0], "", how, count, _start(case, image)))
        )
    ]
    try:
        outcomes = Engine(wrapped, _repaid(options or Options(), len(flows) * count * how.steps)).run(flows)
    except CancelledError as error:
        error.finished = [frames[place] for place in sorted(frames)]
        raise
    done: list[Visualization] = [outcomes[place].result() for place in range(len(features))]
    return done if several else done[0]


def _check(features: Sequence[Any], count: Any) -> None:
    if not features or not all(isinstance(item, Feature) for item in features):
        given = ", ".join(type(item).__name__ for item in features) or "none"
        raise SettingError(
            f"feature takes Channel, Neuron, Direction or Logit of seewhy.features, or a list of them; given {given}."
        )
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise SettingError(f"count must be a whole number of 1 or more; given {count!r}.")


def _settings(ascent: Ascent | None, from_image: bool, steps: int | None, diversity: float | None) -> Ascent:
    how = ascent if ascent is not None else EXERCISE if from_image else Ascent()
    how = how if steps is None else replace(how, steps=steps)
    return how if diversity is None else replace(how, diversity=diversity)


def _repaid(options: Options, rows: int) -> Options:
    """Returns the options, with a prepared copy of the network for a long climb: each of its rounds has few rows."""
    return replace(options, prepared="always") if options.prepared == "auto" and rows >= REPAYS else options


def _start(case: Case, image: Any) -> Tensor | None:
    return None if image is None else case.x[0]


def _tasks(model: Model, targets: Sequence[Target], layouts: Mapping[str, Layout], pattern: Task) -> list[Task]:
    tasks = []
    for target in targets:
        layer = min(inner_layers(target), default=DEFAULT_LAYER)
        apart = (layer, layouts[layer].axis) if pattern.count > 1 and pattern.ascent.diversity else None
        tasks.append(replace(pattern, target=target, name=describe(target, model.labels), apart=apart))
    return tasks


def picture_case(model: Model, image: Any, size: tuple[int, ...] | None, seed: int) -> Case:
    """Returns the case whose one picture is the image, or grey of the size asked for."""
    if image is not None:
        if size is not None:
            raise SettingError("size= is for pictures that start from noise; an image has a size of its own.")
        return subject_of(model, image, seed).case
    if size is None:
        try:
            x = example_input(model)
        except InputError:
            raise InputError(
                "The model's preprocessing does not tell how large its pictures are: give size=(height, width)."
            ) from None
    else:
        if len(size) not in (2, 3) or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in size):
            raise SettingError(f"size must be (height, width) or (channels, height, width); given {size!r}.")
        channels = size[0] if len(size) == 3 else int(getattr(model.preprocessing, "channels", 3))
        x = torch.zeros(1, channels, *size[-2:], device=model.device, dtype=model.dtype or torch.float32)
    x = x if x.dtype == torch.float64 else x.float()
    (case,) = cases(model, x, seed)
    return case


def resolved(
    model: Model, case: Case, features: Sequence[Feature], apart: bool
) -> tuple[list[Target], dict[str, Layout]]:
    """Returns the features' targets and the layouts of their layers, seen in one forward pass.

    apart: the default layer is looked at, too, where a feature is a class.
    """
    named = [feature.named(model.layer_name) for feature in features]
    layers = {str(layer) for feature in named for layer in feature.layers}
    if apart and any(not feature.layers for feature in named):
        layers.add(DEFAULT_LAYER)
    shapes, kind = drive(model, _shapes(model, case, tuple(sorted(layers))), Options(batch_size=1, backend="torch"))
    height, width = tree.leaves(case.inputs)[case.leaves[0]].shape[-2:]
    layouts = {name: laid_out(shape, (int(height), int(width))) for name, shape in shapes.items()}
    of = "logit" if kind in ("softmax", "sigmoid") else "score"
    return [_as_logit(model, feature, of).target(layouts) for feature in named], layouts


def _shapes(model: Model, case: Case, layers: tuple[str, ...]) -> Flow[tuple[dict[str, tuple[int, ...]], Any]]:
    """Returns what each layer gives for one row, and the kind of the model's output."""
    fold: Fold[Any, Any] = Fold(lambda: None, lambda _, __, chunk: chunk, lambda chunk: chunk)
    record = Record(output=True, activations=layers)
    chunk = yield from ask(Query(case.rows(), None, fold, record))
    seen = understand(chunk.output, model.output, 1).scores
    kind = None if seen is None else settled_kind(model, seen)
    return {name: tuple(chunk.activations[name].shape[1:]) for name in layers}, kind


def _as_logit(model: Model, feature: Feature, of: Any) -> Feature:
    """Returns the feature with labels looked up, and scores before the softmax."""
    if isinstance(feature, Weighted):
        return Weighted(tuple((weight, _as_logit(model, part, of)) for weight, part in feature.parts))
    if isinstance(feature, Logit):
        index = find(feature.index, model.labels) if isinstance(feature.index, str) else feature.index
        return Logit(index, of if feature.of == "score" else feature.of)
    return feature
