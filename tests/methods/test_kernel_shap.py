"""KernelSHAP against games whose Shapley values are known, the axioms, sampling theory and the shap package."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import shap
import torch
from torch import Tensor, nn

import seewhy
from seewhy.core.attribution import Attribution
from seewhy.core.errors import SettingError
from seewhy.methods import KernelShap
from seewhy.ops.shapley import coalitions, draw_pairs, estimate, exact
from seewhy.testing import check_method

DOUBLE = torch.float64
QUARTERS = torch.arange(16).reshape(4, 4) // 8 * 2 + torch.arange(4) // 2


class Game(nn.Module):
    """A game: the players (N, n) are 1 where they take part, 0 where they are at the baseline."""

    def __init__(self, worth: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.worth = worth

    def forward(self, x: Tensor) -> Tensor:
        return self.worth(x)[:, None]


def play(worth: Callable[[Tensor], Tensor], x: Tensor, method: KernelShap | None = None, seed: int = 0) -> Attribution:
    return seewhy.attribute(Game(worth), x, method or KernelShap(baseline=0.0), 0, seed=seed)


def players(count: int) -> Tensor:
    return torch.ones(1, count, dtype=DOUBLE)


def by_orders(worth: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The mean gain of each player over all orders of arrival."""
    count = x.shape[1]
    total, orders = torch.zeros(count, dtype=DOUBLE), list(itertools.permutations(range(count)))
    for order in orders:
        inside = torch.zeros_like(x)
        before = float(worth(inside))
        for player in order:
            inside[0, player] = x[0, player]
            after = float(worth(inside))
            total[player] += after - before
            before = after
    return total / len(orders)


SLOPES = torch.tensor([3.0, -1.0, 0.0, 2.0, 5.0], dtype=DOUBLE)
HEIGHTS = torch.tensor([1.0, 3.0, 3.0, 6.0, 10.0], dtype=DOUBLE)
GAMES: dict[str, tuple[Callable[[Tensor], Tensor], list[float]]] = {
    "additive": (lambda x: x @ SLOPES + 4, SLOPES.tolist()),
    "product": (lambda x: 6 * x.prod(1), [1.5] * 4),
    "airport": (  # each piece of the runway is paid by those who need it
        lambda x: (x * HEIGHTS).amax(1),
        [1 / 5, 1 / 5 + 2 / 4, 1 / 5 + 2 / 4, 1 / 5 + 2 / 4 + 3 / 2, 1 / 5 + 2 / 4 + 3 / 2 + 4],
    ),
    # Players 0 and 1 have a left glove, player 2 a right one, and a pair is worth 1.
    "gloves": (lambda x: torch.minimum(x[:, 0] + x[:, 1], x[:, 2]), [1 / 6, 1 / 6, 4 / 6]),
    "majority": (lambda x: (x.sum(1) > 3.5).to(DOUBLE), [1 / 7] * 7),
}


@pytest.mark.parametrize("name", GAMES)
def test_values_of_known_games_are_those_on_paper(name: str) -> None:
    worth, wanted = GAMES[name]
    found = play(worth, players(len(wanted)))
    torch.testing.assert_close(found.segment_values[0], torch.tensor(wanted, dtype=DOUBLE), rtol=0, atol=1e-12)
    assert found.diagnostics["exact"]
    assert found.diagnostics["coalitions"] == 2 ** len(wanted)
    assert found.diagnostics["completeness_gap"] <= 1e-12
    assert not found.error.any()


def difference(module: nn.Module, x: Tensor, start: Tensor) -> Any:
    with torch.no_grad():
        return pytest.approx(float((module(x) - module(start)).mean()), abs=1e-9)


