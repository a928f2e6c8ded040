"""What is asked of every picture: model, methods, targets, settings, all checked before the first one is opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..core.errors import SettingError, UnsupportedModelError
from ..core.explanation import Prediction
from ..core.method import Method
from ..core.targets import Class, Difference, Nearest, Target, Top, describe, with_sign
from ..engine import Options
from ..methods.grad_cam import GradCam
from ..methods.registry import find
from ..models.black_box import EVERYTHING
from ..models.model import Model
from ..models.wrapping import load, wrap
from .attribute import AnyMethod, AnyModel, check_seed, named_methods
from .diagnosis import CAM
from .evidence import EvidencePlan
from .needs import unsupported, usable
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
BEST = "best"
"""Stands for the method whose map fares best at the evidence test."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of every picture; checked before the first one is opened.

    contrast: the map of why this class rather than that, and its target, which are left out where they fail.
    unable: the methods that need more than the model gives, each with its error; they do not run.
    evidence: how much evidence is gathered for the maps. shown: the methods whose maps are shown, where "best" was
    asked for: those named beside it, to which the winner comes; None shows all.
    """

    model: Model
    methods: Mapping[str, Method]
    targets: Sequence[Target]
    seed: int
    options: Options
    contrast: tuple[GradCam, Target] | None = None
    unable: Mapping[str, UnsupportedModelError] = field(default_factory=dict)
    evidence: EvidencePlan | None = None
    shown: tuple[str, ...] | None = None

    @property
    def alone(self) -> bool:
        """True where each picture fills batches by itself, and is better finished before the next one begins."""
        return self.evidence is not None or any(m.info.family == "perturbation" for m in self.methods.values())

    def asked(self) -> Iterator[tuple[int, Target, str, Method]]:
        """Yields (number of the target, target, name of the method, method) for all maps, the contrast last."""
        for number, target in enumerate(self.targets):
            for name, method in self.methods.items():
                yield number, target, name, method
        if self.contrast is not None:
            method, target = self.contrast
            yield len(self.targets), target, method.info.name, method

    def named(self, target: Target, answer: Prediction | None) -> tuple[Target, str]:
        """Returns the target and its name in words; the top class under its own label."""
        if isinstance(target, Top) and answer is not None and target.rank < len(answer.top) and answer.classes > 1:
            target = with_sign(target, answer.top[target.rank].index, True)
        return target, describe(target, self.model.labels)


def make_plan(  # noqa: PLR0913 - as explain
    model: AnyModel | str,
    methods: AnyMethod | Sequence[AnyMethod] | None = None,
    targets: Any = None,
    *,
    layer: Any = None,
    contrast: bool = True,
    seed: int = 0,
    options: Options | None = None,
    evidence: bool | EvidencePlan = False,
) -> Plan:
    """Returns the checked plan for any number of pictures."""
    wrapped = load(model) if isinstance(model, str) else wrap(model)
    chosen = _default_methods(wrapped) if methods is None else methods
    asked = [chosen] if isinstance(chosen, (str, Method, type)) else list(chosen)
    beside = [method for method in asked if method != BEST] if BEST in asked else None
    if beside is not None:
        asked = [*beside, *(name for name in _default_methods(wrapped) if name not in _names(beside))]
        evidence = evidence or True
    named = named_methods(wrapped, asked, None) if layer is None else _with_layer(wrapped, asked, layer)
    wanted = named_targets(wrapped, targets)
    unable = unsupported(wrapped, named)
    rival = _contrast(named, wanted) if contrast and GradCam.info.needs <= wrapped.gives else None
    proof = _evidence(evidence, len(named) - len(unable))
    shown = None if beside is None else tuple(named)[: len(beside)]
    return Plan(wrapped, named, wanted, check_seed(seed), options or Options(), rival, unable, proof, shown)


def _names(methods: Sequence[AnyMethod]) -> tuple[str, ...]:
    return tuple(find(method).info.name for method in methods)


def _evidence(asked: bool | EvidencePlan, maps: int) -> EvidencePlan | None:
    """Returns the plan for evidence; raises SettingError where its budget is too small for so many maps."""
    if isinstance(asked, bool) and not asked:
        return None
    plan = EvidencePlan() if isinstance(asked, bool) else asked
    if not isinstance(plan, EvidencePlan):
        raise SettingError(f"evidence takes True, False or a seewhy.EvidencePlan; given {asked!r}.")
    plan.affordable(maps)
    return plan


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
