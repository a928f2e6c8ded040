"""Infidelity, sensitivity and completeness: linear models where they are known, and captum with the same changes."""

from __future__ import annotations

import math
from typing import Any

import captum.attr
import captum.metrics
import pytest
import torch
from torch import Tensor

import seewhy
from seewhy.core.errors import SettingError
from seewhy.core.metric import Claim, Measurement, Metric
from seewhy.core.targets import Class, Target
from seewhy.engine.run import Engine, drive
from seewhy.methods import (
    ExpectedGradients,
    GradCam,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    Saliency,
    SmoothGrad,
)
from seewhy.metrics import Completeness, Infidelity, Sensitivity
from seewhy.ops.noise import gaussian_rows, uniform_rows

from .toys import PLAIN, attribution, case_of, cnn, draw, measure, values, wrapped

GRADIENT = {"units": "score per unit of input"}


def explained(model: seewhy.Model, method: Any, x: Any, metric: Metric, target: Target | None = None) -> Measurement:
    """Measures a method's own map, in one run."""
    case = case_of(model, x)

    def both() -> Any:
        made = yield from method.flow(case, target or Class(0))
        return (yield from metric.flow(case, target or Class(0), Claim(made, method)))

    found = drive(model, both(), PLAIN)
    assert isinstance(found, Measurement)
    return found


# ------------------------------------------------------------------------------------------------------- infidelity


@pytest.mark.parametrize("perturbation", ["square", "noise"])
@pytest.mark.parametrize("scale", [True, False])
def test_the_gradient_foretells_a_linear_model(perturbation: str, scale: bool) -> None:
    weights, x = draw(1, 2, 6, 6) - 0.5, draw(1, 2, 6, 6, seed=1)
    metric = Infidelity(perturbation, scale=scale)  # type: ignore[arg-type]
    model = values(lambda x: (weights * x).sum((1, 2, 3)))
    found = measure(model, metric, x, weights, **GRADIENT)
    assert found.value == pytest.approx(0, abs=1e-12)
    assert found.details["scale"] == pytest.approx(1)
    wrong = measure(model, metric, x, weights.flip(2), **GRADIENT)
    assert wrong.details["unexplained_share"] > 0.2


def test_scores_foretell_the_squares_they_lie_in() -> None:
    """Values w (x - b) sum to what a square takes away, with channels or without them."""
    weights, x = draw(1, 2, 6, 6) - 0.5, draw(1, 2, 6, 6, seed=1)
    model = values(lambda x: (weights * x).sum((1, 2, 3)))
    terms = weights * (x - 0.3)
    for maps in (terms, terms.sum(1)):
        assert measure(model, Infidelity(baseline=0.3, scale=False), x, maps).value == pytest.approx(0, abs=1e-12)


def test_the_best_scale_forgives_units() -> None:
    weights, x = draw(1, 1, 6, 6) - 0.5, draw(1, 1, 6, 6, seed=1)
    model = values(lambda x: (weights * x).sum((1, 2, 3)))
    found = measure(model, Infidelity(baseline="zero"), x, 7 * weights * x)
    assert found.value == pytest.approx(0, abs=1e-12)
    assert found.details["scale"] == pytest.approx(1 / 7)
    assert measure(model, Infidelity(baseline="zero", scale=False), x, 7 * weights * x).value > 1e-3


def test_an_empty_map_foretells_nothing() -> None:
    model, x = values(lambda x: x.sum((1, 2, 3))), draw(1, 1, 6, 6)
    found = measure(model, Infidelity(), x, torch.zeros(1, 6, 6, dtype=torch.float64))
    assert found.details["unexplained_share"] == pytest.approx(1)


