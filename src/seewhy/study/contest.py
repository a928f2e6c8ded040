"""What an evaluation asks of every picture: entrants, metrics, target, all checked before the first one is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..core.errors import SettingError, UnsupportedModelError
from ..core.method import Method
from ..core.metric import Metric
from ..core.rows import Case
from ..core.targets import Target
from ..engine import Options
from ..methods.registry import find as find_method
from ..metrics.registry import find as find_metric
from ..models.black_box import EVERYTHING
from ..models.model import Model
from ..models.wrapping import load, wrap
from .attribute import AnyMethod, AnyModel, check_seed, named_methods
from .controls import CONTROLS, FAMILY
from .keys import NoContentError, key_of, model_key
from .needs import unsupported, usable
from .plan import DEFAULT_METHODS
from .targets import row_targets
from .truth import Truth

AnyMetric = str | Metric | type[Metric]
DEFAULT_METRICS = ("insertion", "deletion", "insertion-minus-deletion")
TRUTH = "truth"
UNITS = "score's units"


@dataclass(frozen=True, slots=True)
class Entrant:
    """A line of the table: a method with its settings, at one layer."""

    name: str
    method: Method
    layer: str | None

    @property
    def control(self) -> bool:
        """Whether its maps never saw the network."""
        return self.method.info.family == FAMILY


@dataclass(frozen=True, slots=True)
class Contest:
    """What is asked of every picture; checked before the first one is opened.

    fingerprint: of everything but picture, entrant and metric that decides a result; None where that cannot be told,
    `unkept` then says why, and nothing is kept.
    """

    model: Model
    entrants: tuple[Entrant, ...]
    metrics: Mapping[str, Metric]
    targets: tuple[Target, ...]
    seed: int
    options: Options
    truth: Truth | None
    fingerprint: str | None
    unkept: str = ""

    def entrants_of(self, metric: str) -> tuple[Entrant, ...]:
        """Returns who takes part in a metric: all but the controls whose maps it cannot be asked of.

        A control is no choice of the caller's, so that it does not fail; a method that was asked for does.
        """
        if UNITS not in self.metrics[metric].info.asks:
            return self.entrants
        return tuple(one for one in self.entrants if not one.control or one.method.info.units == "score")

    def keys(self, case: Case, target: Target, truth: Any) -> dict[tuple[str, str], str | None]:
        """Returns the key of each result of a case by entrant and metric, None where it has no telling content."""
        made = {entrant.name: _settings(entrant.method) for entrant in self.entrants}
        asked = {name: _settings(metric) for name, metric in self.metrics.items()}
        seen = {name: truth if TRUTH in metric.info.asks else None for name, metric in self.metrics.items()}
        common = None if self.fingerprint is None else _key(self.fingerprint, case.id, target)
        takes_part = {metric: {entrant.name for entrant in self.entrants_of(metric)} for metric in asked}
        return {
            (entrant, metric): _key(common, made[entrant], asked[metric], seen[metric])
            for entrant in made
            for metric in asked
            if entrant in takes_part[metric]
        }


def make_contest(  # noqa: PLR0913 - as evaluate
    model: AnyModel | str,
    methods: AnyMethod | Sequence[AnyMethod] | None = None,
    metrics: AnyMetric | Sequence[AnyMetric] | None = None,
    *,
    layers: Any = None,
    targets: Any = None,
    seed: int = 0,
    options: Options | None = None,
    truth: Truth | None = None,
    baselines: bool = True,
    pictures: Sequence[str] = (),
) -> Contest:
    """Returns the checked contest over pictures of these names."""
    asked = None if methods is None else [methods] if isinstance(methods, (str, Method, type)) else list(methods)
    measures = named_metrics(metrics)
    _check_truth(measures, truth, pictures)
    for item in asked or ():
        find_method(item)  # a misspelt name is told before weights are loaded
    wrapped = load(model) if isinstance(model, str) else wrap(model)
    if asked is None:
        asked = list(DEFAULT_METHODS if wrapped.gives == EVERYTHING else usable(wrapped))
    entrants = [*_entrants(wrapped, asked, layers), *(_controls() if baselines else ())]
    _check_needs(wrapped, measures)
    wanted = tuple(row_targets(wrapped, targets, len(pictures)))
    seed, chosen = check_seed(seed), options or Options()
    kept = _fingerprint(wrapped, seed, chosen)
    return Contest(wrapped, tuple(entrants), measures, wanted, seed, chosen, truth, *kept)


def named_metrics(metrics: AnyMetric | Sequence[AnyMetric] | None) -> dict[str, Metric]:
    """Returns the metrics by name; one that is asked for several times, with other settings, is numbered.

    A published protocol keeps its name, "deletion:rise".
    """
    asked = DEFAULT_METRICS if metrics is None else metrics
    several = [asked] if isinstance(asked, (str, Metric, type)) else list(asked)
    found: dict[str, Metric] = {}
    for item in several:
        metric = find_metric(item)
        base = item if isinstance(item, str) else metric.info.name
        name, number = base, 2
        while name in found:
            name, number = f"{base} {number}", number + 1
        found[name] = metric
    if not found:
        raise SettingError("metrics must name at least one metric; given none. None takes insertion and deletion.")
    return found


def _entrants(model: Model, asked: Sequence[AnyMethod], layers: Any) -> list[Entrant]:
    """Returns the methods at each layer; those without one once. At least one must have one where layers are given."""
    plain = named_methods(model, asked)
    for error in unsupported(model, plain).values():
        raise error
    if layers is None:
        return [Entrant(_label(name, _layer(method)), method, _layer(method)) for name, method in plain.items()]
    wanted = [layers] if not isinstance(layers, (list, tuple)) else list(layers)
    if not any("layer" in method.settings() for method in plain.values()):
        named_methods(model, asked, wanted[0] if wanted else "")  # raises, naming the method
    names = list(dict.fromkeys(model.layer_name(layer) for layer in wanted))
    if not names:
        raise SettingError("layers must name at least one layer; given none. Use None for each method's own.")
    found = []
    for name, method in plain.items():
        if "layer" not in method.settings():
            found.append(Entrant(name, method, None))
            continue
        placed = [(layer, replace(method, layer=layer)) for layer in names]  # type: ignore[type-var]
        found += [Entrant(_label(name, layer), at, layer) for layer, at in placed]
    return found


def _layer(method: Method) -> str | None:
    chosen = method.settings().get("layer")
    return ", ".join(map(str, chosen)) if isinstance(chosen, (list, tuple)) else chosen


def _label(name: str, layer: str | None) -> str:
    return name if layer is None else f"{name} at {layer}"


def _controls() -> list[Entrant]:
    return [Entrant(kind.info.name, kind(), None) for kind in CONTROLS]


def _check_truth(metrics: Mapping[str, Metric], truth: Truth | None, pictures: Sequence[str]) -> None:
    asking = [name for name, metric in metrics.items() if TRUTH in metric.info.asks]
    if asking and truth is None:
        raise SettingError(
            f"{', '.join(asking)} must know where the explained thing is in each picture; given no truth. Give "
            "truth=: boxes by file name, or a JSON file of them (on the command line --truth boxes.json)."
        )
    if truth is not None and not asking:
        raise SettingError(
            f"truth= goes with metrics such as pointing-game; given {', '.join(metrics)}, which do not ask for it. "
            "Leave it out, or name such a metric."
        )
    if truth is not None:
        truth.check(pictures)


def _check_needs(model: Model, metrics: Mapping[str, Metric]) -> None:
    for name, metric in metrics.items():
        lacking = metric.info.needs - model.gives
        if lacking:
            raise UnsupportedModelError(
                f"metric {name!r} expects {' and '.join(sorted(lacking))} of the model; given {model.name!r}, a black "
                "box that gives scores only. Choose metrics that need scores only, such as deletion."
            )


def _fingerprint(model: Model, seed: int, options: Options) -> tuple[str | None, str]:
    """Returns the hash of what decides all results, or None and why there is none."""
    try:
        return key_of(model_key(model), seed, options.autocast), ""
    except NoContentError as error:
        return None, f"Nothing was kept or read from earlier runs: what decides the numbers includes {error}."


def _key(*parts: Any) -> str | None:
    """Returns a key, None where a part has none."""
    try:
        return None if parts[0] is None else key_of(*parts)
    except NoContentError:
        return None


def _settings(item: Method | Metric) -> list[Any]:
    kind = type(item)
    return [kind.__module__, kind.__qualname__, item.info.name, dict(item.settings())]
