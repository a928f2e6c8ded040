"""VarGrad, expected gradients and deconvnet against slow formulas, closed forms, sampling theory and captum."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import captum.attr
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seewhy
from seewhy.core.attribution import Attribution
from seewhy.core.errors import SettingError, UnsupportedModelError
from seewhy.core.method import Method, MethodInfo
from seewhy.core.queries import gradient
from seewhy.core.query import Flow, ask
from seewhy.core.rows import Case
from seewhy.core.targets import Target
from seewhy.methods import Deconvnet, ExpectedGradients, IntegratedGradients, Saliency, SmoothGrad, VarGrad
from seewhy.methods.common import attribution
from seewhy.models.wrapping import wrap
from seewhy.study.cases import cases
from seewhy.targets import Class

from . import oracles
from .networks import ALL, Network, picture
from .oracles import gap, gap_in_norm

DOUBLE = torch.float64


def explain(module: nn.Module, x: Any, method: Any, target: Any = 0, **options: Any) -> seewhy.Attribution:
    seed = options.pop("seed", 0)
    return seewhy.attribute(module, x, method, target, seed=seed, options=seewhy.Options(**options))


def tanh_network(width: int = 5) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 12), nn.Tanh(), nn.Linear(12, 3)).double()


class Quadratic(nn.Module):
    """S = a . x + x' A x / 2 with A symmetric: the gradient is a + A x."""

    def __init__(self, size: int = 6) -> None:
        super().__init__()
        square = torch.randn(size, size, dtype=DOUBLE)
        self.a, self.matrix = nn.Parameter(torch.randn(size, dtype=DOUBLE)), nn.Parameter(square + square.T)

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.a + ((x @ self.matrix) * x).sum(1) / 2)[:, None]


def asked_after_the_anchor(method: Method, module: nn.Module, x: Tensor, target: int) -> Any:
    """Returns what the flow asks for once it knows the class: it is stepped by hand, without an engine."""
    (case,) = cases(wrap(module), x, 0)
    flow = method.flow(case, Class(target))
    next(flow)
    asked = flow.send((Class(target), torch.zeros(1)))
    flow.close()
    return asked


# ----------------------------------------------------------------------------------------------------------- VarGrad


def noisy_inputs(network: Network, method: VarGrad | SmoothGrad) -> Tensor:
    rows = asked_after_the_anchor(method, network.wide(), network.x.double(), network.target).rows
    return rows.build(slice(0, rows.count))


@pytest.mark.parametrize("prepared", ["never", "always"])
def test_vargrad_is_the_variance_over_the_noisy_inputs_it_asked_for(prepared: str) -> None:
    network = ALL["resnet-18"]()
    noisy = noisy_inputs(network, VarGrad(samples=6))
    assert torch.equal(noisy, noisy_inputs(network, SmoothGrad(samples=6)))
    wanted, error = oracles.var_grad(network.twin, noisy, network.score)
    found = explain(network.wide(), network.x.double(), VarGrad(samples=6), network.target, prepared=prepared)
    assert gap(found.values, wanted) < 1e-9
    assert gap(found.error, error) < 1e-9
    assert found.diagnostics["relative_error"] == pytest.approx(float(error.norm() / wanted.norm()), rel=1e-9)


def test_vargrad_is_captums_but_for_the_divisor(monkeypatch: pytest.MonkeyPatch) -> None:
    network = ALL["vgg-11"]()
    module, x, n = network.wide(), network.x.double(), 5
    noise = noisy_inputs(network, VarGrad(samples=n)) - x
    monkeypatch.setattr("torch.normal", lambda _, spread: noise.to(spread))
    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(module))
    options = {"nt_type": "vargrad", "nt_samples": n, "stdevs": 1.0, "abs": False}
    peer = tunnel.attribute(x, target=network.target, **options)
    found = explain(module, x, VarGrad(samples=n), network.target)
    # captum draws in float32, and one of a million rectifiers may notice
    assert gap_in_norm(found.values * (n - 1) / n, peer) < 1e-4
    assert gap_in_norm(found.values, peer) > 0.2


def test_of_a_quadratic_score_the_variance_is_known_and_so_is_its_error() -> None:
    module, x, n = Quadratic(), torch.randn(1, 6, dtype=DOUBLE), 4000
    spread = 0.2 * float(x.max() - x.min())
    wanted = spread**2 * module.matrix.square().sum(0)[None]  # of sum_k A_jk e_k
    found = explain(module, x, VarGrad(samples=n, noise=0.2))
    assert bool(((found.values - wanted).abs() < 4 * found.error).all())
    assert gap(found.error, wanted * (2 / (n - 1)) ** 0.5) < 0.15  # a normal variable's fourth moment is 3 s^4


