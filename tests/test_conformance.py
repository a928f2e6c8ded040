"""Every registered method passes every check of the kit, and every check fails a method that deserves it."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, make_dataclass, replace
from typing import Any

import pytest
import torch

from seewhy.core.attribution import Attribution
from seewhy.core.errors import InputError, LayerError, NotFiniteError, SettingError
from seewhy.core.method import Method, MethodInfo
from seewhy.core.queries import gradient, layer_view, resolve, scores
from seewhy.core.query import Fold, Query, Record, ask
from seewhy.core.rows import Rows
from seewhy.core.targets import Top
from seewhy.methods import AttentionRollout, GradCam, Igos, IgosPlusPlus, MeaningfulPerturbation, Saliency, registry
from seewhy.methods.common import attribution, check_count
from seewhy.testing import CHECKS, check_method, failures, networks

SHORT: dict[str, Method] = {  # hundreds of rounds one after another say no more than a few
    "meaningful-perturbation": MeaningfulPerturbation(size=4, iterations=6),
    "i-gos": Igos(size=4, steps=3, iterations=4),
    "i-gos++": IgosPlusPlus(size=4, steps=3, iterations=3),
}


def _pairs() -> Iterator[Any]:
    yield from itertools.product(registry.all_methods(), CHECKS)


@pytest.mark.parametrize(("name", "check"), list(_pairs()))
def test_method_conforms(name: str, check: str) -> None:
    CHECKS[check](SHORT.get(name) or registry.find(name))


# ------------------------------------------------------------------------------------- methods that are broken


def plain(self: Method, case: Any, target: Any) -> Any:
    """Saliency, which breaks nothing: each broken method differs from it in one thing."""
    reply = yield from ask(gradient(case.rows(), target))
    return attribution(self, case, tuple(part.abs() for part in reply.values), (reply.resolved[0], reply.score))


BROKEN: list[Any] = []


def broken(*expected: str, settings: dict[str, Any] | None = None, frozen: bool = True, **more: Any) -> Any:
    """Makes a method of a flow and lists it with the checks that it must fail, these and no others."""

    def make(flow: Callable[..., Any]) -> type[Method]:
        name = flow.__name__.replace("_", "-")
        facts: dict[str, Any] = {
            "name": name,
            "family": "gradient",
            "title": name,
            "reduce": "max",
            "signed": False,
            "units": "score per unit of input",
            "needs": frozenset({"gradient"}),
            "cost": "1 forward, 1 backward",
            "reference": "none",
            "avoid": "Anywhere but in this file.",
        }
        info = MethodInfo(**facts | {key: more.pop(key) for key in list(more) if key in MethodInfo.__slots__})
        fields = [(key, Any, default) for key, default in (settings or {}).items()]
        made = make_dataclass(
            flow.__name__.title(),
            fields,
            bases=(Method,),
            namespace={"info": info, "flow": flow, **more},
            frozen=frozen,
        )
        made.__module__ = __name__  # so that settings can be pickled
        globals()[made.__name__] = made
        BROKEN.append(pytest.param(made, set(expected), id=name))
        return made

    return make


@broken("facts", reference=" ")
def without_reference(self, case, target):
    return (yield from plain(self, case, target))


@broken("facts", name="Two Words")
def with_a_name_nobody_can_type(self, case, target):
    return (yield from plain(self, case, target))


@broken("registered")
def unregistered(self, case, target):
    return (yield from plain(self, case, target))


@broken("frozen_settings", frozen=False)
def with_loose_settings(self, case, target):
    return (yield from plain(self, case, target))


def _check_rule(self: Any) -> None:
    if not callable(self.rule):
        raise SettingError("rule must be callable")


@broken("frozen_settings", settings={"rule": lambda x: x}, __post_init__=_check_rule)
def with_settings_that_cannot_travel(self, case, target):
    return (yield from plain(self, case, target))


@broken("frozen_settings", settings={"count": MISSING}, __post_init__=lambda self: check_count("count", self.count))
def without_default(self, case, target):
    return (yield from plain(self, case, target))


@broken("checked_settings", settings={"samples": 3})
def with_unchecked_settings(self, case, target):
    return (yield from plain(self, case, target))


@broken("checked_settings", settings={"noise": 0.1}, __post_init__=lambda self: _check_number(self.noise))
def that_takes_nan_for_a_number(self, case, target):
    return (yield from plain(self, case, target))


def _check_number(value: object) -> None:
    if not isinstance(value, float):
        raise SettingError("noise must be a number")


@broken("protocol")
def that_asks_for_nothing(self, case, target):
    yield ()
    return (yield from plain(self, case, target))


@broken("needs", needs=frozenset())
def that_hides_its_need_of_gradients(self, case, target):
    return (yield from plain(self, case, target))


@broken("needs", units="none", reduce="max")
def that_claims_a_need_of_gradients(self, case, target):
    target = yield from resolve(case, target)
    score = yield from ask(scores(case.rows(), target))
    return attribution(self, case, tuple(torch.zeros_like(leaf) for leaf in case.x), (target, score))


@broken("needs", needs=frozenset({"gradient", "activations"}))
def that_claims_a_need_of_activations(self, case, target):
    return (yield from plain(self, case, target))


@broken("needs", needs=frozenset({"gradient", "attention"}))
def that_claims_a_need_of_attention(self, case, target):
    return (yield from plain(self, case, target))


@broken("needs", units="share", reduce="none")
def that_hides_its_need_of_attention(self, case, target):
    made = yield from AttentionRollout().flow(case, target)
    return attribution(self, case, (made.values,), (made.targets[0], made.scores))


def _layer_map(self: Any, case: Any, target: Any, layer: Any) -> Any:
    view = yield from ask(layer_view(case, target, layer))
    values = (view.gradient * view.activation).sum(1).relu()
    return attribution(self, case, (values,), (view.target, view.score), layer=view.layer)


def _check_layer(self: Any) -> None:
    if not (self.layer is None or isinstance(self.layer, (str, torch.nn.Module))):
        raise SettingError("layer takes a name or a module")


LAYERED: dict[str, Any] = {"reduce": "none", "settings": {"layer": None}, "__post_init__": _check_layer}


@broken("layer_setting", needs=frozenset({"gradient", "layer"}), **LAYERED)
def that_ignores_its_layer(self, case, target):
    return (yield from _layer_map(self, case, target, None))


@broken("layer_setting", needs=frozenset({"gradient", "layer"}), reduce="none")
def without_a_layer_setting(self, case, target):
    return (yield from _layer_map(self, case, target, None))


@broken("batch_size")
def that_averages_batches(self, case, target):
    rows = case.vary(4, lambda s: tuple(leaf * torch.arange(4)[s].reshape(-1, 1, 1, 1) for leaf in case.x))
    if case.x[-1].dim() != 4:  # only pictures, to leave the checks with vectors alone
        return (yield from plain(self, case, target))
    target = yield from resolve(case, target)
    fold: Any = Fold(list, lambda state, _, chunk: [*state, chunk.input_gradient[0].mean(0)], torch.stack)
    means = yield from ask(Query(rows, target, fold, Record(input_gradient=True)))
    score = yield from ask(scores(case.rows(), target))
    return attribution(self, case, (means.mean(0)[None].abs(),), (target, score))


@broken("neighbours", "sharing", "targets")
def whose_key_forgets_the_picture(self, case, target):
    own = case.rows()
    rows = Rows(1, own.build, own.leaves, own.owner, own.seed, ("example",))
    reply = yield from ask(gradient(rows, target))
    return attribution(self, case, tuple(part.abs() for part in reply.values), (reply.resolved[0], reply.score))


TICKS = itertools.count(1)


@broken("seed_repeats", stochastic=True)
def that_depends_on_the_number_of_calls(self, case, target):
    made = yield from plain(self, case, target)
    return _times(made, 1 + 1e-6 * (next(TICKS) % 7 + 1))


@broken("seed_repeats", "batch_size", "neighbours", "targets", "modes", "random_numbers", stochastic=True)
def that_draws_from_the_global_generator(self, case, target):
    made = yield from plain(self, case, target)
    return _times(made, 1 + float(torch.rand(())))


def _times(made: Attribution, factor: float) -> Attribution:
    several = isinstance(made.values, tuple)
    return replace(made, values=tuple(part * factor for part in made.values) if several else made.values * factor)


def _factor(case: Any) -> float:
    return 1 + float(torch.rand((), generator=torch.Generator().manual_seed(case.seed)))


@broken("seed_matters")
def that_hides_its_chance(self, case, target):
    made = yield from plain(self, case, target)
    return _times(made, _factor(case))


@broken("seed_matters", stochastic=True)
def that_claims_chance(self, case, target):
    return (yield from plain(self, case, target))


@broken("rows_repeat")
def whose_rows_change(self, case, target):
    def build(_: slice) -> Any:  # a shift this small does not change which units of a network are active
        return tuple(leaf + 1e-5 * (next(TICKS) % 5) for leaf in case.x)

    reply = yield from ask(gradient(case.vary(1, build), target))
    return attribution(self, case, tuple(part.abs() for part in reply.values), (reply.resolved[0], reply.score))


@broken("sharing", stochastic=True)
def whose_key_forgets_the_seed(self, case, target):
    rows = case.vary(1, lambda _: tuple(leaf * _factor(case) for leaf in case.x), "scaled")
    target = yield from resolve(case, target)
    reply = yield from ask(gradient(rows, target))
    values = tuple(part.abs() * _factor(case) for part in reply.values)
    return attribution(self, case, values, (target, reply.score))


@broken("targets")
def that_always_explains_the_top_class(self, case, target):
    return (yield from plain(self, case, Top()))


@broken("targets")
def that_does_not_say_which_class(self, case, target):
    made = yield from plain(self, case, target)
    return replace(made, targets=(target,))


@broken("values")
def with_nan_in_a_corner(self, case, target):
    made = yield from plain(self, case, target)
    if isinstance(made.values, torch.Tensor) and made.values.shape[-1] == networks.SIZE and made.values.any():
        made.values[..., 0, 0] = torch.nan
    return made


@broken("values")
def of_another_dtype(self, case, target):
    return _times((yield from plain(self, case, target)), torch.ones(1, dtype=torch.float64))


@broken("record")
def that_contradicts_itself(self, case, target):
    return replace((yield from plain(self, case, target)), units="something else")


@broken("record")
def whose_error_does_not_fit(self, case, target):
    return replace((yield from plain(self, case, target)), error=torch.zeros(1, 2))


def _picture_only(case: Any) -> None:
    if len(case.leaves) > 1 or case.x[0].dim() != 4:
        raise InputError("one picture, please")


@broken("values", "heatmap", "oblong", "one_pixel", "constant_network", reduce="none")
def that_flattens_its_map(self, case, target):
    _picture_only(case)
    made = yield from plain(self, case, target)
    return replace(made, values=made.values.sum(1).flatten(1))


@broken("signs")
def with_negative_values(self, case, target):
    return _times((yield from plain(self, case, target)), -1.0)


def _check_flag(self: Any) -> None:
    if not isinstance(self.absolute, bool):
        raise SettingError("absolute must be True or False")


@broken("signs", settings={"absolute": True}, __post_init__=_check_flag)
def with_negative_values_on_request(self, case, target):
    return _times((yield from plain(self, case, target)), 1.0 if self.absolute else -1.0)


@broken("double")
def that_always_answers_in_single(self, case, target):
    made = yield from plain(self, case, target)
    return made if isinstance(made.values, tuple) else replace(made, values=made.values.float())


@broken("no_graph")
def that_keeps_a_graph(self, case, target):
    made = yield from plain(self, case, target)
    return _times(made, torch.ones((), requires_grad=True, dtype=case.x[0].dtype))


@broken("diagnostics")
def that_overwrites_the_bill(self, case, target):
    return replace((yield from plain(self, case, target)), diagnostics={"rows": "many"})


@broken("several_inputs")
def that_forgets_an_input(self, case, target):
    made = yield from plain(self, case, target)
    return replace(made, values=made.values[:1]) if isinstance(made.values, tuple) else made


@broken("untouched", "leaks")
def that_leaves_a_hook(self, case, target):
    made = yield from plain(self, case, target)
    torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    return made


@broken("random_numbers")
def that_moves_the_global_generator(self, case, target):
    random.random()
    return (yield from plain(self, case, target))


@broken("interruptions", "failing_network")
def that_leaves_gradients_off(self, case, target):
    torch.set_grad_enabled(False)
    made = yield from plain(self, case, target)
    torch.set_grad_enabled(True)
    return made


@broken("interruptions")
def that_tries_again(self, case, target):
    try:
        return (yield from plain(self, case, target))
    except networks.PlannedError:
        return (yield from plain(self, case, target))


@broken("interruptions", "failing_network")
def that_wraps_errors(self, case, target):
    try:
        return (yield from plain(self, case, target))
    except networks.PlannedError as error:
        raise ValueError("failed") from error


@broken("interruptions", "failing_network")
def that_swallows_errors(self, case, target):
    try:
        return (yield from plain(self, case, target))
    except networks.PlannedError:
        return attribution(self, case, tuple(torch.zeros_like(leaf) for leaf in case.x), (target, torch.zeros(1)))


@broken("interruptions")
def that_will_not_stop(self, case, target):
    try:
        return (yield from plain(self, case, target))
    except GeneratorExit:
        yield from plain(self, case, target)


@broken("not_finite")
def that_makes_a_picture_of_nan(self, case, target):
    try:
        return (yield from plain(self, case, target))
    except NotFiniteError:
        return attribution(self, case, tuple(torch.zeros_like(leaf) for leaf in case.x), (target, torch.zeros(1)))


@broken("modes")
def that_relies_on_the_callers_grad_mode(self, case, target):
    made = yield from plain(self, case, target)
    weight = torch.ones((), requires_grad=True)
    (slope,) = torch.autograd.grad(weight * 3, weight)
    return _times(made, float(slope))


KEPT: list[Any] = []


@broken("leaks")
def that_keeps_its_results(self, case, target):
    made = yield from plain(self, case, target)
    KEPT.append(torch.zeros(1))
    return made


@broken("untouched_input")
def that_writes_to_its_input(self, case, target):
    with torch.no_grad():
        case.x[0].mul_(1.0)
    return (yield from plain(self, case, target))


def _attribute_nothing(self: Method, model: Any, x: Any, target: Any = None, *, seed: int = 0) -> Any:
    return torch.zeros(0) if len(x) == 0 else Method.attribute(self, model, x, target, seed=seed)


@broken("empty_batch", attribute=_attribute_nothing)
def that_explains_nothing(self, case, target):
    return (yield from plain(self, case, target))


@broken("one_pixel")
def that_divides_by_width_less_one(self, case, target):
    made = yield from plain(self, case, target)
    return _times(made, 1 / (case.x[0].shape[-1] - 1))


@broken("oblong", reduce="none")
def that_turns_pictures(self, case, target):
    _picture_only(case)
    made = yield from plain(self, case, target)
    return replace(made, values=made.values.sum(1).transpose(1, 2))


@broken("vectors")
def that_takes_vectors_for_pictures(self, case, target):
    made = yield from plain(self, case, target)
    small = isinstance(made.values, torch.Tensor) and made.values.dim() == 2
    return replace(made, values=made.values.amax(1, keepdim=True)) if small else made


@broken("constant_network")
def that_divides_by_the_largest(self, case, target):
    made = yield from plain(self, case, target)
    return made if isinstance(made.values, tuple) else replace(made, values=made.values / made.values.max())


@broken("constant_network")
def that_shows_the_picture(self, case, target):
    made = yield from plain(self, case, target)
    return made if isinstance(made.values, tuple) else replace(made, values=made.values + case.x[0].detach().abs())


# ------------------------------------------------------------------------------------------ checks that must fail


@pytest.fixture
def all_registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Registers the broken methods, so that this is not what they fail; afterwards puts torch right again."""
    more = tuple(param.values[0] for param in BROKEN if "registered" not in param.values[1])
    monkeypatch.setattr(registry, "BUILT_IN", registry.BUILT_IN + more)
    registry.registered.cache_clear()
    yield
    monkeypatch.undo()
    registry.registered.cache_clear()
    torch.set_grad_enabled(True)
    KEPT.clear()
    torch.nn.modules.module._global_forward_hooks.clear()


