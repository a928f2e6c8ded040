"""Checks of the result: shapes, dtype, signs, and everything that says how to read it."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, Literal, get_args, get_origin

import torch
from torch import Tensor, nn

from ..core.attribution import Attribution
from ..core.errors import SeewhyError, SettingError
from ..core.method import Method
from . import networks
from .stage import difference, explain, network, parts


def values(method: Method) -> None:
    """Values are (N, C, H, W) or (N, places) as `reduce` says, finite, in the input's dtype and on its device."""
    x = networks.pictures(2)
    found = explain(method, network(method), x)
    assert isinstance(found.values, Tensor), f"one input gives one tensor; found {type(found.values).__name__}"
    shape = tuple(found.values.shape)
    if method.info.reduce == "none":
        assert shape[:1] == (2,), f"values must have rows first, 2; found {shape}"
        assert len(shape) == 3, f"reduce is 'none', so values must be (N, h, w); found {shape}"
    else:
        assert shape == tuple(x.shape), (
            f"reduce is {method.info.reduce!r}, so values must have the input's shape {tuple(x.shape)}; found {shape}"
        )
    assert found.values.dtype == x.dtype, f"values must have the input's dtype {x.dtype}; found {found.values.dtype}"
    assert found.values.device == x.device, f"values must be on the input's device; found {found.values.device}"
    assert bool(torch.isfinite(found.values).all()), "values must be finite; found NaN or infinity"


def record(method: Method) -> None:
    """The attribution says what `info` says, and its parts fit together."""
    x, info = networks.pictures(2), method.info
    found = explain(method, network(method), x)
    expected: dict[str, Any] = {
        "method": info.name,
        "reduce": info.reduce,
        "signed": info.signed,
        "units": info.units,
        "settings": dict(method.settings()),
        "input_shapes": (tuple(x.shape[1:]),),
    }
    for name, value in expected.items():
        given = getattr(found, name)
        given = dict(given) if isinstance(given, Mapping) else given
        assert given == value, f"attribution.{name} must be {value!r}; found {given!r}"
    scores = tuple(found.scores.shape)
    assert scores == (2,), f"attribution.scores must be one number for each row, (2,); found {scores}"
    assert len(found.targets) == 2, f"attribution.targets must be one for each row; found {len(found.targets)}"
    if found.error is not None:
        shapes = [tuple(part.shape) for part in parts(found.error)]
        wanted = [tuple(part.shape) for part in parts(found.values)]
        assert shapes == wanted, f"attribution.error must have the shape of the values, {wanted}; found {shapes}"
        assert all(bool((part >= 0).all()) for part in parts(found.error)), "errors must not be negative"


def heatmap(method: Method) -> None:
    """heatmap() is one map for each row at the picture's size; size="layer" leaves the layer's grid."""
    found = explain(method, network(method), networks.pictures(2))
    shape = tuple(found.heatmap().shape)
    expected = (2, networks.SIZE, networks.SIZE)
    assert shape == expected, f"heatmap() must be (N, H, W) = {expected}; found {shape}"
    own = tuple(found.heatmap(size="layer").shape)
    assert (len(own), own[0]) == (3, 2), f'heatmap(size="layer") must be (N, h, w); found {own}'


def signs(method: Method) -> None:
    """Values of a result that says it is unsigned are never negative, whatever the settings."""
    net, x = network(method), networks.pictures(3)
    for variant in (method, *_variants(method)):
        found = explain(variant, net, x)
        lowest = min(float(part.nan_to_num().min()) for part in parts(found.values))
        assert found.signed or lowest >= 0, (
            f"signed is False, so no value may be negative; found {lowest:.3g} with {dict(variant.settings())}"
        )


def _variants(method: Method) -> Iterator[Method]:
    """Yields the method with each flag turned over and each other word of a Literal setting."""
    try:
        hints = typing.get_type_hints(type(method))
    except (NameError, TypeError):  # names imported for type checkers only, or aliases written as text
        hints = {}
    for item in fields(method):  # type: ignore[arg-type]
        own = getattr(method, item.name)
        others: list[Any] = [not own] if isinstance(own, bool) else []
        others += [word for word in _words(hints.get(item.name)) if word != own]
        for other in others:
            try:
                yield replace(method, **{item.name: other})  # type: ignore[type-var]
            except SettingError:  # goes only with other settings
                continue


def _words(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    if get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(word for part in get_args(hint) for word in _words(part))
    return ()


def double(method: Method) -> None:
    """float64 in gives float64 out; where nothing is drawn by chance, it agrees with float32."""
    x = networks.pictures(2)
    found = explain(method, network(method).double(), x.double())
    for part in parts(found.values):
        assert part.dtype == torch.float64, f"a float64 input must give float64 values; found {part.dtype}"
    if method.info.stochastic:  # another content, so another id, so other draws
        return
    apart = difference(found, explain(method, network(method), x))
    assert apart <= 0.05, f"float32 and float64 must agree; they differ by {apart:.2g} of the largest value"


def no_graph(method: Method) -> None:
    """Results carry no autograd graph, also where the input requires gradients."""
    x = networks.pictures(2).requires_grad_()
    found = explain(method, network(method), x)
    tensors = {"values": parts(found.values), "scores": (found.scores,)}
    tensors["error"] = parts(found.error) if found.error is not None else ()
    tensors["counter"] = (found.counter,) if found.counter is not None else ()
    for name, several in tensors.items():
        assert not any(tensor.requires_grad for tensor in several), (
            f"attribution.{name} must carry no graph: it would keep the whole pass in memory; found requires_grad=True"
        )


def diagnostics(method: Method) -> None:
    """Diagnostics say what the result cost and how to repeat it."""
    found = explain(method, network(method), networks.pictures(2), seed=7).diagnostics
    for name, least in (("rows", 2), ("forward_passes", 1), ("backward_passes", 0), ("back_offs", 0)):
        number = found.get(name)
        good = isinstance(number, int) and number >= least
        assert good, f"diagnostics[{name!r}] must be a whole number of at least {least}; found {number!r}"
    assert found.get("seed") == 7, f"diagnostics['seed'] must be the seed given, 7; found {found.get('seed')!r}"
    settings = found.get("settings")
    assert settings == dict(method.settings()), f"diagnostics['settings'] must be the settings; found {settings!r}"


def several_inputs(method: Method) -> None:
    """With a picture and a vector: values for each of them, or one map of the first, or a clear refusal."""
    x = (networks.pictures(2), networks.vectors(2))
    found = explain_or_refuse(method, networks.two_inputs(), x)
    if found is None:
        return
    given = parts(found.values)
    if isinstance(found.values, tuple):
        assert len(given) == 2, f"a tuple of values must have one for each of the 2 inputs; found {len(given)}"
    for part, leaf in zip(given, x, strict=False):
        shape = tuple(part.shape)
        if method.info.reduce != "none":
            assert shape == tuple(leaf.shape), f"values of input {tuple(leaf.shape)} must have its shape; found {shape}"
        assert shape[0] == 2, f"values must have rows first, 2; found {shape}"
    found.heatmap()


def explain_or_refuse(method: Method, net: nn.Module, x: Any) -> Attribution | None:
    """Returns the attribution, or None where the method refuses the network or the input in seewhy's own words."""
    try:
        return explain(method, net, x)
    except SeewhyError as error:
        reason = str(error).strip()
    assert reason, "a refusal must say why; found an empty message"
    return None