def test_the_reported_error_of_the_variance_is_its_spread_over_seeds() -> None:
    module, x = tanh_network(), torch.randn(1, 5, dtype=DOUBLE)
    found = [explain(module, x, VarGrad(samples=60, noise=0.3), seed=seed, prepared="never") for seed in range(40)]
    spread = torch.cat([one.values for one in found]).std(0).norm()
    reported = torch.cat([one.error for one in found]).square().mean(0).sqrt().norm()
    assert 0.75 < float(reported / spread) < 1.25


def test_a_linear_score_has_no_variance_and_blocks_end_at_the_tolerance() -> None:
    linear, x = nn.Linear(4, 2).double(), torch.randn(1, 4, dtype=DOUBLE)
    found = explain(linear, x, VarGrad(tolerance=0.1))
    assert not found.values.any()
    assert not found.error.any()
    assert (found.diagnostics["samples"], found.diagnostics["converged"]) == (50, True)
    module = tanh_network()
    reached = [
        explain(module, x.repeat(1, 2)[:, :5], VarGrad(samples=40, tolerance=goal, max_samples=100_000)).diagnostics
        for goal in (0.3, 0.05)
    ]
    for goal, diagnostics in zip((0.3, 0.05), reached, strict=True):
        assert diagnostics["relative_error"] <= goal
        assert diagnostics["samples"] % 40 == 0
    assert reached[0]["samples"] < reached[1]["samples"]
    short = explain(module, x.repeat(1, 2)[:, :5], VarGrad(samples=40, tolerance=1e-6, max_samples=90)).diagnostics
    assert (short["samples"], short["converged"]) == (90, False)


def test_blocks_and_batches_change_the_variance_by_rounding_only() -> None:
    module, x = tanh_network(), torch.randn(1, 5, dtype=DOUBLE)
    whole = explain(module, x, VarGrad(samples=90))
    for samples, batch in ((30, 64), (90, 7)):
        method = VarGrad(samples=samples, tolerance=1e-9, max_samples=90)
        parts = explain(module, x, method, batch_size=batch, prepared="never")
        assert gap(parts.values, whole.values) < 1e-12
        assert gap(parts.error, whole.error) < 1e-12


# -------------------------------------------------------------------------------------------------- expected gradients


def draws_of(method: ExpectedGradients, module: nn.Module, x: Tensor, background: Tensor) -> list[tuple[int, float]]:
    """Returns which example (its number) and position each point was made of, found by geometry alone."""
    inner, _ = asked_after_the_anchor(method, module, x, 0)
    found = []
    for point in inner.rows.build(slice(0, inner.rows.count)):
        along = [((point - b) * (x[0] - b)).sum() / (x[0] - b).square().sum() for b in background]
        off = [float((b + a * (x[0] - b) - point).abs().max()) for a, b in zip(along, background, strict=True)]
        number = min(range(len(off)), key=off.__getitem__)
        assert off[number] < 1e-9
        found.append((number, float(along[number])))
    return found


def test_expected_gradients_are_the_loop_over_the_points_they_asked_for() -> None:
    network = ALL["resnet-18"]()
    background = torch.cat([picture(96, "coffee"), picture(96, "astronaut")]).double()
    method, x = ExpectedGradients(background, samples=6), network.x.double()
    draws = draws_of(method, network.wide(), x, background)
    assert [number for number, _ in draws] == [0, 0, 0, 1, 1, 1]
    steps = [(background[number][None], position) for number, position in draws]
    wanted = oracles.expected_gradients(network.twin, x, steps, network.score)
    for prepared in ("never", "always"):
        found = explain(network.wide(), x, method, network.target, prepared=prepared)
        assert gap(found.values, wanted) < 1e-9
    with torch.no_grad():
        ends = [float(network.score(network.twin(row[None]))) for row in (x[0], *background)]
    difference = ends[0] - (ends[1] + ends[2]) / 2
    missing = abs(float(wanted.sum()) - difference) / abs(difference)
    assert found.diagnostics["score_difference"] == pytest.approx(difference, rel=1e-9)
    assert found.diagnostics["completeness_gap"] == pytest.approx(missing, rel=1e-6)