@pytest.mark.usefixtures("all_registered")
@pytest.mark.parametrize(("method", "expected"), BROKEN)
def test_broken_method_fails_its_checks_and_no_others(method: Any, expected: set[str]) -> None:
    settings = method(count=3) if method.__name__ == "Without_Default" else method()
    found = failures(settings)
    assert set(found) == expected, found
    assert all(len(message) > 20 for message in found.values())


def test_every_check_fails_some_broken_method() -> None:
    assert set().union(*(param.values[1] for param in BROKEN)) == set(CHECKS)


def _yields_text(self, case, target):
    yield "gradient, please"


def _is_no_generator(self, case, target):
    return []


def _returns_a_tensor(self, case, target):
    reply = yield from ask(gradient(case.rows(), target))
    return reply.values[0]


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (_yields_text, "must yield a Query or a tuple of them; found str"),
        (_is_no_generator, "must be a generator function"),
        (_returns_a_tensor, "must return an Attribution; found Tensor"),
    ],
)
def test_protocol_names_what_a_flow_does_wrong(flow: Callable[..., Any], message: str) -> None:
    method = type("Strange", (Saliency,), {"flow": flow, "__slots__": ()})
    with pytest.raises(AssertionError, match=re.escape(message)):
        CHECKS["protocol"](method())


