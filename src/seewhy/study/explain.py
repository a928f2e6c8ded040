"""`explain`: pictures in, explanations out. One bad picture or method does not touch the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.attribution import Attribution
from ..core.errors import InputError, SeewhyError, UnsupportedModelError
from ..core.explanation import Explanation, Prediction
from ..core.geometry import Geometry
from ..core.method import Method
from ..core.queries import outputs
from ..core.query import ask
from ..core.rows import Case
from ..core.targets import Class, Difference, Nearest, Target, Top, describe, with_sign
from ..engine import Engine, Options, Outcome
from ..methods.grad_cam import GradCam
from ..models.black_box import EVERYTHING
from ..models.images import open_picture
from ..models.model import Model
from ..models.preprocess import show
from ..models.wrapping import load, wrap
from .attribute import AnyMethod, AnyModel, check_seed, collect, named_methods
from .cases import cases, preprocessing_of
from .diagnosis import CAM, diagnose
from .findings import findings
from .needs import unsupported, usable
from .prediction import prediction
from .provenance import versions
from .targets import named_targets

DEFAULT_METHODS = (
    "grad-cam",
    "grad-cam++",
    "layer-cam",
    "xgrad-cam",
    "saliency",
    "smoothgrad",
    "guided-backprop",
    "input-x-gradient",
    "integrated-gradients",
)
TOGETHER = 4
"""Pictures whose passes are shared."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of every picture; checked before the first one is opened.

    contrast: the map of why this class rather than that, and its target, which are left out where they fail.
    unable: the methods that need more than the model gives, each with its error; they do not run.
    """

    model: Model
    methods: Mapping[str, Method]
    targets: Sequence[Target]
    seed: int
    options: Options
    contrast: tuple[GradCam, Target] | None = None
    unable: Mapping[str, UnsupportedModelError] = field(default_factory=dict)

    def asked(self) -> Iterator[tuple[int, Target, str, Method]]:
        """Yields (number of the target, target, name of the method, method) for all maps, the contrast last."""
        for number, target in enumerate(self.targets):
            for name, method in self.methods.items():
                yield number, target, name, method
        if self.contrast is not None:
            method, target = self.contrast
            yield len(self.targets), target, method.info.name, method


@dataclass(frozen=True, slots=True)
class Subject:
    """One picture or tensor, ready to be explained."""

    source: str
    case: Case
    picture: NDArray[np.uint8] | None
    view: NDArray[np.uint8] | None
    geometry: Geometry | None
    notes: tuple[str, ...]


def explain(  # noqa: PLR0913 - the front door: each of these is a question of its own
    model: AnyModel | str,
    image: Any,
    methods: AnyMethod | Sequence[AnyMethod] | None = None,
    targets: Any = None,
    *,
    layer: Any = None,
    contrast: bool = True,
    seed: int = 0,
    options: Options | None = None,
) -> Explanation:
    """Returns the model's answer to one picture and what each method says about it.

    image: a path, PIL image, array (H, W, 3), or a tensor (C, H, W) or (1, C, H, W) as the model takes it.
    methods: names or settings objects; None takes nine of the quick ones, and for a model that gives scores only every
        registered method that needs no more.
    targets: None is the top class; a class index, label, function or one of `seewhy.targets`, or a list of them.
    layer: for the class activation maps among the methods.
    contrast: with class activation maps among the methods, adds a signed Grad-CAM map of why the first class
        rather than its rival: the second of two or more given classes, else the one with the nearest score. Its
        target comes last; it costs no forward pass.

    A method that fails is reported in `errors`, and raised when its result is asked for.
    """
    plan = make_plan(model, methods, targets, layer=layer, contrast=contrast, seed=seed, options=options)
    return next(_explained(plan, [_subject(plan, image)]))


def explain_many(plan: Plan, images: Iterable[Any]) -> Iterator[tuple[Any, Explanation | SeewhyError]]:
    """Yields (image, explanation or error) for each image; a few at a time share their passes."""
    waiting = iter(images)
    while group := list(islice(waiting, TOGETHER)):
        subjects: list[Subject | SeewhyError] = []
        for image in group:
            try:
                subjects.append(_subject(plan, image))
            except SeewhyError as error:
                subjects.append(error)
        done = _explained(plan, [subject for subject in subjects if isinstance(subject, Subject)])
        for image, subject in zip(group, subjects, strict=True):
            yield image, subject if isinstance(subject, SeewhyError) else next(done)


def make_plan(  # noqa: PLR0913 - as explain
    model: AnyModel | str,
    methods: AnyMethod | Sequence[AnyMethod] | None = None,
    targets: Any = None,
    *,
    layer: Any = None,
    contrast: bool = True,
    seed: int = 0,
    options: Options | None = None,
) -> Plan:
    """Returns the checked plan for any number of pictures."""
    wrapped = load(model) if isinstance(model, str) else wrap(model)
    chosen = _default_methods(wrapped) if methods is None else methods
    asked = [chosen] if isinstance(chosen, (str, Method, type)) else list(chosen)
    named = named_methods(wrapped, asked, None) if layer is None else _with_layer(wrapped, asked, layer)
    wanted = named_targets(wrapped, targets)
    unable = unsupported(wrapped, named)
    rival = _contrast(named, wanted) if contrast and GradCam.info.needs <= wrapped.gives else None
    return Plan(wrapped, named, wanted, check_seed(seed), options or Options(), rival, unable)


def _default_methods(model: Model) -> tuple[str, ...]:
    return DEFAULT_METHODS if model.gives == EVERYTHING else usable(model)


def _contrast(methods: Mapping[str, Method], targets: Sequence[Target]) -> tuple[GradCam, Target] | None:
    """Returns the map of the first class against its rival; None where no rival or no layer is asked about."""
    like = next((method for method in methods.values() if method.info.family == CAM), None)
    first = targets[0]
    if like is None or not all(isinstance(target, Top) or _plain_class(target) for target in targets):
        return None
    settings = like.settings()
    method = GradCam(settings.get("layer"), settings.get("reshape"), relu=False)
    second = targets[1] if len(targets) > 1 else None
    if isinstance(first, Class) and isinstance(second, Class):
        return None if first.index == second.index else (method, Difference(first.index, second.index, first.of))
    if isinstance(first, Top):
        return (method, Nearest(of=first.of)) if first.rank == 0 else None
    assert isinstance(first, Class)
    return method, Nearest(first.index, of=first.of, strongest=True)


def _plain_class(target: Target) -> bool:
    return isinstance(target, Class) and target.sign == 1


def _with_layer(model: Model, methods: Sequence[AnyMethod], layer: Any) -> dict[str, Method]:
    """Gives the layer to every method that has one; at least one must."""
    plain = named_methods(model, methods)
    layered = [name for name, method in plain.items() if "layer" in method.settings()]
    if not layered:
        return named_methods(model, methods, layer)  # raises, naming the method
    wanted = model.layer_name(layer)
    return {
        name: replace(method, layer=wanted) if name in layered else method  # type: ignore[type-var]
        for name, method in plain.items()
    }


def _subject(plan: Plan, image: Any) -> Subject:
    """Returns the picture as the model's input, with the way back to the photograph."""
    model = plan.model
    if isinstance(image, Tensor):
        return _tensor_subject(plan, image)
    picture = open_picture(image)
    steps = preprocessing_of(model)
    x = steps(picture)
    (case,) = cases(model, x, plan.seed)
    source = picture.source if not isinstance(image, (str, Path)) else str(image)
    view = steps.to_pixels(x[0]) if model.value_range is not None else None
    return Subject(source, case, picture.pixels, view, steps.geometry(picture), picture.notes)