@pytest.mark.parametrize("scale", [True, False])
def test_captums_infidelity(scale: bool) -> None:
    network, x = cnn(), draw(1, 3, 12, 12)
    values_ = draw(1, 3, 12, 12, seed=4) - 0.5
    case = case_of(wrapped(network), x)
    noise = 0.2 * gaussian_rows(x.shape[1:], range(40), seed=0, case_id=case.id, purpose="infidelity-noise ").double()

    def perturb(inputs: Tensor) -> tuple[Tensor, Tensor]:
        return noise, inputs - noise

    theirs = captum.metrics.infidelity(
        network, perturb, x, values_, target=1, n_perturb_samples=40, max_examples_per_batch=40, normalize=scale
    )
    metric = Infidelity("noise", samples=40, scale=scale)
    found = measure(wrapped(network), metric, x, values_, target=Class(1), **GRADIENT)
    assert found.value == pytest.approx(float(theirs), rel=1e-6)


def test_the_standard_error_is_that_of_the_mean() -> None:
    """Over seeds, the values spread as the error of each says."""
    model, x = wrapped(cnn()), draw(1, 3, 12, 12)
    maps = draw(1, 3, 12, 12, seed=4)
    found = [
        measure(model, Infidelity("noise", samples=32, scale=False), x, maps, seed=s, **GRADIENT) for s in range(40)
    ]
    spread = float(torch.tensor([one.value for one in found]).std())
    said = sum(one.details["standard_error"] for one in found) / len(found)
    assert 0.7 < spread / said < 1.4


def test_vectors_and_several_inputs() -> None:
    model = values(lambda a, b: 2 * a.sum(1) + b.sum((1, 2, 3)))
    x = draw(1, 8), draw(1, 1, 4, 4)
    for perturbation in ("square", "noise"):
        maps = torch.full((1, 8), 2.0).double(), torch.ones(1, 1, 4, 4).double()
        found = measure(model, Infidelity(perturbation), x, maps, **GRADIENT)  # type: ignore[arg-type]
        assert found.value == pytest.approx(0, abs=1e-12)


def test_the_batch_does_not_matter() -> None:
    model, x, maps = wrapped(cnn()), draw(1, 3, 12, 12), draw(1, 12, 12)
    found = [
        measure(model, Infidelity(), x, maps, seewhy.Options(batch_size=size, backend="torch", prepared="never")).value
        for size in (1, 5, 64)
    ]
    assert found == pytest.approx([found[0]] * 3, rel=1e-9)


def test_noise_needs_values_of_elements() -> None:
    with pytest.raises(SettingError, match="perturbation='square'"):
        measure(wrapped(cnn()), Infidelity("noise"), draw(1, 3, 12, 12), draw(1, 12, 12))
    with pytest.raises(SettingError, match="side is a share"):
        Infidelity(side=2)


# ------------------------------------------------------------------------------------------------------ sensitivity


def test_a_linear_models_gradient_never_moves() -> None:
    weights = draw(1, 2, 5, 5)
    model = values(lambda x: (weights * x).sum((1, 2, 3)))
    assert explained(model, Saliency(), draw(1, 2, 5, 5, seed=1), Sensitivity()).value == 0


def test_input_times_gradient_moves_with_the_input() -> None:
    """Phi = w x, so Phi(x + d) - Phi(x) = w d."""
    weights, x = draw(1, 1, 5, 5) + 0.5, draw(1, 1, 5, 5, seed=1) + 0.5
    model = values(lambda x: (weights * x).sum((1, 2, 3)))
    found = explained(model, InputXGradient(), x, Sensitivity(radius=0.1, samples=6))
    case = case_of(model, x)
    unit = uniform_rows((1, 5, 5), range(6), seed=0, case_id=case.id, purpose="sensitivity ").double()
    shares = (weights * 0.1 * (2 * unit - 1)).flatten(1).norm(dim=1) / (weights * x).norm()
    assert found.value == pytest.approx(float(shares.max()), rel=1e-9)
    assert found.details["mean"] == pytest.approx(float(shares.mean()), rel=1e-9)


