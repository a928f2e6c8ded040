"""What theory promises, on networks whose answer is known by hand: axioms, closed forms, and rates of convergence."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import seewhy
from seewhy.core.errors import LayerError
from seewhy.methods import Cam, GradCam, HiResCam, IntegratedGradients, SmoothGrad, XGradCam
from seewhy.targets import Class, Difference, Function, Top, Unit

from .networks import ALL
from .oracles import gap

RULES = ("midpoint", "gauss-legendre", "trapezoid", "left", "right")


def linear(weights: Tensor, bias: float = 0.0) -> nn.Linear:
    """Returns a network with one score per row of weights (K, F)."""
    module = nn.Linear(weights.shape[1], weights.shape[0]).to(weights.dtype)
    module.weight.data, module.bias.data = weights.clone(), torch.full_like(module.bias, bias)
    return module


class Quadratic(nn.Module):
    """S = a . x + sum q x^2 / 2, whose gradient a + q x is known everywhere."""

    def __init__(self, a: Tensor, q: Tensor) -> None:
        super().__init__()
        self.a, self.q = nn.Parameter(a), nn.Parameter(q)

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.a + self.q * x.square() / 2).sum(1, keepdim=True)


class Pooled(nn.Module):
    """Convolution, ReLU, global average pooling, linear layer: what CAM was made for."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.relu = nn.ReLU()
        self.head = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.conv(x)).mean((2, 3)))


def tanh_network() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 3)).double()


def explain(module: nn.Module, x: Tensor, method: Any, target: Any = None, **options: Any) -> seewhy.Attribution:
    seed = options.pop("seed", 0)
    return seewhy.attribute(module, x, method, target, seed=seed, options=seewhy.Options(**options))


# ---------------------------------------------------------------------------------------------- integrated gradients


def test_of_a_linear_score_everything_is_weight_times_input() -> None:
    weights, x = torch.randn(3, 6, dtype=torch.float64), torch.randn(2, 6, dtype=torch.float64)
    module = linear(weights, bias=1.7)
    assert gap(explain(module, x, "input-x-gradient", 1).values, weights[1] * x) < 1e-12
    assert gap(explain(module, x, "saliency", 1).values, weights[1].abs().expand(2, 6)) < 1e-12
    for rule in RULES:
        for steps in (2, 3):
            found = explain(module, x, IntegratedGradients(baseline=0.5, steps=steps, rule=rule), 1)
            assert gap(found.values, weights[1] * (x - 0.5)) < 1e-12, rule
            assert max(found.diagnostics["completeness_gap"]) < 1e-12
    found = explain(module, x, IntegratedGradients(baseline=0.5, steps=3, multiply=False), 1)
    assert gap(found.values, weights[1].expand(2, 6)) < 1e-12


@pytest.mark.parametrize(("rule", "exact"), [(rule, rule not in ("left", "right")) for rule in RULES])
def test_of_a_quadratic_score_the_rules_of_second_order_are_exact(rule: str, exact: bool) -> None:
    a, q, x = (torch.randn(1, 5, dtype=torch.float64) for _ in range(3))
    wanted = a * x + q * x.square() / 2  # baseline zero
    found = explain(Quadratic(a, q), x, IntegratedGradients(baseline=0.0, steps=2, rule=rule), 0)
    assert (gap(found.values, wanted) < 1e-12) == exact


def test_the_completeness_gap_falls_with_the_order_of_the_rule() -> None:
    module, x = tanh_network(), torch.randn(1, 5, dtype=torch.float64) * 3

    def gap_at(rule: str, steps: int) -> float:
        return explain(module, x, IntegratedGradients(baseline=0.0, steps=steps, rule=rule), 0).diagnostics[
            "completeness_gap"
        ]

    for rule, order in (("left", 1), ("right", 1), ("midpoint", 2), ("trapezoid", 2)):
        more = 1 if rule == "trapezoid" else 0  # its n points make n - 1 pieces
        slope = math.log2(gap_at(rule, 64 + more) / gap_at(rule, 128 + more))
        assert slope == pytest.approx(order, abs=0.15), rule
    assert gap_at("gauss-legendre", 32) < 1e-9


def recomputed_gap(found: seewhy.Attribution, module: nn.Module, ends: tuple[Tensor, Tensor], index: int) -> float:
    with torch.no_grad():
        difference = float(module(ends[0])[0, index] - module(ends[1])[0, index])
    return abs(float(found.values.sum()) - difference) / abs(difference)