def test_kit_says_so_if_no_network_suits() -> None:
    def flow(self, case, target):
        yield from resolve(case, target)
        raise LayerError("no layer of this network is called 'encoder.block.11'")

    method = type("Choosy", (Saliency,), {"flow": flow, "__slots__": ()})
    with pytest.raises(AssertionError, match=r"one of the kit's networks: cnn: .*; transformer: "):
        CHECKS["values"](method())


@pytest.mark.parametrize("given", [Saliency(), Saliency, "saliency", GradCam(layer="relu1")])
def test_check_method_takes_names_classes_and_settings(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    few = dict.fromkeys(("facts", "needs"), seen.append)
    monkeypatch.setattr("seewhy.testing.checks.CHECKS", few)
    check_method(given)
    assert len(seen) == 2
    assert all(isinstance(method, Method) for method in seen)


@pytest.mark.usefixtures("all_registered")
def test_check_method_reports_all_failures_in_one_error() -> None:
    with pytest.raises(AssertionError) as raised:
        check_method(that_leaves_a_hook)
    text = str(raised.value)
    assert text.startswith("that-leaves-a-hook fails 2 of ")
    assert (
        "\n  untouched: everything must be as it was after a call; found changes in torch's global_forward_hooks"
        in text
    )
    assert "\n  leaks: calls must leave no hook behind" in text