def network(count: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return nn.Sequential(nn.Linear(count, 16), nn.Tanh(), nn.Linear(16, 1)).double()


def test_values_are_the_mean_gain_over_all_orders() -> None:
    module, x = network(6), torch.randn(1, 6, dtype=DOUBLE)
    with torch.no_grad():
        wanted = by_orders(lambda rows: module(rows)[:, 0], x)
    found = seewhy.attribute(module, x, KernelShap(baseline=0.0), 0)
    torch.testing.assert_close(found.values[0], wanted, rtol=0, atol=1e-12)
    assert float(found.values.sum()) == difference(module, x, 0 * x)


def test_up_to_twelve_features_the_shap_package_has_the_same_values() -> None:
    module, x = network(8), torch.randn(1, 8, dtype=DOUBLE)
    background = torch.randn(4, 8, dtype=DOUBLE)

    def scores(rows: np.ndarray) -> Any:
        with torch.no_grad():
            return module(torch.from_numpy(rows))[:, 0].numpy()

    peer = shap.KernelExplainer(scores, background.numpy()).shap_values(x.numpy(), silent=True, l1_reg=False)
    found = seewhy.attribute(module, x, KernelShap(baseline=background), 0)
    torch.testing.assert_close(found.values, torch.from_numpy(peer), rtol=0, atol=1e-8)
    assert found.diagnostics["baselines"] == 4
    assert float(found.values.sum()) == difference(module, x, background)


def test_pieces_of_a_picture_are_the_players() -> None:
    def worth(x: Tensor) -> Tensor:
        means = [x[:, 0][:, piece == QUARTERS].mean(1) for piece in range(4)]
        return means[0] * means[1] + 2 * means[2]

    x = torch.ones(1, 1, 4, 4, dtype=DOUBLE)
    found = play(worth, x, KernelShap(QUARTERS * 10 - 3, 0.0))
    torch.testing.assert_close(found.segment_values[0], torch.tensor([0.5, 0.5, 2, 0], dtype=DOUBLE))
    assert torch.equal(found.values[0], found.segment_values[0][QUARTERS])
    assert torch.equal(found.segments[0], QUARTERS)


def test_players_that_are_alike_get_alike_and_dummies_nothing() -> None:
    def worth(x: Tensor) -> Tensor:
        return torch.sin(x[:, 0] + x[:, 1]) * x[:, 2] + 4 * x[:, 4]  # player 3 is nowhere

    values = play(worth, players(5)).values[0]
    assert float(values[0]) == pytest.approx(float(values[1]), abs=1e-12)
    assert float(values[3]) == 0
    assert float(values[4]) == pytest.approx(4, abs=1e-12)


def test_values_of_a_sum_of_games_are_the_sums() -> None:
    first, second = network(5), GAMES["airport"][0]
    both = play(lambda x: first(x)[:, 0] + second(x), players(5)).values
    torch.testing.assert_close(
        both, play(lambda x: first(x)[:, 0], players(5)).values + play(second, players(5)).values
    )


def test_one_piece_holds_all_and_a_constant_score_gives_nothing() -> None:
    x = torch.ones(1, 1, 4, 4, dtype=DOUBLE)
    one = play(lambda x: x.sum((1, 2, 3)) + 3, x, KernelShap(torch.zeros(4, 4, dtype=torch.long), 0.0))
    assert one.segment_values[0].tolist() == [16.0]
    for count in (4, 14):
        flat = play(lambda x: 0 * x.sum(1) + 0.1, players(count), KernelShap(baseline=0.0, samples=100))
        assert float(flat.values.abs().max()) < 1e-15
        assert float(flat.error.max()) < 1e-15


# ------------------------------------------------------------------------------------------------------------ sampled


def test_coalitions_are_drawn_from_the_kernel_with_their_complements() -> None:
    n, pairs = 6, 60_000
    drawn = draw_pairs(n, pairs, torch.Generator().manual_seed(0))
    assert torch.equal(drawn[::2], ~drawn[1::2])
    firsts = drawn[::2]
    kernel = torch.tensor([(n - 1) / (math.comb(n, s) * s * (n - s)) for s in range(1, n)], dtype=DOUBLE)
    each = kernel / (kernel * torch.tensor([math.comb(n, s) for s in range(1, n)], dtype=DOUBLE)).sum()
    number = (firsts.long() * 2 ** torch.arange(n)).sum(1)
    share = torch.bincount(number, minlength=2**n).double() / pairs
    for c, members in enumerate(coalitions(n).sum(1).tolist()):
        wanted = 0.0 if members in (0, n) else float(each[members - 1])
        assert abs(float(share[c]) - wanted) <= 5 * (wanted / pairs) ** 0.5


def test_an_additive_game_is_exact_from_few_draws_and_sums_are_always_exact() -> None:
    slopes = torch.linspace(-3, 4, 20, dtype=DOUBLE)
    found = play(lambda x: x @ slopes + 1, players(20), KernelShap(baseline=0.0, samples=80))
    torch.testing.assert_close(found.values[0], slopes, rtol=0, atol=1e-9)
    assert float(found.error.max()) < 1e-9
    assert not found.diagnostics["exact"]
    module, x = network(20), torch.randn(1, 20, dtype=DOUBLE)
    drawn = seewhy.attribute(module, x, KernelShap(baseline=0.0, samples=60), 0)
    assert float(drawn.values.sum()) == difference(module, x, 0 * x)


SAMPLED: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {
    "product of two": (lambda x: 6 * x[:, 0] * x[:, 1] + x[:, 2], torch.tensor([3.0, 3, 1] + [0] * 11, dtype=DOUBLE)),
    "airport": (
        lambda x: (x * torch.arange(1, 15, dtype=DOUBLE)).amax(1),
        torch.cumsum(1 / torch.arange(14, 0, -1, dtype=DOUBLE), 0),
    ),
    "majority": (lambda x: (x.sum(1) > 7.5).to(DOUBLE), torch.full((14,), 1 / 14, dtype=DOUBLE)),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_drawn_values_of_known_games_lie_within_their_errors(name: str) -> None:
    worth, wanted = SAMPLED[name]
    found = play(worth, players(14), KernelShap(baseline=0.0, samples=2000))
    assert float((found.values[0] - wanted).abs().max()) < 0.05 * float(worth(players(14)))
    assert bool(((found.values[0] - wanted).abs() <= 4.5 * found.error[0] + 1e-12).all())
    assert bool((found.error[0] > 0).all())


def test_ninety_five_percent_intervals_hold_the_values_in_ninety_five_percent_of_seeds() -> None:
    module, n = network(8), 8
    inside_all = coalitions(n)
    with torch.no_grad():
        worth = module(2 * inside_all.double())[:, 0]
    wanted, covered, errors, values = exact(worth), [], [], []
    for seed in range(300):
        drawn = draw_pairs(n, 60, torch.Generator().manual_seed(seed))
        number = (drawn.long() * 2 ** torch.arange(n)).sum(1)
        found, error = estimate(drawn, worth[number], (float(worth[0]), float(worth[-1])))
        covered.append((found - wanted).abs() <= 1.96 * error)
        errors.append(error)
        values.append(found)
    share = torch.stack(covered).double().mean(0)
    assert bool((share > 0.91).all()), share
    assert bool((share < 0.985).all()), share
    spread, said = torch.stack(values).std(0), torch.stack(errors).square().mean(0).sqrt()
    torch.testing.assert_close(said, spread, rtol=0.15, atol=0)


def test_blocks_are_drawn_until_the_tolerance_is_met() -> None:
    module, x = network(16), torch.randn(1, 16, dtype=DOUBLE)
    loose, tight = (
        seewhy.attribute(module, x, KernelShap(baseline=0.0, samples=100, tolerance=goal), 0).diagnostics
        for goal in (0.2, 0.02)
    )
    assert loose["relative_error"] <= 0.2
    assert tight["relative_error"] <= 0.02
    assert tight["converged"]
    assert tight["samples"] > loose["samples"]
    short = KernelShap(baseline=0.0, samples=100, tolerance=1e-9, max_samples=250)
    found = seewhy.attribute(module, x, short, 0)
    assert found.diagnostics["samples"] == 250
    assert found.diagnostics["coalitions"] == 252
    assert not found.diagnostics["converged"]
    other = seewhy.attribute(module, x, short, 0, options=seewhy.Options(batch_size=7))
    torch.testing.assert_close(other.values, found.values, rtol=0, atol=1e-12)
    assert float((seewhy.attribute(module, x, short, 0, seed=1).values - found.values).abs().max()) > 1e-4


def test_fewer_pairs_than_pieces_are_owned_up_to() -> None:
    module, x = network(40), torch.randn(1, 40, dtype=DOUBLE)
    found = seewhy.attribute(module, x, KernelShap(baseline=0.0, samples=30), 0)
    assert bool(torch.isinf(found.error).all())
    assert bool(torch.isfinite(found.values).all())
    assert float(found.values.sum()) == difference(module, x, 0 * x)
    assert any("fewer than twice the 40 pieces" in note for note in found.diagnostics["notes"])


def test_rows_with_other_numbers_of_pieces_keep_their_own() -> None:
    def bright(picture: np.ndarray) -> Any:
        return (picture[..., 0] > 0.5).astype(int) if picture.mean() > 0.3 else np.zeros(picture.shape[:2], int)

    x = torch.zeros(2, 1, 4, 4, dtype=DOUBLE)
    x[:, :, 0, 0] = 1
    x[0, :, :2] = 1
    found = play(lambda x: x.sum((1, 2, 3)), x, KernelShap(bright, 0.0))
    assert [len(values) for values in found.segment_values] == [2, 1]
    assert [values.sum().item() for values in found.segment_values] == [8, 1]
    for row in range(2):
        assert torch.equal(found.values[row], found.segment_values[row][found.segments[row]])


@pytest.mark.parametrize(
    "settings",
    [{"samples": 1}, {"tolerance": 0}, {"tolerance": 0.1, "max_samples": 1000}, {"segments": "slic"}, {"baseline": {}}],
)
def test_nonsense_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        KernelShap(**settings)


def test_kernel_shap_conforms() -> None:
    check_method(KernelShap(samples=60))