def _tensor_subject(plan: Plan, x: Tensor) -> Subject:
    batch = cases(plan.model, x[None] if x.dim() == 3 else x, plan.seed)
    if len(batch) != 1:
        raise InputError(
            f"explain takes one picture; given a batch of shape {tuple(x.shape)}. Use seewhy.attribute for batches."
        )
    return Subject("tensor", batch[0], None, tensor_view(plan.model, batch[0].x[0]), None, ())


def tensor_view(model: Model, x: Tensor) -> NDArray[np.uint8] | None:
    """Returns what the model saw as (H, W, 3) uint8, by its value range or else by the tensor's own range."""
    if x.dim() != 4 or x.shape[1] not in (1, 3):
        return None
    low, high = model.value_range or (x.min().reshape(1), x.max().reshape(1))
    return show(x[0], low, torch.where(high > low, high, low + 1))


def _explained(plan: Plan, subjects: Sequence[Subject]) -> Iterator[Explanation]:
    """Runs everything asked of some pictures together, and yields their explanations in order."""
    flows: list[tuple[Any, Any]] = []
    for place, subject in enumerate(subjects):
        flows.append(((place, None, None), ask(outputs(subject.case.rows()))))
        for number, target, name, method in plan.asked():
            if name in plan.unable:
                continue
            flows.append(((place, number, name), method.flow(subject.case, target)))
    outcomes: dict[Any, Outcome] = dict(Engine(plan.model, plan.options).run(flows)) if flows else {}
    for place, subject in enumerate(subjects):
        yield _assemble(plan, subject, {key[1:]: outcome for key, outcome in outcomes.items() if key[0] == place})