def test_captums_sensitivity() -> None:
    network, x = cnn(), draw(1, 3, 12, 12)
    case = case_of(wrapped(network), x)
    unit = uniform_rows(x.shape[1:], range(8), seed=0, case_id=case.id, purpose="sensitivity ").double()

    def perturb(inputs: Tensor, perturb_radius: float = 0.05) -> Tensor:
        return inputs + perturb_radius * (2 * unit - 1)

    theirs = captum.metrics.sensitivity_max(
        captum.attr.InputXGradient(network).attribute, x, perturb, 0.05, 8, max_examples_per_batch=8, target=1
    )
    found = explained(wrapped(network), InputXGradient(), x, Sensitivity(0.05, 8), Class(1))
    assert found.value == pytest.approx(float(theirs), rel=1e-6)


def test_a_map_out_of_nothing_moves_infinitely() -> None:
    model, x = values(lambda x: x.clamp(min=0).sum(1)), torch.full((1, 3), -0.01, dtype=torch.float64)
    assert explained(model, Saliency(), x, Sensitivity(radius=0.5)).value == math.inf
    assert explained(model, Saliency(), x - 5, Sensitivity()).value == 0


def test_all_changed_inputs_share_their_round() -> None:
    model, x = wrapped(cnn()), draw(1, 3, 12, 12)
    case = case_of(model, x)
    engine = Engine(model, PLAIN)
    claim = Claim(attribution(case, draw(1, 3, 12, 12)), Saliency())
    engine.run([("one", Sensitivity(samples=10).flow(case, Class(0), claim))])
    assert (engine.meters.rows, engine.meters.rounds) == (10, 1)


def test_sampling_methods_work_as_well() -> None:
    found = explained(wrapped(cnn()), SmoothGrad(samples=4), draw(1, 3, 12, 12), Sensitivity(samples=3))
    assert 0 < found.value < math.inf


def test_sensitivity_needs_the_method() -> None:
    with pytest.raises(SettingError, match="method="):
        measure(wrapped(cnn()), Sensitivity(), draw(1, 3, 12, 12), draw(1, 12, 12))


# ----------------------------------------------------------------------------------------------------- completeness


def test_completeness_by_hand() -> None:
    model, x = values(lambda x: x.sum(1)), torch.tensor([[1.0, 3.0]]).double()
    found = measure(model, Completeness(baseline="zero"), x, torch.tensor([[1.0, 2.0]]).double())
    assert found.value == pytest.approx(0.25)
    assert found.details == pytest.approx({"sum": 3, "difference": 4})
    exact = measure(model, Completeness(baseline=1.0), x, torch.tensor([[0.0, 2.0]]).double())
    assert exact.value == 0


@pytest.mark.parametrize(
    "method",
    [
        IntegratedGradients(),
        IntegratedGradients(baseline=[0.0, "uniform"]),
        ExpectedGradients(),
        KernelShap(segments=4),
    ],
)
def test_completeness_is_what_the_methods_say(method: Any) -> None:
    model, x = wrapped(cnn(), value_range=(0, 1)), draw(1, 3, 12, 12)
    case = case_of(model, x)
    made = drive(model, method.flow(case, Class(1)), PLAIN)
    found = drive(model, Completeness().flow(case, Class(1), Claim(made, method)), PLAIN)
    assert found.value == pytest.approx(made.diagnostics["completeness_gap"], rel=1e-3, abs=1e-6)
    assert drive(model, Completeness().flow(case, Class(1), Claim(made)), PLAIN).value == found.value


def test_what_promises_nothing_is_refused() -> None:
    model, x = wrapped(cnn()), draw(1, 3, 12, 12)
    with pytest.raises(SettingError, match="use infidelity"):
        explained(model, GradCam(layer="2"), x, Completeness())
    with pytest.raises(SettingError, match="baseline="):
        explained(model, InputXGradient(), x, Completeness())


def test_nothing_to_share_out() -> None:
    model, x = values(lambda x: 0 * x.sum(1)), torch.ones(1, 2, dtype=torch.float64)
    assert measure(model, Completeness(baseline="zero"), x, torch.zeros(1, 2).double()).value == 0
    assert measure(model, Completeness(baseline="zero"), x, torch.ones(1, 2).double()).value == math.inf
