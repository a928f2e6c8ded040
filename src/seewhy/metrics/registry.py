"""All measures by name: those of the package, and third-party ones found by entry point."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from ..core import plugins
from ..core.errors import SettingError, UnknownNameError, nearest
from ..core.metric import Metric
from .average_drop import AverageDrop
from .completeness import Completeness
from .deletion import Deletion
from .grid_pointing import GridPointing
from .increase import Increase
from .infidelity import Infidelity
from .insertion import Insertion
from .insertion_minus_deletion import InsertionMinusDeletion
from .localization import Localization
from .pointing_game import PointingGame
from .removal import PRESETS
from .road import Road
from .sensitivity import Sensitivity

GROUP = "seewhy.metrics"
BUILT_IN: tuple[type[Metric], ...] = (
    Deletion,
    Insertion,
    InsertionMinusDeletion,
    AverageDrop,
    Increase,
    Road,
    Infidelity,
    Sensitivity,
    Completeness,
    PointingGame,
    Localization,
    GridPointing,
)
WITH_PRESETS: tuple[type[Deletion] | type[Insertion] | type[InsertionMinusDeletion], ...] = (
    Deletion,
    Insertion,
    InsertionMinusDeletion,
)


@cache
def registered() -> tuple[dict[str, type[Metric]], dict[str, str]]:
    """Returns the classes by name, and by name what is wrong with entry points that give none."""
    return plugins.registered(GROUP, Metric, BUILT_IN, "measure")  # type: ignore[type-abstract] # asked about, not made


def all_metrics() -> Mapping[str, type[Metric]]:
    """Returns every registered class by name; the package's own come first.

    A third-party package registers a class with an entry point in the group `seewhy.metrics`; its name there must be
    the measure's own.
    """
    return dict(registered()[0])


def broken_metrics() -> Mapping[str, str]:
    """Returns what is wrong with each entry point that gives no measure; the others work without it."""
    return dict(registered()[1])


def presets() -> Mapping[str, Metric]:
    """Returns the published protocols by the names that `find` knows, such as "deletion:rise"."""
    return {f"{cls.info.name}:{name}": cls.preset(name) for cls in WITH_PRESETS for name in PRESETS}


def find(metric: str | Metric | type[Metric]) -> Metric:
    """Returns the settings object of a measure given by name, class or object.

    A name may carry a published protocol: "deletion:rise".

    Raises UnknownNameError with the nearest names.
    """
    if isinstance(metric, str):
        return _named(metric)
    if isinstance(metric, type) and issubclass(metric, Metric):
        metric = metric()
    if not isinstance(metric, Metric):
        raise SettingError(
            f"Expected a measure's name or a settings object such as seewhy.metrics.Deletion(); given {metric!r}."
        )
    return metric


def _named(name: str) -> Metric:
    known, broken = registered()
    if name in broken and name not in known:
        raise SettingError(broken[name])
    if name in known:
        return known[name]()
    protocols = presets()
    if name in protocols:
        return protocols[name]
    raise UnknownNameError(
        f"Expected a measure's name, one of {', '.join(known)}, or one with a protocol, such as deletion:rise "
        f"({', '.join(PRESETS)}); given {name!r}." + nearest(name, [*known, *protocols])
    )
