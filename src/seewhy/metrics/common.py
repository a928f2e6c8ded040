"""What the measures share: the scale of the score, the parts of a claim, and the stamp on a measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..core.errors import InputError, NotFiniteError, SettingError, TargetError
from ..core.metric import Claim, Measurement, Metric
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import OPEN, Of, Target, describe
from ..ops.segments import spatial

T = TypeVar("T")

PROBABILITY: Of = "probability"
TIES = "random, by the case"


def explained(target: Target, claim: Claim) -> Target:
    """Returns what is scored: the target, or where that is open (`Top`) what the claim has explained."""
    return claim.attribution.targets[0] if isinstance(target, OPEN) else target


def on_scale(target: Target, of: Of, run: Callable[[Target], Flow[T]]) -> Flow[tuple[T, Target]]:
    """Returns what `run(target)` returns with the target scored as `of`, and that target.

    Where the model's output has no probability, the model's own score takes its place; the target says so. Targets
    without a scale (a unit, a function) stay as they are.
    """
    if not hasattr(target, "of"):
        return (yield from run(target)), target
    scaled = _as(target, of)
    try:
        return (yield from run(scaled)), scaled
    except TargetError:
        if of != PROBABILITY:
            raise
    own = _as(target, "score")
    return (yield from run(own)), own


def _as(target: Any, of: Of) -> Target:
    changed: Target = replace(target, of=of)
    return changed


def measurement(metric: Metric, value: float, scored: Target, protocol: Mapping[str, Any], **more: Any) -> Measurement:
    """Returns the measurement with what is common to all protocols: the target and what its score is.

    more: further fields of `Measurement`.
    """
    stamp = {"target": describe(scored), "score": getattr(scored, "of", "score"), **protocol}
    return Measurement(metric.info.name, value, stamp, **more)


def finite_maps(case: Case, claim: Claim) -> list[Tensor]:
    """Returns the map of each attributed input, (*spatial) float64 on the CPU, checked against the inputs.

    Methods that explain the first inputs only have fewer maps than there are inputs.

    Raises:
        InputError: a map does not have its input's spatial shape, or has no place.
        NotFiniteError: a map holds NaN or infinity.
    """
    maps = [part.detach().to("cpu", torch.float64) for part in claim.maps()]
    for leaf, found in zip(case.x, maps, strict=False):
        if tuple(found.shape) != spatial(leaf) or not found.numel() or leaf.dim() < 2:
            raise InputError(
                f"A map has one value for each place of its input, {spatial(leaf)}; given {tuple(found.shape)}. "
                "Measure it on the input that it explains, at that input's size."
            )
        if not bool(torch.isfinite(found).all()):
            bad = int((~torch.isfinite(found)).sum())
            raise NotFiniteError(
                f"A map must be finite to be measured; {bad} of its {found.numel()} values are not. Look at what made "
                "it, or replace them: torch.nan_to_num."
            )
    return maps


def one_map(metric: Metric, case: Case, claim: Claim) -> Tensor:
    """Returns the one map of a claim; raises InputError where several inputs were explained."""
    maps = finite_maps(case, claim)
    if len(maps) != 1:
        raise InputError(
            f"{metric.info.name} compares one map with one truth; this claim has {len(maps)} maps. Measure each "
            "input's map on its own."
        )
    return maps[0]


def truth_of(metric: Metric, claim: Claim, found: Tensor) -> Tensor:
    """Returns where the explained thing is, (*spatial) bool on the CPU.

    Raises:
        SettingError: the claim has no truth.
        InputError: it is empty or does not have the map's shape.
    """
    if claim.truth is None:
        raise SettingError(
            f"{metric.info.name} needs to know where the explained thing is; this claim does not say. Give "
            "Claim(attribution, truth=mask), True on the thing, of the input's spatial shape."
        )
    truth = claim.truth.detach().cpu().bool()
    if truth.shape != found.shape or not bool(truth.any()):
        given = f"shape {tuple(truth.shape)}" if truth.shape != found.shape else "one that is False everywhere"
        raise InputError(f"The truth is a mask of shape {tuple(found.shape)}, True on the thing; given {given}.")
    return truth


def check_scale(of: str) -> None:
    """Raises SettingError unless `of` is a scale of scores."""
    allowed = ("probability", "score", "logit", "loss")
    if of not in allowed:
        raise SettingError(f"of takes one of {', '.join(allowed)}; given {of!r}.")