@pytest.mark.parametrize(("examples", "samples", "points"), [(1, 8, 8), (3, 8, 9), (8, 8, 8), (5, 9, 10)])
def test_small_backgrounds_are_used_evenly_at_one_position_in_each_part(
    examples: int, samples: int, points: int
) -> None:
    x, background = torch.randn(1, 5, dtype=DOUBLE), torch.randn(examples, 5, dtype=DOUBLE)
    draws = draws_of(ExpectedGradients(background, samples=samples), tanh_network(), x, background)
    assert len(draws) == points
    each = points // examples
    for number in range(examples):
        positions = [position for which, position in draws if which == number]
        assert len(positions) == each
        if each > 1:
            assert [int(position * each) for position in positions] == list(range(each))
    if each == 1:
        assert sorted(int(position * points) for _, position in draws) == list(range(points))
    assert len({round(position * 1e6) for _, position in draws}) == points, "no position is used twice"


def test_of_a_large_background_each_example_is_used_at_most_once_and_seeds_choose_others() -> None:
    x, background = torch.randn(1, 5, dtype=DOUBLE), torch.randn(50, 5, dtype=DOUBLE)
    module, method = tanh_network(), ExpectedGradients(background, samples=20)
    draws = draws_of(method, module, x, background)
    assert len({number for number, _ in draws}) == 20
    assert sorted(int(position * 20) for _, position in draws) == list(range(20))
    # A linear score gives away which examples were used: the values are their mean's.
    linear = nn.Linear(5, 1).double()
    found = explain(linear, x, method)
    used = background[[number for number, _ in draws]].mean(0)
    assert gap(found.values, (x - used) * linear.weight) < 1e-12
    assert found.diagnostics["background"] == found.diagnostics["samples"] == 20
    assert found.diagnostics["completeness_gap"] < 1e-12
    other = explain(linear, x, method, seed=1)
    assert gap(other.values, found.values) > 1e-3
    # Blocks go on along the same order, so that all examples have been used evenly when they run out.
    every = explain(linear, x, ExpectedGradients(background, samples=25, tolerance=1e-9, max_samples=50))
    assert every.diagnostics["background"] == every.diagnostics["samples"] == 50
    assert gap(every.values, (x - background.mean(0)) * linear.weight) < 1e-12


@pytest.mark.parametrize("examples", [1, 2, 7])
def test_of_a_linear_score_they_are_exact_and_know_it(examples: int) -> None:
    linear, x = nn.Linear(6, 2).double(), torch.randn(2, 6, dtype=DOUBLE)
    background = torch.randn(examples, 6, dtype=DOUBLE)
    found = explain(linear, x, ExpectedGradients(background, samples=20), 1)
    assert gap(found.values, (x - background.mean(0)) * linear.weight[1]) < 1e-12
    assert max(found.diagnostics["completeness_gap"]) < 1e-12
    assert max(found.diagnostics["relative_error"]) < 1e-12
    assert float(found.error.abs().max()) < 1e-12


def test_one_example_is_integrated_gradients_with_that_baseline() -> None:
    module, x = tanh_network(), torch.randn(1, 5, dtype=DOUBLE) * 2
    start = torch.randn(1, 5, dtype=DOUBLE)
    exact = explain(module, x, IntegratedGradients(baseline=start, steps=64, rule="gauss-legendre"))
    found = explain(module, x, ExpectedGradients(start, samples=100))
    assert float((found.values - exact.values).norm()) < 3 * float(found.error.norm())
    assert gap(found.values, exact.values) < 0.01
    zero = explain(module, x, ExpectedGradients(0.0, samples=100))
    assert gap(zero.values, found.values) > 0.1


def test_of_a_quadratic_score_the_expectation_is_known() -> None:
    module, x = Quadratic(), torch.randn(1, 6, dtype=DOUBLE)
    background = torch.randn(4, 6, dtype=DOUBLE)
    # E over a of a + A (b + a (x - b)) is a + A (x + b) / 2
    wanted = ((x - background) * (module.a + (x + background) / 2 @ module.matrix)).mean(0, keepdim=True).detach()
    found = explain(module, x, ExpectedGradients(background, samples=80))
    assert bool(((found.values - wanted).abs() < 5 * found.error).all())
    assert float(found.error.norm() / wanted.norm()) < 0.02


def exact_values(module: nn.Module, x: Tensor, background: Tensor) -> Tensor:
    method = IntegratedGradients(baseline=background, steps=64, rule="gauss-legendre")
    return explain(module, x, method).values


@pytest.mark.parametrize(("examples", "least"), [(4, 16.0), (300, 2.5)])
def test_the_error_falls_at_least_like_the_root_of_the_samples(examples: int, least: float) -> None:
    module, x = tanh_network(), torch.randn(1, 5, dtype=DOUBLE) * 2
    background = torch.randn(examples, 5, dtype=DOUBLE)
    exact = exact_values(module, x, background)

    def error(samples: int) -> float:
        found = [explain(module, x, ExpectedGradients(background, samples=samples), seed=seed) for seed in range(12)]
        return float(torch.stack([(one.values - exact).square().sum() for one in found]).mean().sqrt())

    # Independent samples give the root of 16, or of 8; on 4 smooth paths, each with one position in each part, 64.
    more = 256 if examples == 4 else 128
    assert error(16) / error(more) > least


