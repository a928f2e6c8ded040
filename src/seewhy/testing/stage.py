"""Where a method is put to the test: a network it works on, a way to call it, and a way to watch what it asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..core.attribution import Attribution
from ..core.errors import InputError, LayerError, NoGradientError, UnsupportedModelError
from ..core.method import Method
from ..core.query import Flow, Query
from ..core.rows import Case
from ..core.targets import Top
from ..engine import Options
from ..engine.run import drive
from ..models.wrapping import wrap
from ..study.attribute import attribute
from ..study.cases import cases
from . import networks

FIXED = Options(batch_size=32)
"""With a fixed batch size the same seed gives the same bits."""
REFUSALS = (InputError, LayerError, NoGradientError, UnsupportedModelError)
"""How a method says that a network is not of the kind it explains."""


@dataclass(frozen=True, slots=True)
class Home:
    """A kind of network: how to build one, its layer that class activation maps can use, and an earlier one.

    least: the height and width of the smallest picture that it takes.
    """

    build: Callable[[], nn.Module]
    layer: str
    early: str
    least: int = 1


HOMES = (Home(networks.cnn, "relu2", "relu1"), Home(networks.transformer, "norm1", "norm1", networks.PATCH))
_found: WeakKeyDictionary[type[Method], Home] = WeakKeyDictionary()


def home(method: Method) -> Home:
    """Returns the first kind of network that the method does not refuse.

    Raises AssertionError, with the reasons, if it refuses them all.
    """
    kind = type(method)
    if kind not in _found:
        refusals = []
        for candidate in HOMES:
            try:
                attribute(candidate.build(), networks.pictures(1), method, options=FIXED)
            except REFUSALS as error:
                refusals.append(f"{candidate.build.__name__}: {error}")
                continue
            except Exception:  # a defect: the checks meet it again and report it
                pass
            _found[kind] = candidate
            break
        else:
            raise AssertionError("expected a method that works on one of the kit's networks: " + "; ".join(refusals))
    return _found[kind]


def network(method: Method) -> nn.Module:
    """Returns a new network of a kind that the method works on, with the same weights each time."""
    return home(method).build()


def explain(method: Method, net: nn.Module, x: Any, target: Any = None, **more: Any) -> Attribution:
    """Returns the attribution with a fixed batch size; `more`: layer, seed, options."""
    return attribute(net, x, method, target, **{"options": FIXED, **more})


def parts(values: Any) -> tuple[Tensor, ...]:
    """Returns values as a tuple with one tensor for each attributed input."""
    return values if isinstance(values, tuple) else (values,)


def difference(expected: Attribution, found: Attribution) -> float:
    """Returns the largest difference of two attributions' values as a share of the largest value.

    Infinity where shapes differ. NaN equals NaN: whether values are finite is a question of its own.
    """
    worst = 0.0
    for a, b in zip(parts(expected.values), parts(found.values), strict=True):
        if a.shape != b.shape:
            return float("inf")
        scale = max(float(a.detach().nan_to_num().abs().max()), 1e-12) if a.numel() else 1.0
        apart = (a.detach().double() - b.detach().double()).abs()
        apart[a.isnan() & b.isnan()] = 0.0
        worst = max(worst, float(apart.nan_to_num(torch.inf).max()) / scale if a.numel() else 0.0)
    return worst


def row(attribution: Attribution, index: int) -> Tensor:
    """Returns the values of one row of the first input, with its row axis."""
    return parts(attribution.values)[0][index : index + 1]


def one_case(net: nn.Module, x: Tensor, seed: int = 0) -> Case:
    """Returns the case of the first row of x."""
    return cases(wrap(net), x[:1], seed)[0]


def watched(flow: Flow[Any], asked: list[Any]) -> Flow[Any]:
    """Passes a flow through and notes everything that it yields."""
    advance: Callable[[], Any] = partial(next, flow)
    while True:
        try:
            question = advance()
        except StopIteration as stop:
            return stop.value
        asked.append(question)
        try:
            reply = yield question
        except GeneratorExit:
            flow.close()
            raise
        except Exception as error:
            advance = partial(flow.throw, error)
        else:
            advance = partial(flow.send, reply)


def questions(method: Method, seed: int = 0) -> list[Any]:
    """Returns everything that the method yields for one picture, in order."""
    asked: list[Any] = []
    net = network(method)
    case = one_case(net, networks.pictures(1), seed)
    drive(wrap(net), watched(method.flow(case, Top()), asked), FIXED)
    return asked


def queries(asked: Sequence[Any]) -> list[Query[Any]]:
    """Returns the queries of all rounds, one after another."""
    return [query for question in asked for query in (question if isinstance(question, tuple) else (question,))]


def interrupted(flow: Flow[Any], at: int, error: Exception | None) -> Flow[BaseException | None]:
    """Lets a flow run up to its yield number `at`, then throws the error, or closes it where there is none.

    Returns what came out: the error itself where it passed through, StopIteration where the flow returned a
    result all the same, None where it yielded once more or was closed in peace.
    """
    question = next(flow)
    for _ in range(at):
        reply = yield question
        question = flow.send(reply)
    try:
        if error is None:
            flow.close()
        else:
            flow.throw(error)
    except BaseException as raised:
        return raised
    return None