def test_refined_paths_end_below_the_tolerance_and_say_so() -> None:
    module, x = tanh_network(), torch.randn(1, 5, dtype=torch.float64) * 6
    evaluations = []
    for tolerance in (0.05, 1e-3, 1e-5):
        found = explain(module, x, IntegratedGradients(baseline=0.0, tolerance=tolerance), 0)
        reported = found.diagnostics["completeness_gap"]
        assert found.diagnostics["converged"]
        assert reported < tolerance
        assert reported == pytest.approx(recomputed_gap(found, module, (x, 0 * x), 0), abs=1e-9)
        evaluations.append(found.diagnostics["gradient_evaluations"])
    assert evaluations == sorted(evaluations)
    assert evaluations[0] < evaluations[-1]


def test_a_path_that_runs_out_of_steps_says_that_it_has_not_converged() -> None:
    network = ALL["resnet-18"]()
    method = IntegratedGradients(baseline=0.0, tolerance=1e-9, max_steps=24)
    found = explain(network.wide(), network.x[..., :48, :48].double(), method, network.target)
    assert not found.diagnostics["converged"]
    assert found.diagnostics["gradient_evaluations"] <= 24
    x = network.x[..., :48, :48].double()
    honest = recomputed_gap(found, network.twin, (x, torch.zeros_like(x)), network.target)
    assert found.diagnostics["completeness_gap"] == pytest.approx(honest, rel=1e-6)
    assert honest > 1e-9


def test_several_baselines_are_the_mean_over_each() -> None:
    module, x = tanh_network(), torch.randn(1, 5, dtype=torch.float64)
    starts = [torch.randn(5, dtype=torch.float64) for _ in range(3)]
    each = [explain(module, x, IntegratedGradients(baseline=start, steps=6), 1).values for start in starts]
    together = explain(module, x, IntegratedGradients(baseline=starts, steps=6), 1)
    assert together.diagnostics["baselines"] == 3
    assert gap(together.values, torch.stack(each).mean(0)) < 1e-12
    refined = explain(module, x, IntegratedGradients(baseline=starts, tolerance=1e-6), 1)
    exact = [explain(module, x, IntegratedGradients(baseline=s, steps=64, rule="gauss-legendre"), 1) for s in starts]
    assert gap(refined.values, torch.stack([part.values for part in exact]).mean(0)) < 1e-3


def test_two_implementations_of_one_function_get_one_attribution_and_an_unused_input_gets_none() -> None:
    first = nn.Linear(4, 6).double()
    second = nn.Linear(6, 2).double()
    first.weight.data[:, 2] = 0.0
    split = nn.Sequential(first, nn.Linear(6, 6, bias=False).double(), nn.ReLU(), second)
    split[1].weight.data = torch.eye(6, dtype=torch.float64) * 3
    scaled = nn.Sequential(nn.Linear(4, 6).double(), nn.ReLU(), nn.Linear(6, 2).double())  # relu(3 z) = 3 relu(z)
    scaled[0].load_state_dict(first.state_dict())
    scaled[2].load_state_dict({"weight": 3 * second.weight.data, "bias": second.bias.data})
    x = torch.randn(3, 4, dtype=torch.float64)
    for method in ("saliency", "input-x-gradient", IntegratedGradients(steps=9, baseline=-1.0)):
        one, other = explain(split, x, method, 0).values, explain(scaled, x, method, 0).values
        assert gap(one, other) < 1e-12
        assert float(one[:, 2].abs().max()) == 0.0


def test_the_default_baseline_is_black_where_the_model_knows_it_and_else_zero() -> None:
    weights, x = torch.randn(1, 3, dtype=torch.float64), torch.randn(1, 3, dtype=torch.float64)
    known = seewhy.wrap(linear(weights), value_range=(-2.0, 3.0))
    assert gap(IntegratedGradients(steps=2).attribute(known, x, 0).values, weights * (x + 2)) < 1e-6
    assert gap(IntegratedGradients(steps=2).attribute(linear(weights), x, 0).values, weights * x) < 1e-12


# ------------------------------------------------------------------------------------------------------- SmoothGrad


def smooth_case(elements: int) -> tuple[Quadratic, Tensor, Tensor, Tensor]:
    """Returns a quadratic network, x, and the mean and standard deviation of its gradient under unit-range noise.

    The gradient at x + e is a + q (x + e): normal with mean a + q x and deviation |q| noise (max x - min x).
    """
    draw = torch.Generator().manual_seed(3)
    a, q, x = (torch.randn(1, elements, generator=draw, dtype=torch.float64) for _ in range(3))
    return Quadratic(a, q), x, a + q * x, q.abs() * float(x.max() - x.min())