@pytest.mark.parametrize(("examples", "samples", "most"), [(4, 64, 1.3), (4, 20, 2.0), (4, 8, 4.0), (400, 20, 1.4)])
def test_the_reported_error_is_the_spread_over_seeds_or_more(examples: int, samples: int, most: float) -> None:
    module, x = tanh_network(), torch.randn(1, 5, dtype=DOUBLE) * 3
    method = ExpectedGradients(torch.randn(examples, 5, dtype=DOUBLE), samples=samples)
    found = [explain(module, x, method, seed=seed) for seed in range(40)]
    spread = torch.cat([one.values for one in found]).std(0).norm()
    reported = torch.cat([one.error for one in found]).square().mean(0).sqrt().norm()
    assert 0.75 < float(reported / spread) < most


def test_blocks_are_drawn_until_gap_and_error_are_small() -> None:
    module, x = tanh_network(), torch.randn(1, 5, dtype=DOUBLE) * 3
    background = torch.randn(300, 5, dtype=DOUBLE)
    once = explain(module, x, ExpectedGradients(background, samples=20)).diagnostics
    assert "converged" not in once
    goal = min(once["relative_error"], 1.0) / 2
    found = explain(module, x, ExpectedGradients(background, samples=20, tolerance=goal)).diagnostics
    assert found["converged"]
    assert found["relative_error"] <= goal
    assert found["completeness_gap"] <= goal
    assert found["samples"] == found["background"] > 20
    short = explain(module, x, ExpectedGradients(background[:7], samples=20, tolerance=1e-9, max_samples=70))
    assert (short.diagnostics["samples"], short.diagnostics["converged"]) == (63, False)  # blocks of 7 times 3


def test_seeds_and_batches() -> None:
    module, x = tanh_network(), torch.randn(2, 5, dtype=DOUBLE)
    method = ExpectedGradients(torch.randn(3, 5, dtype=DOUBLE), samples=20)
    fixed = {"batch_size": 16, "prepared": "never"}
    first, again = (explain(module, x, method, **fixed) for _ in range(2))
    assert torch.equal(first.values, again.values)
    assert torch.equal(first.error, again.error)
    assert gap(explain(module, x, method, seed=1, **fixed).values, first.values) > 1e-6
    for size in (1, 5, 64):
        other = explain(module, x, method, batch_size=size, prepared="never")
        assert gap(other.values, first.values) < 1e-12
        assert gap(other.error, first.error) < 1e-9
    assert gap(explain(module, x[1:], method, **fixed).values[0], first.values[1]) < 1e-12


def test_several_inputs_have_their_own_backgrounds_of_the_same_examples() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 2).double(), nn.Linear(6, 2).double()

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.first(a) + self.second(b)

    module, x = Two(), (torch.randn(1, 4, dtype=DOUBLE), torch.randn(1, 6, dtype=DOUBLE))
    found = explain(module, x, ExpectedGradients([0.5, 1.5], samples=6), 1)
    for values, leaf, layer in zip(found.values, x, (module.first, module.second), strict=True):
        assert gap(values, (leaf - 1.0) * layer.weight[1]) < 1e-12
    assert [error.shape for error in found.error] == [part.shape for part in found.values]
    assert found.diagnostics["completeness_gap"] < 1e-12
    noise = explain(module, x, "expected-gradients", 1)
    assert noise.diagnostics["completeness_gap"] < 1e-12


def test_without_data_noise_in_the_models_range_stands_in_and_a_note_says_so() -> None:
    linear = nn.Linear(400, 1).double()
    x = torch.rand(2, 400, dtype=DOUBLE)
    model = seewhy.wrap(linear, value_range=(-2.0, 4.0))
    found = seewhy.attribute(model, x, "expected-gradients", 0)
    assert found.diagnostics["background"] == [20, 20]
    mean = x - found.values / linear.weight  # of 20 uniform draws, variance 6^2 / 12 / 20
    assert abs(float(mean.mean()) - 1) < 5 * (36 / 12 / 20 / 800) ** 0.5
    assert float(mean.std()) == pytest.approx((36 / 12 / 20) ** 0.5, rel=0.15)
    (note,) = found.diagnostics["notes"]
    assert "No background was given: 20 draws of noise uniform in the model's range" in note
    (note,) = explain(linear, x[:1], "expected-gradients").diagnostics["notes"]
    assert "range of this input's own values" in note
    assert not explain(linear, x, ExpectedGradients(0.0)).diagnostics["notes"]


