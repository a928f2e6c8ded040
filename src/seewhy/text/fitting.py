"""Methods brought to texts: what an absent word is and which tokens are hidden together, where a method asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ..core.method import Method
from ..methods.feature_ablation import FeatureAblation
from ..methods.occlusion import Occlusion
from .pieces import PieceUnit


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """What a text gives to methods.

    empty: the embeddings (1, D, T) of the text without its words. absent: what methods start from or fill with,
    (B, D, T): the same, or of two texts that are compared, each without its words beside the other whole. baseline:
    its name. numbers: the piece of each token, (T,), and `unit`, what a piece is.
    """

    empty: Tensor
    absent: Tensor
    baseline: str
    numbers: Tensor
    unit: PieceUnit


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A method as it runs on one text. shown: its settings as they are recorded. pieces: True if it hides pieces."""

    name: str
    title: str
    method: Method
    shown: Mapping[str, Any]
    pieces: bool


def fitted(method: Method, fit: Fit) -> Fitted:
    """Returns a method with the settings that it leaves open taken from the text.

    A `baseline` of None becomes the text without its words, `segments` of None its pieces, and occlusion without a
    window hides one piece at a time, which is feature ablation.
    """
    settings = dict(method.settings())
    info, ran = method.info, method
    if isinstance(method, Occlusion) and method.window is None and method.stride is None:
        ran = FeatureAblation(baseline=method.baseline)
        settings = {"segments": None, "baseline": method.baseline}
    filled: dict[str, Any] = {}
    known = ran.settings()
    if "baseline" in known and known["baseline"] is None:
        one = isinstance(ran, (FeatureAblation, Occlusion))  # all else stays whole anyway
        filled["baseline"], settings["baseline"] = fit.empty if one else fit.absent, fit.baseline
    if "segments" in known and known["segments"] is None:
        filled["segments"], settings["segments"] = fit.numbers.clamp(min=0), fit.unit
    ran = replace(ran, **filled) if filled else ran  # type: ignore[type-var]
    return Fitted(info.name, info.title, ran, settings, "segments" in known)