def closed_form(average: str, mean: Tensor, deviation: Tensor) -> Tensor:
    if average == "signed":
        return mean
    if average == "squared":
        return mean.square() + deviation.square()
    spread = deviation * math.sqrt(2 / math.pi) * torch.exp(-mean.square() / (2 * deviation.square()))
    return spread + mean * torch.erf(mean / (deviation * math.sqrt(2)))  # the folded normal distribution


@pytest.mark.parametrize("average", ["absolute", "signed", "squared"])
def test_smoothgrad_has_the_mean_of_the_closed_form_and_its_error_covers_it_at_the_stated_rate(average: str) -> None:
    noise, n = 0.15, 100
    module, x, mean, unit = smooth_case(3000)
    truth = closed_form(average, mean, noise * unit)
    found = explain(module, x, SmoothGrad(samples=n, noise=noise, average=average), 0)
    z = (found.values - truth) / found.error
    # of t-distributed z, 95.0 % lie within 1.984; elements where q is 0 nearly have no spread but count alike
    inside = float((z.abs() < 1.984).double().mean())
    assert inside == pytest.approx(0.95, abs=0.015)  # 3.8 standard errors of a share of 3000
    # a square's distribution leans to one side (skewness up to 2 sqrt 2), which shifts t by skewness / (2 sqrt n)
    lean = math.sqrt(2 / n) if average == "squared" else 0.0
    assert float(z.mean().abs()) < 0.1 + lean
    assert gap(found.values, truth) < 0.25


def test_smoothgrads_error_falls_with_the_root_of_the_samples() -> None:
    module, x, mean, _ = smooth_case(400)

    def miss(samples: int) -> float:
        runs = [explain(module, x, SmoothGrad(samples=samples, average="signed"), 0, seed=seed) for seed in range(6)]
        return float(torch.cat([run.values - mean for run in runs]).square().mean().sqrt())

    few, many = miss(16), miss(256)
    assert math.log(few / many) / math.log(256 / 16) == pytest.approx(0.5, abs=0.05)


def test_settings_that_draw_other_noise_do_not_share_rows_and_settings_that_draw_the_same_do() -> None:
    module, x, _, _ = smooth_case(30)
    methods = [
        SmoothGrad(samples=4, noise=0.1),
        SmoothGrad(samples=4, noise=0.3),
        SmoothGrad(samples=6, noise=0.1),
        SmoothGrad(samples=4, noise=0.1, average="signed"),
    ]
    rows: list[int] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    options = seewhy.Options(batch_size=64, verify_sharing=True)
    together = seewhy.attribute(module, x, methods, 0, options=options)
    handle.remove()
    assert sum(rows) <= 2 + 4 + 4 + 6  # once the image, once more beside company; the fourth is free
    for method, found in zip(methods, together.values(), strict=True):
        assert gap(found.values, explain(module, x, method, 0).values) < 1e-12
    assert gap(together["smoothgrad 2"].values, together["smoothgrad"].values) > 0.01


def test_without_noise_smoothgrad_is_saliency_and_without_error() -> None:
    module, x, mean, _ = smooth_case(20)
    found = explain(module, x, SmoothGrad(samples=3, noise=0.0), 0)
    assert gap(found.values, mean.abs()) < 1e-12
    assert float(found.error.max()) == 0.0


def test_a_seed_repeats_bit_for_bit_and_another_batch_size_changes_only_rounding() -> None:
    network = ALL["vgg-11"]()

    def values(seed: int, batch_size: int | None) -> Tensor:
        method = SmoothGrad(samples=5)
        return explain(network.module, network.x, method, network.target, seed=seed, batch_size=batch_size).values

    assert torch.equal(values(1, 2), values(1, 2))
    assert gap(values(1, 5), values(1, 2)) < 1e-5
    assert gap(values(1, None), values(1, 1)) < 1e-5
    assert gap(values(2, 2), values(1, 2)) > 0.01


