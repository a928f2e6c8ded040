"""Checks of what a method says about itself: its facts, its settings, and what it needs of a network."""

from __future__ import annotations

import inspect
import math
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from typing import Any, get_args

import torch

from ..core.attribution import Attribution, Reduce
from ..core.errors import LayerError, SettingError
from ..core.method import Method
from ..core.query import DEFAULT_LAYER, Query
from ..core.targets import Top
from ..engine.run import drive
from ..methods.registry import all_methods
from ..models.wrapping import wrap
from . import networks
from .stage import FIXED, explain, home, network, one_case, queries, questions, watched

NEEDS = frozenset({"gradient", "layer", "activations", "attention"})


def facts(method: Method) -> None:
    """`info` tells everything that the command line and the report show."""
    info = method.info
    for name in ("name", "family", "title", "units", "cost", "reference", "avoid"):
        text = getattr(info, name)
        good = isinstance(text, str) and text.strip()
        assert good, f"info.{name} must be a text; found {text!r}"
    typed = "".join(info.name.lower().split())
    assert info.name == typed, (
        f"info.name must be lower case without spaces, to be typed on a command line; found {info.name!r}"
    )
    assert info.reduce in get_args(Reduce), f"info.reduce must be one of {get_args(Reduce)}; found {info.reduce!r}"
    assert isinstance(info.signed, bool), f"info.signed must be True or False; found {info.signed!r}"
    assert isinstance(info.stochastic, bool), f"info.stochastic must be True or False; found {info.stochastic!r}"
    unknown = set(info.needs) - NEEDS
    assert not unknown, f"info.needs may hold {sorted(NEEDS)}; found {sorted(unknown)} beside them"


def registered(method: Method) -> None:
    """The name leads to this class, so that it can be asked for by name."""
    found = all_methods().get(method.info.name)
    assert found is type(method), (
        f"all_methods()[{method.info.name!r}] must be {type(method).__name__}; found {found!r}. Register it by an "
        "entry point in the group 'seewhy.methods'"
    )


def frozen_settings(method: Method) -> None:
    """Settings are a frozen dataclass with defaults, equal to their like, and survive a journey in a pickle."""
    kind = type(method)
    assert is_dataclass(kind), f"{kind.__name__} must be a dataclass of settings"
    try:
        default: Any = kind()
    except TypeError as error:
        raise AssertionError(f"{kind.__name__}() must work: every setting needs a default; found {error}") from error
    for name in method.settings():
        try:
            setattr(default, name, getattr(default, name))
        except FrozenInstanceError:
            continue
        raise AssertionError(f"settings must be frozen; {kind.__name__}.{name} could be set")
    params = kind.__dataclass_params__
    assert params.frozen, f"{kind.__name__} must be a frozen dataclass"
    assert kind() == kind(), f"two {kind.__name__}() with equal settings must be equal"
    try:
        journey = pickle.loads(pickle.dumps(default))
    except Exception as error:
        raise AssertionError(f"default settings must survive pickling; found {error!r}") from error
    assert journey == default, f"settings must be the same after pickling; found {journey!r}"


def checked_settings(method: Method) -> None:
    """Every setting refuses nonsense when it is set, with a SettingError; not in the middle of a run."""
    for item in fields(method):  # type: ignore[arg-type]
        nonsense: list[object] = [object()]
        if isinstance(getattr(method, item.name), float):
            nonsense.append(math.nan)
        for value in nonsense:
            try:
                type(method)(**{**method.settings(), item.name: value})
            except SettingError:
                continue
            except Exception as error:
                found = repr(error)
            else:
                found = "no error"
            raise AssertionError(f"{item.name}={value!r} must raise SettingError; found {found}")


def protocol(method: Method) -> None:
    """`flow` is a generator that yields queries, one or a tuple of them, and returns an Attribution of one row."""
    assert inspect.isgeneratorfunction(type(method).flow), "flow must be a generator function (use yield from ask(...))"
    net = network(method)
    asked: list[Any] = []
    flow = watched(method.flow(one_case(net, networks.pictures(1)), Top()), asked)
    try:
        result: Any = drive(wrap(net), flow, FIXED)
    except Exception as error:
        result = error
    for question in asked:
        several = question if isinstance(question, tuple) else (question,)
        assert several, "a flow must ask for something each time it yields; found an empty tuple"
        strange = [type(item).__name__ for item in several if not isinstance(item, Query)]
        assert not strange, f"a flow must yield a Query or a tuple of them; found {', '.join(strange)}"
    if isinstance(result, Exception):
        raise result
    assert isinstance(result, Attribution), f"a flow must return an Attribution; found {type(result).__name__}"
    assert len(result) == 1, f"a flow explains one row; found {len(result)}"


def needs(method: Method) -> None:
    """`info.needs` is what the method really asks for, and without a need for gradients it runs without them."""
    asked = queries(questions(method))
    layers = any(query.record.layers or query.rows.entry for query in asked)
    default_layer = any(DEFAULT_LAYER in query.record.layers for query in asked)
    found = {
        "gradient": any(query.record.needs_gradient for query in asked),
        "layer": default_layer or (layers and "layer" in method.info.needs),
        "activations": any(query.view is not None for query in asked),
        "attention": any(query.record.attends for query in asked),
    }
    for need, asks in found.items():
        says = need in method.info.needs
        assert asks == says, (
            f"info.needs must {'hold' if asks else 'not hold'} {need!r}: the method "
            f"{'asks' if asks else 'never asks'} for it; found {sorted(method.info.needs)}"
        )
    if "gradient" not in method.info.needs:
        explain(method, networks.WithoutGradient(network(method)), networks.pictures(1))


def layer_setting(method: Method) -> None:
    """A method that needs a layer takes one by name or module, uses it, and refuses what is no layer."""
    has = "layer" in method.settings()
    says = "layer" in method.info.needs
    assert has == says, (
        f"a setting `layer` and 'layer' in info.needs go together; found {'a' if has else 'no'} setting and "
        f"needs {sorted(method.info.needs)}"
    )
    net, name, x = network(method), home(method).layer, networks.pictures(1)
    if not has:
        _refused(lambda: explain(method, net, x, layer=name), "layer= given to a method without one")
        return
    for layer in (name, net.get_submodule(name)):
        found = explain(method, net, x, layer=layer).layer
        assert found == name, f"the result must say which layer it used, {name!r}; found {found!r}"
    for query in queries(questions(replace(method, layer=name))):  # type: ignore[type-var]
        layers = query.record.layers
        assert not layers or name in layers, f"the method must ask for the layer it is given, {name!r}; found {layers}"
    _refused(lambda: explain(method, net, x, layer="no such layer"), "a layer that does not exist")
    _refused(lambda: explain(method, net, x, layer=torch.nn.ReLU()), "a module of another network")


def _refused(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except LayerError:
        return
    raise AssertionError(f"{what} must raise LayerError; found none")
