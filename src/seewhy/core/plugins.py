"""Classes by name: those of the package, and third-party ones found by entry point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from .errors import SettingError

C = TypeVar("C")


def registered(
    group: str, base: type[C], built_in: Sequence[type[C]], word: str
) -> tuple[dict[str, type[C]], dict[str, str]]:
    """Returns the classes by name, and by name what is wrong with entry points that give none.

    group: of the entry points, whose name must be the class's own, `info.name`. base: what all derive from. word: what
    messages call one, such as "method".
    """
    found: dict[str, type[C]] = {_name(cls): cls for cls in built_in}
    broken: dict[str, str] = {}
    for point in entry_points(group=group):
        try:
            found[point.name] = _loaded(point, found, base, word)
        except SettingError as error:
            broken[point.name] = str(error)
    return found, broken


def _loaded(point: EntryPoint, taken: Mapping[str, type[C]], base: type[C], word: str) -> type[C]:
    """Returns the class that an entry point names, or raises SettingError with what is wrong."""
    where = f"Entry point {point.name!r} ({point.value})"
    try:
        cls = point.load()
    except Exception as error:  # somebody else's package: whatever it raises must not stop all others
        raise SettingError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, base)):
        home = f"{base.__module__}.{base.__qualname__}"
        raise SettingError(f"{where} must name a subclass of {home}; it names {cls!r}.")
    if point.name in taken or _name(cls) != point.name:
        raise SettingError(
            f"{where} must carry the free name of its {word}; the {word} calls itself {_name(cls)!r}"
            + (", which is taken." if point.name in taken else ".")
        )
    return cls


def _name(cls: Any) -> str:
    name: str = cls.info.name
    return name
