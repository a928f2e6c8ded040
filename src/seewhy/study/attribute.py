"""`attribute`: tensors in, attributions out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, overload

import torch
from torch import nn

from ..core.attribution import Attribution, merge
from ..core.errors import InputError, SettingError
from ..core.method import Method
from ..core.rows import Case
from ..core.targets import Target
from ..engine import Engine, Options, Outcome
from ..engine.meter import bill
from ..methods.registry import find
from ..models.model import Model
from ..models.wrapping import wrap
from .cases import cases
from .needs import unsupported
from .provenance import versions
from .targets import row_targets

AnyMethod = str | Method | type[Method]
AnyModel = Model | nn.Module | Callable[..., Any]


@overload
def attribute(
    model: AnyModel,
    x: Any,
    method: AnyMethod = ...,
    target: Any = ...,
    *,
    layer: Any = ...,
    seed: int = ...,
    options: Options | None = ...,
) -> Attribution: ...


@overload
def attribute(
    model: AnyModel,
    x: Any,
    method: Sequence[AnyMethod],
    target: Any = ...,
    *,
    layer: Any = ...,
    seed: int = ...,
    options: Options | None = ...,
) -> dict[str, Attribution]: ...


def attribute(  # noqa: PLR0913 - the front door: each of these is a question of its own
    model: AnyModel,
    x: Any,
    method: AnyMethod | Sequence[AnyMethod] = "grad-cam",
    target: Any = None,
    *,
    layer: Any = None,
    seed: int = 0,
    options: Options | None = None,
) -> Attribution | dict[str, Attribution]:
    """Returns what a method says about each row of `x`; a list of methods gives a dict by name.

    x: (N, C, H, W) or any shape with rows first, or a tuple or dict of such inputs; left untouched.
    method: a name, a settings object, or a list of them, which then share their passes.
    target: None (each row's own top class), a class index, a label, a function of a row's output, one of
        `seewhy.targets`, or a list or tensor with one target per row.
    layer: for class activation maps: a name or the module itself, or a list of them.

    Raises UnsupportedModelError before any pass where a method needs gradients or layers of a model that gives scores
    only (a function, an ONNX file). The first error of any method is raised; `seewhy.explain` isolates and reports
    them instead.
    """
    several = isinstance(method, Sequence) and not isinstance(method, str)
    wrapped = wrap(model)
    methods = named_methods(wrapped, method if several else [method], layer)  # type: ignore[list-item,arg-type]
    for error in unsupported(wrapped, methods).values():
        raise error
    batch = cases(wrapped, x, check_seed(seed))
    targets = row_targets(wrapped, target, len(batch))
    if not batch:
        raise InputError("x must have at least one row; given an empty batch. Nothing can be explained.")
    outcomes = run(wrapped, methods, list(zip(batch, targets, strict=True)), options)
    done = {name: collect([outcomes[name, row] for row in range(len(batch))], wrapped, seed) for name in methods}
    return done if several else next(iter(done.values()))


def check_seed(seed: Any) -> int:
    """Returns the seed, or raises SettingError if it is no whole number."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise SettingError(f"seed must be a whole number; given {seed!r}.")
    return seed


def named_methods(model: Model, methods: Sequence[AnyMethod], layer: Any = None) -> dict[str, Method]:
    """Returns settings objects by name, their layers named and known to exist.

    A method that is asked for several times, with other settings, is numbered: "grad-cam", "grad-cam 2".
    """
    found: dict[str, Method] = {}
    for item in methods:
        method = find(item, layer)
        chosen = method.settings().get("layer")
        if chosen is not None and method.info.needs <= model.gives:  # else it has no layers to name
            method = replace(method, layer=layer_names(model, chosen))  # type: ignore[type-var]
        name, number = method.info.name, 2
        while name in found:
            name, number = f"{method.info.name} {number}", number + 1
        found[name] = method
    if not found:
        raise SettingError("methods must name at least one method; given none. seewhy.methods lists them.")
    return found


def layer_names(model: Model, layer: Any) -> str | list[str]:
    """Returns the name of a layer, or the names of several, given by name or as modules."""
    if isinstance(layer, (list, tuple)):
        return [model.layer_name(item) for item in layer]
    return model.layer_name(layer)


def run(
    model: Model,
    methods: Mapping[str, Method],
    rows: Sequence[tuple[Case, Target]],
    options: Options | None,
) -> dict[Any, Outcome]:
    """Returns the outcome of each method at each row, all flows having shared their passes."""
    flows = [
        ((name, row), method.flow(case, target))
        for row, (case, target) in enumerate(rows)
        for name, method in methods.items()
    ]
    return Engine(model, options or Options()).run(flows)


def collect(outcomes: Sequence[Outcome], model: Model, seed: int) -> Attribution:
    """Returns the rows of one method as one attribution; raises the first error."""
    parts: list[Attribution] = [outcome.result() for outcome in outcomes]
    return merge(parts, diagnostics(parts, outcomes, model, seed))


def diagnostics(
    parts: Sequence[Attribution], outcomes: Sequence[Outcome], model: Model, seed: int
) -> Mapping[str, Any]:
    """Returns what is known about a result: its bill, what the method measured, and where it came from.

    What a method measures per row is a number for one row and a list for several.
    """
    names = dict.fromkeys(name for part in parts for name in part.diagnostics)
    measured = {name: [part.diagnostics.get(name) for part in parts] for name in names}
    return {
        **bill([outcome.meter for outcome in outcomes]),
        **{name: values[0] if len(values) == 1 else values for name, values in measured.items()},
        "empty": [empty_reason(part) for part in parts] if len(parts) > 1 else empty_reason(parts[0]),
        "settings": dict(parts[0].settings),
        "seed": seed,
        "device": str(model.device),
        "versions": versions(),
    }


def empty_reason(part: Attribution) -> str | None:
    """Returns why a map shows nothing, or None if it shows something."""
    values = part.values if isinstance(part.values, tuple) else (part.values,)
    if any(bool(torch.any(value != 0)) for value in values):
        return None
    if part.counter is not None:
        return "all evidence was negative: nothing in this layer speaks for the target (see counter)"
    return "every value is zero: the score does not react to what is explained"
