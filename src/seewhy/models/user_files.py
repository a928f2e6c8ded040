"""Networks from a Python file of the user's own, which runs only because the user named it."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ..core.errors import ModelFileError, SeewhyError, UnknownNameError, nearest
from .labels import as_labels
from .preprocess import Preprocessing
from .transforms import CallablePreprocessing

_KEYS = ("model", "preprocess", "labels")
_RETURN = "an nn.Module, a pair (nn.Module, preprocess), or a dict with 'model' and maybe 'preprocess' and 'labels'"


@dataclass(frozen=True, slots=True)
class Built:
    """What a factory returned: the network, and whatever it gave for preprocessing and labels."""

    module: nn.Module
    preprocessing: Preprocessing | CallablePreprocessing | None
    labels: tuple[str, ...] | None


def from_file(spec: str, file: Path, factory: str) -> Built:
    """Returns what `factory` of the Python file makes; it is a function, a class, or a network made already.

    The file runs as a module under a private name. While it and the factory run, its folder comes first in
    `sys.path`, so that it can import its neighbours; afterwards `sys.path` is as it was and neighbours
    imported on the way are forgotten, so that another folder's file of the same name is not mistaken for
    them. (Imports that run later, inside `forward`, do not see the folder.)

    Raises:
        ModelFileError: no such file, the file or the factory raised an exception (which is its cause), the factory
        needs arguments, or it returned something else than expected. UnknownNameError: the file has no such factory.
    """
    if not file.is_file():
        what = "a directory" if file.is_dir() else "no such file"
        raise ModelFileError(f"{spec}: expected a Python file, but '{file}' is {what}; check the path.")
    with _importing(file.resolve().parent):
        with _told(spec, f"'{file}' as a Python file that runs"):
            module = _module(file.resolve())
        made = _factory(spec, module, factory)
        with _told(spec, f"a network from {factory}() of '{file}'"):
            result = made if isinstance(made, nn.Module) else made()
    return _built(spec, result)


def _module(file: Path) -> ModuleType:
    name = f"_seewhy_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ModelFileError(f"'{file}': expected a Python source file; rename it to end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up here
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _factory(spec: str, module: ModuleType, name: str) -> Any:
    """Returns the callable (or ready network) of that name, once it is known to need no arguments."""
    found = getattr(module, name, None)
    if not callable(found):
        own = [
            key
            for key, value in vars(module).items()
            if callable(value) and not key.startswith("_") and getattr(value, "__module__", None) == module.__name__
        ]
        has = "it has no function or class" if not own else "it has " + ", ".join(own[:12])
        raise UnknownNameError(
            f"{spec}: expected a function or class of this file that builds the network, given {name!r}; "
            f"{has}.{nearest(name, own)}"
        )
    if isinstance(found, nn.Module):
        return found
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # made in C: nothing to check
        return found
    try:
        signature.bind()
    except TypeError as error:
        raise ModelFileError(
            f"{spec}: expected a factory that can be called without arguments, but {name} cannot ({error}); "
            "give its parameters defaults, or write a function that calls it."
        ) from None
    return found


def _built(spec: str, result: object) -> Built:
    if isinstance(result, nn.Module):
        return Built(result, None, None)
    if isinstance(result, (tuple, list)) and len(result) == 2 and isinstance(result[0], nn.Module):
        return Built(result[0], _preprocess(spec, result[1]), None)
    if isinstance(result, Mapping) and isinstance(result.get("model"), nn.Module):
        unknown = [str(key) for key in result if key not in _KEYS]
        if unknown:
            raise ModelFileError(
                f"{spec}: expected a dict with the keys {', '.join(_KEYS)}, given also {unknown[0]!r}."
                f"{nearest(unknown[0], _KEYS)} Take it out."
            )
        labels = result.get("labels")
        names = None if labels is None else as_labels(labels)
        return Built(result["model"], _preprocess(spec, result.get("preprocess")), names)
    given = type(result).__name__
    if isinstance(result, Mapping):
        given += " with the keys " + (", ".join(str(key) for key in list(result)[:8]) or "(none)")
    hint = "; return the network, not its class" if isinstance(result, type) else ""
    raise ModelFileError(f"{spec}: expected the factory to return {_RETURN}, given {given}{hint}.")


def _preprocess(spec: str, value: object) -> Preprocessing | CallablePreprocessing | None:
    if value is None or isinstance(value, (Preprocessing, CallablePreprocessing)):
        return value
    if not callable(value):
        raise ModelFileError(
            f"{spec}: expected preprocess to be a function from a picture to a tensor, given "
            f"{type(value).__name__}; give a callable or leave it out."
        )
    return CallablePreprocessing(value)


@contextlib.contextmanager
def _importing(folder: Path) -> Iterator[None]:
    path, known = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - known:
            if name.partition(".")[0] not in known and _is_neighbour(name, folder):
                del sys.modules[name]


def _is_neighbour(name: str, folder: Path) -> bool:
    """Returns whether a module stands beside the file; what an environment in its folder holds does not."""
    module, top = sys.modules[name], name.partition(".")[0]
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    found = [Path(place).resolve() for place in places if isinstance(place, str)]
    return any(place == folder / f"{top}.py" or place.is_relative_to(folder / top) for place in found)


@contextlib.contextmanager
def _told(spec: str, expected: str) -> Iterator[None]:
    """Turns what the user's own code raises into an error that names the place; memory and interrupts pass through."""
    try:
        yield
    except (SeewhyError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        given = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
        raise ModelFileError(
            f"{spec}: expected {expected}, but it raised {given}. Mend it there; the traceback is this error's cause "
            "(on the command line: --debug)."
        ) from error