@dataclass(frozen=True, slots=True)
class Noting(Method):
    """A deconvnet that has something to say."""

    info: ClassVar[MethodInfo] = MethodInfo(
        "noting", "gradient", "Noting", "max", True, "-", frozenset({"gradient", "activations"}), "1", "none"
    )

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        reply = yield from ask(gradient(case.rows(), target, view="deconvnet"))
        scored = reply.resolved[0], reply.score
        return attribution(self, case, reply.values, scored, diagnostics={"notes": ("my own",), "other": 1})


def test_what_a_method_notes_stands_behind_what_the_engine_notes() -> None:
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    found = explain(module, torch.randn(3, 4), Noting()).diagnostics
    assert found["notes"] == ("backward rule applied at 1 relu", "my own")
    assert found["other"] == [1, 1, 1]


@pytest.mark.parametrize(
    "settings",
    [{"samples": 1}, {"tolerance": 0.0}, {"tolerance": 0.1, "max_samples": 50}, {"background": "sky"}],
    ids=str,
)
def test_nonsense_is_refused_when_it_is_set(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        ExpectedGradients(**settings)


# ----------------------------------------------------------------------------------------------------------- deconvnet


@pytest.mark.parametrize("name", list(ALL))
def test_deconvnet_is_the_gradient_through_exchanged_rectifiers(name: str) -> None:
    network = ALL[name]().small()
    found = explain(network.wide(), network.x.double(), Deconvnet(), network.target)
    assert gap(found.values, oracles.deconvnet(network.twin, network.x, network.score)) < 1e-9
    assert gap(found.values, oracles.guided_backprop(network.twin, network.x, network.score)) > 0.1


@pytest.mark.parametrize("name", ["vgg-11", "resnet-18"])
def test_deconvnet_is_captums_on_relu_modules(name: str) -> None:
    network = ALL[name]()
    found = explain(network.wide(), network.x.double(), Deconvnet(), network.target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = captum.attr.Deconvolution(network.twin).attribute(network.x.double().requires_grad_(), network.target)
    assert gap(found.values, peer) < 1e-6


class Activated(nn.Module):
    """Two layers with an activation behind each, and a linear score."""

    def __init__(self, first: Any, second: Any) -> None:
        super().__init__()
        self.one, self.two, self.head = (nn.Linear(8, 8).double() for _ in range(3))
        self.acts = [first, second]  # a plain list: functions, and one module twice, may be in it
        if isinstance(first, nn.Module):
            self.first = first

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.acts[1](self.two(self.acts[0](self.one(x)))))

    def by_hand(self, index: int) -> Tensor:
        """Each activation's slope left out, and what comes back cut at zero."""
        inner = self.head.weight[index].clamp(min=0) @ self.two.weight
        return (inner.clamp(min=0) @ self.one.weight)[None].detach()


def _spellings() -> Iterator[Any]:
    again = nn.ReLU()
    yield pytest.param(nn.ReLU(), nn.ReLU(), id="modules")
    yield pytest.param(again, again, id="one module twice")
    yield pytest.param(nn.ReLU(inplace=True), nn.ReLU(inplace=True), id="in place")
    yield pytest.param(F.relu, torch.relu, id="functions")
    yield pytest.param(torch.relu_, F.relu_, id="functions in place")
    yield pytest.param(Tensor.relu, Tensor.relu_, id="methods")
    for smooth in (F.gelu, F.silu, F.mish, F.softplus, F.leaky_relu, F.hardswish, F.elu, F.relu6):
        yield pytest.param(smooth, smooth, id=smooth.__name__)


@pytest.mark.parametrize(("first", "second"), list(_spellings()))
def test_deconvnet_leaves_the_slope_of_every_rectifier_out(first: Any, second: Any) -> None:
    module, x = Activated(first, second), torch.randn(1, 8, dtype=DOUBLE)
    found = explain(module, x, [Deconvnet(), Saliency()], 3)
    assert gap(found["deconvnet"].values, module.by_hand(3)) < 1e-12
    assert gap(found["saliency"].values, module.by_hand(3).abs()) > 0.05


def test_deconvnet_refuses_a_network_without_rectifiers() -> None:
    with pytest.raises(UnsupportedModelError, match="deconvnet changes how ReLU-like activations"):
        explain(tanh_network(), torch.randn(1, 5, dtype=DOUBLE), "deconvnet")
