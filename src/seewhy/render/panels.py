"""What is to be drawn of a record, decided once, so that figures and report cannot disagree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.attribution import Attribution, Reduce
from ..core.errors import SeewhyError, SettingError
from ..core.evidence import Verdict
from ..core.explanation import Explanation, Finding, Prediction
from ..core.geometry import Geometry
from .families import family_order
from .overlay import Picture, shrink, shrunk
from .pieces import sharp
from .scales import Array, Scale, scale_for
from .wording import error_text, method_facts, method_title, number, plain

AGAINST = "evidence against"
"""What stands below the map that is shown where a method found no evidence for the target."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One map with its words.

    values: the numbers at the model's input size, (H, W), or (L,) for a signal; None where the method failed.
    drawn: the same brought to the size of `base`, NaN where the model saw nothing. base: the picture under
    it, the explanation's `picture` or its `view`, as `ground` says. lines: where the pieces of a map of pieces end.
    verdict: what the evidence says about the map, None where there is none.
    """

    method: str
    title: str
    target: str
    layer: str = ""
    values: Array | None = None
    drawn: Array | None = None
    base: Picture | None = None
    lines: NDArray[np.bool_] | None = None
    ground: str = ""
    signed: bool = False
    units: str = ""
    error: str = ""
    findings: tuple[Finding, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    note: str = ""
    family: str = ""
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Ground:
    """What maps are drawn on: the original picture or what the model saw of it, shrunk to be shown.

    sizes: (height, width) that `picture` and `view` had before.
    """

    picture: Picture | None
    view: Picture | None
    sizes: tuple[tuple[int, ...], tuple[int, ...]]
    longest: int

    @property
    def best(self) -> Picture | None:
        """The picture that a reader recognises."""
        return self.picture if self.picture is not None else self.view


def ground_of(picture: Picture | None, view: Picture | None = None, longest: int = 700) -> Ground:
    """Returns what maps are drawn on, with no side longer than `longest`."""
    small = [None if given is None else shrink(given, longest) for given in (picture, view)]
    sizes = [() if given is None else given.shape[:2] for given in (picture, view)]
    return Ground(small[0], small[1], (sizes[0], sizes[1]), longest)


def explanation_panels(explanation: Explanation, longest: int = 700) -> tuple[Panel, ...]:
    """Returns the panels of an explanation: by target, within each by family, then in the order asked for."""
    ground = ground_of(explanation.picture, explanation.view, longest)
    keys = dict.fromkeys((*explanation.attributions, *explanation.errors))
    targets = list(dict.fromkeys((*explanation.targets, *(target for _, target in keys))))
    methods = list(explanation.methods)
    families = family_order(explanation.families.get(method, "") for method in methods)
    ordered = sorted(
        keys,
        key=lambda key: (
            targets.index(key[1]),
            families.index(explanation.families.get(key[0], "")),
            methods.index(key[0]),
        ),
    )
    return tuple(panel for key in ordered for panel in _explained(explanation, key, ground))


def _explained(explanation: Explanation, key: tuple[str, str], ground: Ground) -> list[Panel]:
    """Returns the panel of one method and, where its map is empty, that of the evidence against."""
    method, target = key
    findings = tuple(replace(item, text=plain(item.text)) for item in explanation.findings.get(key, ()))
    title = plain(explanation.titles.get(method) or method_title(method))
    family = plain(explanation.families.get(method, ""))
    failed = Panel(method, title, plain(target), findings=findings, family=family)
    if key not in explanation.attributions:
        return [replace(failed, error=error_text(explanation.errors[key]))]
    attribution = explanation.attributions[key]
    if len(attribution) == 0:
        return [replace(failed, error="This record holds no rows: nothing was explained.")]
    try:
        panels = list(attribution_panels(attribution, rows=(0,), grounds=(ground,)))
        evidence = explanation.evidence.get(target)
        judged = None if evidence is None else evidence.maps.get(method)
        panels[0] = replace(panels[0], findings=findings, verdict=None if judged is None else judged.verdict)
        if attribution.counter is not None and not np.any(panels[0].values):
            panels.append(_against(attribution, attribution.counter, ground))
    except SeewhyError as error:  # one map that cannot be drawn must not cost the reader all others
        return [replace(failed, error=error_text(error))]
    return [replace(panel, target=plain(target), family=family) for panel in panels]


def _against(attribution: Attribution, counter: Tensor, ground: Ground) -> Panel:
    """Returns the panel of the negative evidence, drawn as such: below zero."""
    negative = replace(attribution, values=-counter.abs(), counter=None, signed=True)
    panel = attribution_panels(negative, rows=(0,), grounds=(ground,))[0]
    return replace(panel, title=f"{panel.title}: against", note=AGAINST)


def attribution_panels(
    attribution: Attribution,
    *,
    rows: Sequence[int],
    grounds: Sequence[Ground],
    reduce: Reduce | None = None,
) -> tuple[Panel, ...]:
    """Returns one panel for each row and attributed input; `grounds` has one entry for each of `rows`."""
    found = attribution.heatmap(reduce)
    maps: tuple[Tensor, ...] = found if isinstance(found, tuple) else (found,)
    given = attribution.segments
    pieces = given if isinstance(given, tuple) else (given,) * len(maps)
    rule = reduce or attribution.reduce
    common = Panel(
        attribution.method,
        plain(attribution.title or method_title(attribution.method)),
        "",
        layer=plain(attribution.layer or ""),
        # Around another number than 0 sign and size mean nothing: such a map is drawn from its least to its most.
        signed=attribution.signed and rule != "absmax" and attribution.neutral is None,
        units=plain(attribution.units),
        facts=method_facts(attribution),
    )
    panels = []
    for row, ground in zip(rows, grounds, strict=True):
        where = attribution.geometry[row] if row < len(attribution.geometry) and len(maps) == 1 else None
        for part, values in enumerate(maps):
            note = f"input {part + 1} of {len(maps)}" if len(maps) > 1 else ""
            numbered = pieces[part]
            labels = None if numbered is None else numbered[row]
            panels.append(_filled(replace(common, note=note), (values[row], labels), ground, where))
    return tuple(panels)


def _filled(panel: Panel, found: tuple[Tensor, Tensor | None], ground: Ground, where: Geometry | None) -> Panel:
    """Returns the panel with a map, given with the numbers of its pieces where it is made of pieces."""
    values, labels = found[0].detach().cpu().double(), found[1]
    if values.dim() == 3:
        strongest = int(values.abs().nan_to_num(0.0).sum((1, 2)).argmax())
        note = f"slice {strongest + 1} of {len(values)} (most evidence)"
        panel = replace(panel, note=", ".join(filter(None, (panel.note, note))))
        values, labels = values[strongest], None if labels is None else labels[strongest]
    if values.dim() not in (1, 2) or not values.numel():
        shape = " x ".join(map(str, values.shape)) or "a single number"
        return replace(panel, error=f"Values of this form ({shape}) have no picture; read them in .values.")
    numbers: Array = values.numpy()
    if values.dim() == 1:
        return replace(panel, values=numbers, drawn=numbers)
    bring, base, name = _placed(values, ground, where)
    if labels is None or labels.shape != values.shape:
        return replace(panel, values=numbers, drawn=bring(values), base=base, ground=name)
    drawn, lines = sharp(values, labels, bring)
    return replace(panel, values=numbers, drawn=drawn, base=base, ground=name, lines=lines)


def _placed(
    values: Tensor, ground: Ground, where: Geometry | None
) -> tuple[Callable[[Tensor], Array], Picture | None, str]:
    """Returns what brings such a map to its picture's grid, that picture and its name.

    The picture is the original where the way back to it is known, else what the model saw, else none.
    """
    size = (int(values.shape[0]), int(values.shape[1]))
    if ground.picture is not None and where is not None and where.original == ground.sizes[0]:
        base = ground.picture
        # As if the original had been this small: straight to the size that is shown, however large it is.
        small = replace(where, original=base.shape[:2])
        return lambda given: _numpy(small.to_original(given)), base, "picture"
    shown = shrunk(size, ground.longest)
    name = "view" if size == ground.sizes[1] else "picture" if size == ground.sizes[0] else ""
    seen = {"view": ground.view, "picture": ground.picture, "": None}[name]
    return lambda given: _fitted(given, shown), seen, name


def _fitted(values: Tensor, size: tuple[int, int]) -> Array:
    given = (int(values.shape[0]), int(values.shape[1]))
    if given == size:
        return _numpy(values)
    return _numpy(Geometry(size, given, (0, 0, *given)).to_original(values))


def _numpy(values: Tensor) -> Array:
    array: Array = values.to(torch.float64).numpy()
    return array


def panel_scales(
    panels: Sequence[Panel], *, shared: bool = False, cmap: str | None = None, robust: bool = True
) -> tuple[Scale | None, ...]:
    """Returns each panel's scale, None where there is no map.

    shared: one scale for all maps whose numbers mean the same (same units, or same method where units are not
    stated; signed apart from unsigned), so that equal colours are equal numbers.
    """
    groups: dict[Any, list[int]] = {}
    for index, panel in enumerate(panels):
        if panel.values is not None:
            key = (panel.signed, panel.units or panel.method) if shared else index
            groups.setdefault(key, []).append(index)
    scales: list[Scale | None] = [None] * len(panels)
    for members in groups.values():
        first = panels[members[0]]
        maps = [panels[index].values for index in members]
        scale = scale_for(maps, signed=first.signed, cmap=cmap, robust=robust, units=first.units)
        for index in members:
            scales[index] = scale
    return tuple(scales)


def answer_lines(prediction: Prediction) -> tuple[tuple[str, str, float | None], ...]:
    """Returns (label, score in words, share of the full bar or None where a bar would mean nothing)."""
    probability = prediction.scale == "probability"
    most = 1.0 if probability else max((answer.score for answer in prediction.top), default=0.0)
    bars = most > 0 and all(answer.score >= 0 for answer in prediction.top)
    return tuple(
        (
            plain(answer.label),
            f"{answer.score:.1%}" if probability else number(answer.score),
            min(1.0, answer.score / most) if bars else None,
        )
        for answer in prediction.top
    )


def as_picture(given: Any) -> NDArray[np.uint8]:
    """Returns a picture as (H, W, 3) uint8: from an array (H, W), (H, W, 3) or (H, W, 4), or a PIL image.

    Raises SettingError for anything else; floating-point pictures are not guessed at.
    """
    if hasattr(given, "convert"):
        given = given.convert("RGB")
    array = np.asarray(given)
    if array.dtype == np.uint8 and array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (3, 4) or 0 in array.shape:
        raise SettingError(
            "picture takes an array (H, W, 3) of uint8 or a PIL image; given "
            f"{type(given).__name__} {array.shape} of {array.dtype}. Convert it, for example with "
            "(255 * x).round().astype('uint8')."
        )
    return np.ascontiguousarray(array[..., :3])