def _assemble(plan: Plan, subject: Subject, outcomes: Mapping[Any, Outcome]) -> Explanation:
    answer = _prediction(plan, outcomes[None, None])
    made: dict[tuple[str, str], Attribution] = {}
    errors: dict[tuple[str, str], Exception] = {}
    targets: dict[str, Target] = {}
    for number, asked, name, _ in plan.asked():
        extra = number == len(plan.targets)
        outcome = outcomes.get((number, name))
        error = plan.unable[name] if outcome is None else outcome.error
        if outcome is None or error is not None:
            if not extra:
                target, words = _words(plan, asked, answer)
                targets[words] = target
                errors[name, words] = _as_exception(error)
            continue
        result = collect([outcome], plan.model, plan.seed)
        # Only the pass itself knew which class is the rival.
        target, words = _words(plan, result.targets[0] if extra else asked, answer)
        targets[words] = target
        made[name, words] = replace(result, geometry=(subject.geometry,))
    shown = {*plan.methods, *(name for name, _ in made)}
    infos = {name: method.info for _, _, name, method in plan.asked() if name in shown}
    found = Explanation(
        source=subject.source,
        model=plan.model.name,
        prediction=answer,
        targets=targets,
        attributions=made,
        picture=subject.picture,
        view=subject.view,
        errors=errors,
        findings={key: findings(result) for key, result in made.items()},
        titles={name: info.title for name, info in infos.items()},
        families={name: info.family for name, info in infos.items()},
        notes=(*subject.notes, *plan.model.notes),
        provenance=_provenance(plan, subject),
    )
    return replace(found, diagnosis=diagnose(found))


def _as_exception(error: BaseException | None) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError(str(error))


def _prediction(plan: Plan, outcome: Outcome) -> Prediction | None:
    return prediction(plan.model, outcome.value) if outcome.error is None else None


def _words(plan: Plan, target: Target, answer: Prediction | None) -> tuple[Target, str]:
    """Returns the target and its name in words; the top class under its own label."""
    if isinstance(target, Top) and answer is not None and target.rank < len(answer.top) and answer.classes > 1:
        target = with_sign(target, answer.top[target.rank].index, True)
    return target, describe(target, plan.model.labels)


def _provenance(plan: Plan, subject: Subject) -> dict[str, Any]:
    return {
        "input": subject.case.id,
        "seed": plan.seed,
        "model": plan.model.name,
        "preprocessing": getattr(plan.model.preprocessing, "key", "none"),
        "device": str(plan.model.device),
        "versions": dict(versions()),
    }
