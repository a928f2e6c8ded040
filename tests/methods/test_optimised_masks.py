"""Optimised masks against the papers' algorithms written out slowly with autograd, and on networks of known answer."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seewhy
from seewhy.core.errors import InputError, SettingError
from seewhy.core.method import Method
from seewhy.core.query import Chunk
from seewhy.core.targets import Class, Function
from seewhy.engine import Engine, Options
from seewhy.engine.run import drive
from seewhy.methods import GradCam, Igos, IgosPlusPlus, MeaningfulPerturbation
from seewhy.methods.mask_optimisation import centred, hidden_by, start, stretches
from seewhy.methods.mask_problem import Penalty, Problem, Term
from seewhy.ops.blur import gaussian_blur
from seewhy.ops.seeds import generator
from seewhy.ops.stretch import Stretch
from seewhy.ops.variation import edge_weights, total_variation
from seewhy.study.cases import cases
from seewhy.testing import networks

SIDE = 10
CELLS = 5
KINDS: tuple[type[Method], ...] = (MeaningfulPerturbation, Igos, IgosPlusPlus)
SMALL = {
    MeaningfulPerturbation: MeaningfulPerturbation(size=4, iterations=5),
    Igos: Igos(size=4, steps=3, iterations=3),
    IgosPlusPlus: IgosPlusPlus(size=4, steps=3, iterations=3),
}


def _net() -> nn.Module:
    """A CNN whose answers differ enough for a mask to matter."""
    net = networks.cnn().double()
    with torch.no_grad():
        net.head.weight.mul_(20)
    return net


def _picture() -> Tensor:
    return networks.pictures(1, SIDE, SIDE).double()


# --------------------------------------------------------------------------- the papers' algorithms, slow and plain


class Oracle:
    """Objective of the papers in plain autograd: masks are leaves of a graph that runs through the network."""

    def __init__(self, net: nn.Module, x: Tensor, steps: int, l1: float, tv: float, sigma: float | None) -> None:
        self.net, self.x, self.b = net, x, torch.zeros_like(x)
        with torch.no_grad():  # the class that nothing takes away from most
            self.target = int((net(x).softmax(1) - net(self.b).softmax(1)).argmax())
        self.steps, self.l1, self.tv, self.sigma = steps, l1, tv, sigma

    def up(self, mask: Tensor) -> Tensor:
        return F.interpolate(mask[None, None], size=(SIDE, SIDE), mode="bilinear", align_corners=False)

    def probability(self, kept: Tensor) -> Tensor:
        return self.net(self.x * kept + self.b * (1 - kept)).softmax(1)[0, self.target]

    def along(self, kept: Tensor, inserts: bool) -> Tensor:
        """The mean score on the way from nothing to the mask, with the sign that is minimised."""
        total = torch.zeros((), dtype=torch.float64)
        for step in range(1, self.steps + 1):
            share = step / self.steps * kept
            total = total + self.one(share, inserts)
        return total / self.steps

    def one(self, share: Tensor, inserts: bool) -> Tensor:
        return -self.probability(1 - share) if inserts else self.probability(share)

    def penalty(self, mask: Tensor) -> Tensor:
        rough = (mask[1:] - mask[:-1]).pow(2).mean() + (mask[:, 1:] - mask[:, :-1]).pow(2).mean()
        if self.sigma is not None:
            full, x = self.up(mask)[0, 0], self.x[0] / self.x.std(correction=0)
            down = torch.exp(-(x[:, 1:] - x[:, :-1]).pow(2).mean(0) / self.sigma**2)
            right = torch.exp(-(x[:, :, 1:] - x[:, :, :-1]).pow(2).mean(0) / self.sigma**2)
            rough_2 = (down * (full[1:] - full[:-1]).pow(2)).mean() + (
                right * (full[:, 1:] - full[:, :-1]).pow(2)
            ).mean()
            rough = (rough + rough_2) / 2
        return self.l1 * (1 - mask).abs().mean() + self.tv * rough

    def igos(self, score: Callable[[Tensor, bool], Tensor], masks: Tensor) -> Tensor:
        return score(self.up(masks[0]), False) + self.penalty(masks[0])

    def igos_plus_plus(self, score: Callable[[Tensor, bool], Tensor], masks: Tensor) -> Tensor:
        delete, insert = self.up(masks[0]), self.up(masks[1])
        both = delete * insert
        total = score(delete, False) + score(insert, True) + score(both, False) + score(both, True)
        return total / 2 + self.penalty(masks[0] * masks[1])


def _slope(function: Callable[[Tensor], Tensor], masks: Tensor) -> Tensor:
    masks = masks.detach().requires_grad_()
    return torch.autograd.grad(function(masks), masks)[0]


def _searched(oracle: Oracle, objective: Any, count: int, iterations: int) -> tuple[Tensor, list[float]]:
    """Backtracking one rate at a time, as in the paper."""
    masks, history = torch.ones(count, CELLS, CELLS, dtype=torch.float64), []
    with torch.no_grad():
        history.append(float(objective(oracle.one, masks)))
    for _ in range(iterations):
        slope = _slope(lambda m: objective(oracle.along, m), masks)
        rate = 1.0
        for _trial in range(6):
            moved = (masks - rate * CELLS**2 * slope).clamp(0, 1)
            with torch.no_grad():
                value = float(objective(oracle.one, moved))
            if value < history[-1] - 1e-4 * rate * CELLS**2 * float(slope.square().sum()):
                masks = moved
                history.append(value)
                break
            rate *= 0.2
    return masks, history


def _accelerated(oracle: Oracle, objective: Any, count: int, iterations: int, rate: float) -> list[Tensor]:
    made, masks = [], torch.ones(count, CELLS, CELLS, dtype=torch.float64)
    ahead = masks
    for turn in range(iterations):
        slope = _slope(lambda m: objective(oracle.along, m), ahead)
        new = (ahead - rate * CELLS**2 * slope).clamp(0, 1)
        ahead = (new + turn / (turn + 3) * (new - masks)).clamp(0, 1)
        masks = new
        made.append(masks)
    return made


def _hidden(oracle: Oracle, masks: Tensor) -> Tensor:
    full = torch.ones(1, 1, SIDE, SIDE, dtype=torch.float64)
    for mask in masks:
        full = full * oracle.up(mask)
    return 1 - full[0]


SETTINGS: dict[str, Any] = {"size": CELLS, "steps": 4, "iterations": 6, "l1": 0.05, "tv": 0.2, "baseline": "zero"}
PAPER: dict[str, Any] = {**SETTINGS, "optimizer": "line-search", "learning_rate": 1.0, "average": False}


def test_igos_is_the_papers_algorithm() -> None:
    net, x = _net(), _picture()
    oracle = Oracle(net, x, 4, 0.05, 0.2, None)
    found = Igos(**PAPER).attribute(net, x, oracle.target)
    masks, history = _searched(oracle, oracle.igos, 1, 6)
    assert len(history) > 3  # something happened
    torch.testing.assert_close(found.values, _hidden(oracle, masks), rtol=0, atol=1e-8)
    torch.testing.assert_close(torch.tensor(found.diagnostics["objective"]), torch.tensor(history), rtol=0, atol=1e-8)


def test_igos_plus_plus_is_the_papers_algorithm() -> None:
    net, x = _net(), _picture()
    oracle = Oracle(net, x, 4, 0.05, 0.2, 0.7)
    found = IgosPlusPlus(**PAPER, bilateral=0.7).attribute(net, x, oracle.target)
    masks, history = _searched(oracle, oracle.igos_plus_plus, 2, 6)
    assert (masks.amin((1, 2)) < 0.9).all()
    assert not torch.allclose(masks[0], masks[1], atol=1e-3)
    torch.testing.assert_close(found.values, _hidden(oracle, masks), rtol=0, atol=1e-8)
    torch.testing.assert_close(torch.tensor(found.diagnostics["objective"]), torch.tensor(history), rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", [Igos, IgosPlusPlus])
def test_nesterovs_momentum_is_used(kind: Any) -> None:
    net, x = _net(), _picture()
    more = {"bilateral": None} if kind is IgosPlusPlus else {}
    oracle = Oracle(net, x, 4, 0.05, 0.2, None)
    objective, count = (oracle.igos, 1) if kind is Igos else (oracle.igos_plus_plus, 2)
    found = kind(**SETTINGS, **more, optimizer="nesterov", learning_rate=0.05).attribute(net, x, oracle.target)
    shown = [_hidden(oracle, masks) for masks in _accelerated(oracle, objective, count, 6, 0.05)]
    torch.testing.assert_close(found.values, torch.stack(shown).mean(0), rtol=0, atol=1e-8)
    last = kind(**SETTINGS, **more, average=False).attribute(net, x, oracle.target)
    torch.testing.assert_close(last.values, shown[-1], rtol=0, atol=1e-8)
    searched = kind(**PAPER, **more).attribute(net, x, oracle.target)
    assert float((found.values - searched.values).abs().max()) > 1e-3


def test_meaningful_perturbation_is_the_papers_algorithm() -> None:
    net, x = _net(), _picture()
    method = MeaningfulPerturbation(size=CELLS, iterations=8, smooth=0.6, jitter=3, l1=0.3, tv=0.5, baseline="zero")
    oracle = Oracle(net, x, 1, 0.3, 0.5, None)
    found = method.attribute(net, x, oracle.target, seed=4)
    case = cases(seewhy.wrap(net), x, 4)[0]
    drawn = generator(4, case.id, "mask-jitter")
    with torch.no_grad():
        begin, end = float(oracle.probability(torch.ones(()))), float(oracle.probability(torch.zeros(())))
    places = (torch.arange(CELLS) + 0.5) / CELLS * SIDE - SIDE / 2
    distance = (places[:, None] ** 2 + places**2).sqrt() / (SIDE / 2 * 2**0.5)

    def full(mask: Tensor) -> Tensor:
        return gaussian_blur(oracle.up(mask), 0.6 * SIDE / CELLS)

    balls = [torch.where(distance <= radius / 12, 0.0, 1.0).double() for radius in range(1, 13)]
    mask = next(ball for ball in balls if float(oracle.probability(full(ball)).detach()) <= end + 0.01 * (begin - end))
    mask = mask.requires_grad_()
    adam = torch.optim.Adam([mask], lr=0.1)
    for _ in range(8):
        down, right = torch.randint(0, 3, (2,), generator=drawn).tolist()
        shifted = F.pad(full(mask), (right, 0, down, 0), mode="replicate")[..., :SIDE, :SIDE]
        rough = (mask[1:] - mask[:-1]).abs().pow(3).mean() + (mask[:, 1:] - mask[:, :-1]).abs().pow(3).mean()
        adam.zero_grad()
        (oracle.probability(shifted) + 0.3 * (1 - mask).abs().mean() + 0.5 * rough).backward()
        adam.step()
        mask.data.clamp_(0, 1)
    torch.testing.assert_close(found.values, 1 - full(mask.detach())[0], rtol=0, atol=1e-8)


# ------------------------------------------------------------------------------------------------------ the pieces


@pytest.mark.parametrize("shape", [(7,), (4, 6), (3, 1, 5)])
@pytest.mark.parametrize("beta", [1.0, 2.0, 3.0])
def test_the_gradient_of_total_variation_is_autograds(shape: tuple[int, ...], beta: float) -> None:
    mask = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    weights = [
        torch.rand(mask.diff(dim=axis).shape, dtype=torch.float64, generator=torch.Generator().manual_seed(axis))
        for axis in range(mask.dim())
    ]
    for given in (None, weights):
        parts = [
            ((1 if given is None else given[axis]) * mask.diff(dim=axis).abs() ** beta).mean()
            for axis in range(mask.dim())
            if mask.shape[axis] > 1
        ]
        expected = torch.stack(parts).sum()
        value, gradient = total_variation(mask.detach(), beta, given)
        torch.testing.assert_close(value, expected.detach())
        torch.testing.assert_close(gradient, torch.autograd.grad(expected, mask)[0])


def test_edges_of_the_picture_weigh_little() -> None:
    x = torch.zeros(1, 3, 6, 8)
    x[..., 4:] = 1.0
    down, right = edge_weights(x, 0.5)
    assert down.shape == (5, 8)
    assert right.shape == (6, 7)
    assert (down == 1).all()
    torch.testing.assert_close(right[:, 3], torch.full((6,), float(torch.tensor(-4 / 0.25).exp()), dtype=torch.float64))
    assert (right[:, [0, 1, 2, 4, 5, 6]] == 1).all()
    assert all((part == 1).all() for part in edge_weights(torch.full((1, 2, 3, 3), 7.0), 0.1))


@pytest.mark.parametrize(
    ("places", "cells"), [((9,), (4,)), ((7, 10), (3, 10)), ((4, 6, 5), (2, 3, 5)), ((1, 1), (1, 1))]
)
def test_stretching_is_interpolation_and_down_is_its_transpose(places: Any, cells: Any) -> None:
    stretch = Stretch.of(places, cells)
    drawn = torch.Generator().manual_seed(0)
    mask = torch.rand(2, 3, *cells, dtype=torch.float64, generator=drawn)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(places)]
    torch.testing.assert_close(stretch.up(mask), F.interpolate(mask, size=places, mode=mode, align_corners=False))
    pull = torch.rand(2, 3, *places, dtype=torch.float64, generator=drawn)
    for moved in (stretch, stretch.shifted([1] * len(places))):
        torch.testing.assert_close((moved.up(mask) * pull).sum(), (mask * moved.down(pull)).sum())


def _problem(net: nn.Module, x: Tensor, baseline: Any, **more: Any) -> tuple[Any, Problem]:
    model = seewhy.wrap(net)
    case = cases(model, x, 0)[0]
    begun = drive(model, start(case, Class(1), hidden_by(baseline, case)))
    problem = Problem(
        case, begun.optimised, begun.scale, hidden_by(baseline, case), stretches(case, CELLS), Penalty(0.2, 0.3), **more
    )
    return model, problem


@pytest.mark.parametrize("inserts", [False, True])
def test_gradients_along_a_path_with_several_baselines_are_autograds(inserts: bool) -> None:
    net, x = _net(), _picture()
    terms = (Term((1,), inserts, 0.7), Term((0, 1), not inserts, 1.3))
    model, problem = _problem(net, x, ["zero", 0.5, "blur"], terms=terms, alphas=(0.3, 1.0))
    masks = torch.rand(2, CELLS, CELLS, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    found = drive(model, problem.gradient([masks], 0), Options(batch_size=4))[0]

    def objective(masks: Tensor) -> Tensor:
        up = F.interpolate(masks[None], size=(SIDE, SIDE), mode="bilinear", align_corners=False)[0]
        total = _penalty(masks.prod(0))
        for term in terms:
            kept = up[list(term.masks)].prod(0)
            for alpha in (0.3, 1.0):
                for b in (torch.zeros_like(x), torch.full_like(x, 0.5), gaussian_blur(x, SIDE / 15)):
                    share = 1 - alpha * kept if term.inserts else alpha * kept
                    score = net(x * share + b * (1 - share)).softmax(1)[0, 1]
                    total = total + (-1 if term.inserts else 1) * term.weight * score / 6
        return total

    torch.testing.assert_close(found, _slope(objective, masks), rtol=0, atol=1e-10)


def _penalty(mask: Tensor) -> Tensor:
    rough = (mask[1:] - mask[:-1]).pow(2).mean() + (mask[:, 1:] - mask[:, :-1]).pow(2).mean()
    return 0.2 * (1 - mask).mean() + 0.3 * rough


def test_a_path_is_folded_and_its_memory_does_not_grow_with_its_points() -> None:
    net, x = _net(), _picture()
    _, problem = _problem(net, x, None, alphas=tuple((step + 1) / 64 for step in range(64)))
    (query,) = next(problem.gradient(problem.whole(), 0))
    state = query.fold.start()
    for begin in range(0, 64, 8):
        grads = torch.ones(8, 3, SIDE, SIDE, dtype=torch.float64)
        chunk = Chunk(score=torch.zeros(8), input_gradient=(grads,))
        state = query.fold.add(state, slice(begin, begin + 8), chunk)
        held = sum(part.numel() for part in state[0])
        assert held == 3 * SIDE * SIDE
    torch.testing.assert_close(query.fold.finish(state).values[0][0, 0, 0, 0].item(), 65 / 2 / 64)


# ------------------------------------------------------------------------------------------------- known answers


class Patch(nn.Module):
    """Answers yes as far as the pixels of one patch are bright; nothing else matters."""

    def forward(self, x: Tensor) -> Tensor:
        inside = x[:, :, 4:8, 8:12].mean((1, 2, 3))
        return torch.stack([12 * inside - 6, torch.zeros_like(inside)], 1)


PATCHED: dict[str, Any] = {"size": 16, "steps": 8, "baseline": "zero", "l1": 0.3, "tv": 0.1, "average": False}


@pytest.mark.parametrize(
    "method",
    [
        MeaningfulPerturbation(size=16, iterations=150, baseline="zero", smooth=0, jitter=1, l1=0.3, tv=0.1),
        Igos(**PATCHED, optimizer="line-search", learning_rate=1.0),
        Igos(**PATCHED, learning_rate=0.2),
        IgosPlusPlus(**PATCHED, optimizer="line-search", learning_rate=1.0),
    ],
    ids=lambda method: f"{method.info.name} {getattr(method, 'optimizer', '')}",
)
def test_the_mask_lies_on_the_patch_that_decides(method: Method) -> None:
    x = torch.ones(1, 3, 16, 16)
    found = method.attribute(Patch(), x, target=0).values[0]
    patch = torch.zeros(16, 16, dtype=torch.bool)
    patch[4:8, 8:12] = True
    assert float(found[patch].sum() / found.sum()) > 0.9
    assert float(found[patch].mean()) > 0.3


@pytest.mark.parametrize("kind", [Igos, IgosPlusPlus])
def test_line_search_never_raises_the_objective(kind: Any) -> None:
    net, x = _net(), _picture()
    target = Oracle(net, x, 1, 0.0, 0.0, None).target
    found = kind(**{**PAPER, "iterations": 12}).attribute(net, x, target)
    history = found.diagnostics["objective"]
    assert len(history) > 3
    assert all(after < before for before, after in itertools.pairwise(history))


def test_without_probabilities_the_score_is_lowered_and_the_diagnostics_say_so() -> None:
    net, x = _net(), networks.pictures(1, SIDE, SIDE).double()
    probable = Igos(**SETTINGS).attribute(net, x, target=1)
    assert probable.diagnostics["optimised"] == "probability"
    assert probable.targets == (Class(1),)
    model = seewhy.wrap(net, output_kind="value")
    plain = Igos(**SETTINGS).attribute(model, x, target=1)
    assert plain.diagnostics["optimised"] == "score"
    assert any("no probability" in note for note in plain.diagnostics["notes"])
    function = Igos(**SETTINGS).attribute(net, x, target=Function(lambda row: 1000 * row[1]))
    torch.testing.assert_close(function.values, plain.values)  # the scale of a score does not matter


@pytest.mark.parametrize("kind", KINDS)
def test_signals_volumes_vectors_and_several_inputs(kind: type[Method]) -> None:
    method = SMALL[kind]
    drawn = torch.Generator().manual_seed(0)
    for shape in ((2, 9), (1, 5, 6, 4), (7,)):
        size = int(torch.tensor(shape).prod())
        net = networks.seeded(lambda size=size: nn.Sequential(nn.Flatten(), nn.Linear(size, 3)))
        x = torch.randn(2, *shape, generator=drawn)
        values = method.attribute(net, x).values
        assert values.shape == (2, *(shape[1:] if len(shape) > 1 else shape))
        assert float(values.min()) >= 0
        assert float(values.max()) <= 1
    found = method.attribute(networks.two_inputs(), (networks.pictures(2), networks.vectors(2)))
    assert [tuple(part.shape) for part in found.values] == [(2, 8, 8), (2, 6)]
    with pytest.raises(InputError, match="at least one value"):
        method.attribute(nn.Identity(), torch.randn(3))


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_network_hides_nothing(kind: type[Method]) -> None:
    found = SMALL[kind].attribute(networks.constant(networks.cnn()), networks.pictures(2))
    torch.testing.assert_close(found.values, torch.zeros(2, 8, 8), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "method", [SMALL[MeaningfulPerturbation], replace(SMALL[Igos], noise=0.1, l1=0.05, baseline="zero")]
)
def test_chance_follows_the_seed(method: Method) -> None:
    net, x = _net(), _picture()
    fixed = Options(batch_size=4)  # sizes of batches are found by a clock, and move the last bits
    once, again, other = (seewhy.attribute(net, x, method, seed=seed, options=fixed).values for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_a_ball_is_round_in_an_oblong_picture() -> None:
    _, problem = _problem(networks.cnn(), networks.pictures(1, 10, 20), "zero")
    problem = replace(problem, stretches=[Stretch.of((10, 20), (10, 20))])
    hidden = centred(problem, 0.4)[0][0] == 0
    assert int(hidden.any(1).sum()) == int(hidden.any(0).sum()) == 8
    assert not centred(problem, 0.01)[0].eq(0).any()


# ------------------------------------------------------------------------------------------------------------ cost


def test_rows_are_what_is_declared() -> None:
    net, x = _net(), _picture()
    plain: dict[str, Any] = {"size": 4, "steps": 5, "iterations": 3, "noise": 0.05}  # with noise no search ends early
    searched: dict[str, Any] = {"optimizer": "line-search", "learning_rate": 1.0}
    ends = 2  # the picture and its baseline
    for method, expected in (
        (Igos(**plain, **searched), 3 * (5 + 7)),
        (IgosPlusPlus(**plain, **searched, trials=4), 4 * 3 * (5 + 5)),
        (Igos(**plain, **searched, baseline=["zero", "blur"]), 2 * 3 * (5 + 7) + 1),
        (Igos(**plain), 3 * 5),
        (MeaningfulPerturbation(size=4, iterations=6), 6 + 12),
    ):
        engine = Engine(seewhy.wrap(net))
        flow = method.flow(cases(engine.model, x, 0)[0], Class(0))
        engine.run([("one", flow)])["one"].result()
        assert engine.meters.rows == expected + ends


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_share_rounds(kind: type[Method]) -> None:
    model = seewhy.wrap(_net())
    pictures = networks.pictures(4, SIDE, SIDE).double()
    rounds = []
    for rows in ([pictures], pictures.split(1)):
        total = 0
        for part in rows:
            engine = Engine(model)
            flows = [(case.id, SMALL[kind].flow(case, Class(0))) for case in cases(model, part, 0)]
            for outcome in engine.run(flows).values():
                outcome.result()
            total += engine.meters.rounds
        rounds.append(total)
    assert rounds[0] <= rounds[1] / 2


def test_settings_are_checked() -> None:
    for kind, wrong in (
        (Igos, {"decay": 1.0}),
        (Igos, {"optimizer": "adam"}),
        (IgosPlusPlus, {"bilateral": 0.0}),
        (MeaningfulPerturbation, {"jitter": 0}),
        (MeaningfulPerturbation, {"beta": 0.5}),
    ):
        with pytest.raises(SettingError):
            kind(**wrong)
    assert GradCam().info.family != Igos().info.family