def test_stopping_at_a_tolerance_does_not_depend_on_the_batch_size() -> None:
    module, x, mean, _ = smooth_case(50)
    method = SmoothGrad(samples=10, average="signed", tolerance=0.05, max_samples=2000)
    found = [explain(module.float(), x.float(), method, 0, batch_size=size) for size in (1, 7, 64)]
    drawn = {part.diagnostics["samples"] for part in found}
    assert len(drawn) == 1
    assert 10 < drawn.pop() < 2000
    for part in found:
        assert part.diagnostics["converged"]
        assert part.diagnostics["relative_error"] < 0.05
        reached = float(part.error.norm() / part.values.norm())
        assert reached == pytest.approx(part.diagnostics["relative_error"], rel=1e-4)
        assert float((part.values - mean).norm() / mean.norm()) < 0.1


def test_running_out_of_samples_is_said() -> None:
    module, x, _, _ = smooth_case(50)
    found = explain(module, x, SmoothGrad(samples=10, tolerance=1e-6, max_samples=25), 0)
    assert found.diagnostics["samples"] == 25
    assert not found.diagnostics["converged"]


# --------------------------------------------------------------------------------------------- class activation maps


@pytest.mark.parametrize("name", ["efficientnet-lite0", "mobilenet-v2", "resnet-18"])
def test_in_front_of_pooling_cam_hirescam_and_grad_cam_are_one_map(name: str) -> None:
    network = ALL[name]().small()
    module, x = network.wide(), network.x.double()
    methods = [Cam(), HiResCam(relu=False), GradCam(relu=False), XGradCam(relu=False)]
    found = seewhy.attribute(module, x, methods, network.target)
    score, bias = float(found["cam"].scores), float(network.linear().bias[network.target].detach())
    cam = found["cam"].values
    assert float(cam.mean()) + bias == pytest.approx(score, rel=1e-9)
    assert float(found["hires-cam"].values.sum()) == pytest.approx(score - bias, rel=1e-9)
    places = cam[0].numel()
    for other in ("hires-cam", "grad-cam", "xgrad-cam"):
        assert gap(found[other].values * places, cam) < 1e-9


@pytest.mark.parametrize(
    ("name", "layer"), [("vgg-11", None), ("resnet-18", "layer2"), ("efficientnet-lite0", "blocks.4")]
)
def test_cam_refuses_where_no_pooling_and_linear_layer_follow(name: str, layer: str | None) -> None:
    network = ALL[name]().small()
    with pytest.raises(LayerError, match="grad-cam"):
        seewhy.attribute(network.module, network.x, "cam", network.target, layer=layer)


@pytest.mark.parametrize("name", ["grad-cam", "hires-cam", "xgrad-cam", "layer-cam", "grad-cam++"])
def test_where_all_evidence_is_negative_the_map_is_empty_and_the_counter_map_shows_it(name: str) -> None:
    module = Pooled().double()
    module.head.weight.data[2] = -module.head.weight.data[2].abs() - 0.1
    x = torch.rand(1, 3, 6, 6, dtype=torch.float64)
    found = explain(module, x, name, 2)
    assert float(found.values.abs().max()) == 0.0
    assert "negative" in found.diagnostics["empty"]
    activation, slope = torch.relu(module.conv(x)).detach(), -module.head.weight[2].detach()[None, :, None, None] / 36
    if name == "grad-cam++":  # the map of the opposite score: 36 places with alpha = 1 / (2 + g sum A)
        slope = 36 * slope / (2 + slope * activation.sum((2, 3), keepdim=True))
    assert gap(found.counter, (slope * activation).sum(1)) < 1e-12


@pytest.mark.parametrize("name", ["grad-cam", "hires-cam", "xgrad-cam", "layer-cam", "grad-cam++"])
def test_a_map_that_shows_something_has_no_counter_map(name: str) -> None:
    module = Pooled().double()
    module.head.weight.data[2] = module.head.weight.data[2].abs()
    found = explain(module, torch.rand(1, 3, 6, 6, dtype=torch.float64), name, 2)
    assert float(found.values.max()) > 0
    assert found.counter is None
    assert found.diagnostics["empty"] is None


# ----------------------------------------------------------------------------------------------------------- targets

SIGNED = [
    "input-x-gradient",
    IntegratedGradients(steps=4, baseline=0.0),
    GradCam(layer="relu", relu=False),
    HiResCam(layer="relu", relu=False),
    XGradCam(layer="relu", relu=False),
    Cam(layer="relu"),
    SmoothGrad(samples=3, average="signed"),
]


@pytest.fixture
def pooled() -> tuple[Pooled, Tensor]:
    return Pooled().double().eval(), torch.randn(1, 3, 7, 5, dtype=torch.float64)


@pytest.mark.parametrize("method", SIGNED, ids=str)
def test_the_map_of_a_difference_is_the_difference_of_the_maps(pooled: tuple[Pooled, Tensor], method: Any) -> None:
    module, x = pooled
    one, other, both = (explain(module, x, method, t) for t in (Class(1), Class(3), Difference(1, 3)))
    assert gap(both.values, one.values - other.values) < 1e-9
    assert float(both.scores) == pytest.approx(float(one.scores - other.scores), abs=1e-12)


@pytest.mark.parametrize(
    "method",
    [*(one for one in SIGNED if not isinstance(one, Cam)), "saliency", "guided-backprop", "grad-cam++", "layer-cam"],
    ids=str,
)
def test_a_function_that_picks_a_class_is_that_class(pooled: tuple[Pooled, Tensor], method: Any) -> None:
    module, x = pooled
    index = int(module(x).argmax())
    found = [explain(module, x, method, t) for t in (Class(index), Function(lambda row: row[index]), None, index)]
    for other in found[1:]:
        assert gap(other.values, found[0].values) < 1e-12
    assert found[2].targets == (Class(index),)


def test_the_runner_up_is_the_second_class(pooled: tuple[Pooled, Tensor]) -> None:
    module, x = pooled
    second = int(module(x).topk(2).indices[0, 1])
    found = explain(module, x, "saliency", Top(rank=1))
    assert found.targets == (Class(second),)
    assert gap(found.values, explain(module, x, "saliency", second).values) < 1e-12


@pytest.mark.parametrize("position", [None, (2, 3)])
def test_a_unit_inside_a_layer_is_scored_as_autograd_would(
    pooled: tuple[Pooled, Tensor], position: tuple[int, int] | None
) -> None:
    module, x = pooled
    leaf = x.clone().requires_grad_()
    channel = module.conv(leaf)[0, 4]
    score = channel.mean() if position is None else channel[position]
    (wanted,) = torch.autograd.grad(score, leaf)
    found = explain(module, x, ["saliency", "input-x-gradient"], Unit("conv", 4, position))
    assert gap(found["saliency"].values, wanted.abs()) < 1e-12
    assert gap(found["input-x-gradient"].values, wanted * x) < 1e-12
    assert float(found["saliency"].scores) == pytest.approx(float(score.detach()), abs=1e-12)


def test_probability_and_loss_are_softmax_and_cross_entropy(pooled: tuple[Pooled, Tensor]) -> None:
    module, x = pooled
    for of in ("probability", "loss", "logit"):
        leaf = x.clone().requires_grad_()
        z = module(leaf)[0]
        denominator = sum(torch.exp(value) for value in z)
        score = {"probability": torch.exp(z[2]) / denominator, "loss": torch.log(denominator) - z[2], "logit": z[2]}[of]
        (wanted,) = torch.autograd.grad(score, leaf)
        found = explain(module, x, "saliency", Class(2, of=of))
        assert gap(found.values, wanted.abs()) < 1e-9, of
        assert float(found.scores) == pytest.approx(float(score.detach()), rel=1e-9)
    leaf = x.clone().requires_grad_()  # the tutorials' saliency
    nn.functional.cross_entropy(module(leaf), torch.tensor([2])).backward()
    assert leaf.grad is not None
    assert gap(explain(module, x, "saliency", Class(2, of="loss")).values, leaf.grad.abs()) < 1e-9


@pytest.mark.parametrize("sign", [1, -1])
def test_a_single_logit_is_explained_for_the_answer_it_gives(sign: int) -> None:
    weights = torch.tensor([[1.0, 2.0, -0.5]], dtype=torch.float64)
    x = sign * torch.tensor([[1.0, 1.0, 0.5]], dtype=torch.float64)  # logit +-2.75
    module = linear(weights)
    found = explain(module, x, "input-x-gradient")
    assert found.targets == (Class(0, sign=sign),)
    assert gap(found.values, sign * weights * x) < 1e-12
    assert float(found.scores) == pytest.approx(2.75)
    p = 1 / (1 + math.exp(-2.75))
    found = explain(module, x, "input-x-gradient", Top(of="probability"))
    assert float(found.scores) == pytest.approx(p)
    assert gap(found.values, sign * p * (1 - p) * weights * x) < 1e-9
    found = explain(module, x, "input-x-gradient", Top(of="loss"))
    assert float(found.scores) == pytest.approx(-math.log(p))
    assert gap(found.values, -sign * (1 - p) * weights * x) < 1e-9
