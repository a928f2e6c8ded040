"""LIME against the lime package's own regression, least squares by hand, networks known on paper, and its own seeds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
from lime import lime_base
from torch import Tensor, nn

import seewhy
from seewhy.core.attribution import Attribution
from seewhy.core.errors import InputError, SettingError
from seewhy.core.targets import Class
from seewhy.methods import Lime
from seewhy.methods.lime import draw, proximity
from seewhy.models.wrapping import wrap
from seewhy.ops.ridge import ridge
from seewhy.study.cases import cases
from seewhy.testing import check_method

DOUBLE = torch.float64
QUARTERS = torch.arange(16).reshape(4, 4) // 8 * 2 + torch.arange(4) // 2  # four squares of 2 x 2


def explain(module: nn.Module, x: Any, method: Lime, target: Any = 0, seed: int = 0, **options: Any) -> Attribution:
    return seewhy.attribute(module, x, method, target, seed=seed, options=seewhy.Options(**options))


class OfMeans(nn.Module):
    """A score that is a function of the mean of each quarter of a picture (N, 1, 4, 4), these being its pieces."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        means = torch.stack([x[:, 0][:, piece == QUARTERS].mean(1) for piece in range(4)], 1)
        return self.function(means)[:, None]


def tanh_network(width: int = 5) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(width, 12), nn.Tanh(), nn.Linear(12, 3)).double()


def asked(module: nn.Module, x: Tensor, method: Lime, seed: int = 0) -> Tensor:
    """Returns all the inputs that the flow wants to know about: it is stepped by hand, without an engine."""
    (case,) = cases(wrap(module), x, seed)
    flow = method.flow(case, Class(0))
    rows = next(flow).rows
    flow.close()
    built: Tensor = rows.build(slice(0, rows.count))
    return built


def package(keep: Tensor, scores: Tensor, width: float = 0.25, features: int | None = None) -> tuple[Any, ...]:
    """What the lime package makes of samples and scores: weights by piece, intercept, R^2, prediction."""
    data = keep.double().numpy()
    distances = sklearn.metrics.pairwise_distances(data, data[:1], metric="cosine").ravel()

    def kernel(d: Any) -> Any:  # as LimeImageExplainer has it
        return np.sqrt(np.exp(-(d**2) / width**2))

    base = lime_base.LimeBase(kernel, random_state=np.random.RandomState(0))
    intercept, pairs, r2, predicted = base.explain_instance_with_data(
        data, scores.numpy()[:, None], distances, 0, features or data.shape[1], feature_selection="highest_weights"
    )
    weights = np.zeros(data.shape[1])
    for piece, weight in pairs:
        weights[piece] = weight
    return torch.from_numpy(weights), intercept, r2, float(predicted[0])


@pytest.mark.parametrize("features", [None, 3])
def test_weights_are_the_lime_packages_for_the_same_samples(features: int | None) -> None:
    module, x = tanh_network(9), torch.randn(1, 9, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    method = Lime(samples=60, num_features=features)
    built = asked(module, x, method)
    with torch.no_grad():
        scores = module(built)[:, 0]
    wanted, intercept, r2, predicted = package(built == x, scores, features=features)
    found = explain(module, x, method)
    torch.testing.assert_close(found.segment_values[0], wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.values[0], wanted, rtol=0, atol=1e-12)  # of a vector each feature is a piece
    assert found.diagnostics["intercept"] == pytest.approx(intercept, abs=1e-12)
    assert found.diagnostics["r2"] == pytest.approx(r2, abs=1e-12)
    assert found.diagnostics["local_prediction"] == pytest.approx(predicted, abs=1e-12)
    assert found.diagnostics["score"] == pytest.approx(float(scores[0]), abs=1e-12)
    assert int((found.values != 0).sum()) == (features or 9)


def test_the_first_sample_is_the_input_and_half_of_the_others_is_hidden() -> None:
    x = 1 + torch.rand(1, 5, dtype=DOUBLE)
    keep = asked(tanh_network(), x, Lime(samples=4000)) == x
    assert bool(keep[0].all())
    assert len(keep) == 4000
    assert bool(((keep[1:].double().mean(0) - 0.5).abs() < 4 * 0.5 / 4000**0.5).all())
    assert float(proximity(torch.zeros(1, 5, dtype=torch.bool), 0.5)) == pytest.approx(math.exp(-2))


def test_a_piece_is_hidden_by_its_own_mean_colour_or_by_the_baseline() -> None:
    x = torch.rand(1, 3, 4, 4, dtype=DOUBLE)
    module = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).double()
    for baseline in (None, 0.25):
        built = asked(module, x, Lime(segments=QUARTERS, samples=12, baseline=baseline))
        keep = draw(4, 12, 0, cases(wrap(module), x, 0)[0].id)
        for row, kept in zip(built, keep, strict=True):
            for piece in range(4):
                where = piece == QUARTERS
                own = x[0][:, where]
                hidden = own.mean(1, keepdim=True).expand_as(own) if baseline is None else torch.full_like(own, 0.25)
                torch.testing.assert_close(row[:, where], own if kept[piece] else hidden, rtol=0, atol=1e-15)


def test_several_baselines_average_the_scores() -> None:
    module, x = tanh_network(), torch.randn(1, 5, dtype=DOUBLE)
    built = asked(module, x, Lime(samples=30, baseline=[0.0, 2.0]))
    with torch.no_grad():
        scores = module(built)[:, 0].reshape(30, 2).mean(1)
    wanted, *_ = package((built == x)[::2], scores)
    found = explain(module, x, Lime(samples=30, baseline=[0.0, 2.0]))
    torch.testing.assert_close(found.segment_values[0], wanted, rtol=0, atol=1e-12)


def test_of_a_score_linear_in_the_pieces_the_weights_are_found_and_r2_is_one() -> None:
    slopes = torch.tensor([3.0, -2.0, 0.5, 0.0], dtype=DOUBLE)
    module = OfMeans(lambda means: means @ slopes + 7)
    x = torch.ones(1, 1, 4, 4, dtype=DOUBLE)
    found = explain(module, x, Lime(segments=QUARTERS, baseline=0.0, samples=4000))
    torch.testing.assert_close(found.segment_values[0], slopes, rtol=2e-3, atol=2e-3)  # the ridge shrinks a little
    assert found.diagnostics["r2"] == pytest.approx(1, abs=1e-5)
    assert found.diagnostics["local_prediction"] == pytest.approx(found.diagnostics["score"], abs=5e-3)
    assert found.diagnostics["notes"] == ()
    assert torch.equal(found.values[0], found.segment_values[0][QUARTERS])
    assert torch.equal(found.segments[0], QUARTERS)
    assert float(found.error.max()) < 1e-3


def limit(module: nn.Module, x: Tensor, samples: int) -> Tensor:
    """The weights that the expected sums of `samples` samples give: all patterns, each as often as expected."""
    pieces = x.shape[1]
    keep = torch.tensor([[c >> i & 1 for i in range(pieces)] for c in range(2**pieces)], dtype=DOUBLE)
    with torch.no_grad():
        scores = module(keep * x)[:, 0]
    roots = (proximity(keep.bool(), 0.25) * samples / len(keep)).sqrt()
    # The ridge as rows of its own, and the intercept as a column.
    rows = torch.cat([roots[:, None] * torch.cat([torch.ones(len(keep), 1, dtype=DOUBLE), keep], 1)])
    rows = torch.cat([rows, torch.cat([torch.zeros(pieces, 1, dtype=DOUBLE), torch.eye(pieces, dtype=DOUBLE)], 1)])
    values = torch.cat([roots * scores, torch.zeros(pieces, dtype=DOUBLE)])
    return torch.linalg.lstsq(rows, values[:, None]).solution[1:, 0]


def test_ninety_five_percent_intervals_hold_the_weights_in_ninety_five_percent_of_seeds() -> None:
    module, x = tanh_network(), 2 * torch.randn(1, 5, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    wanted, inside, found_weights = limit(module, x, 200), [], []
    (case,) = cases(wrap(module), x, 0)
    for seed in range(300):  # without an engine, which would take a second
        keep = draw(5, 200, seed, case.id)
        with torch.no_grad():
            fit = ridge(keep, module(keep * x)[:, 0], proximity(keep, 0.25), 1.0)
        inside.append((fit.coefficients - wanted).abs() <= 1.96 * fit.errors)
        found_weights.append(fit.coefficients)
    covered = torch.stack(inside).double().mean(0)
    assert bool((covered > 0.91).all()), covered
    assert bool((covered < 0.985).all()), covered
    assert bool((torch.stack(found_weights).mean(0) - wanted).abs().max() < 0.01 * wanted.abs().max())
    told = explain(module, x, Lime(samples=200))
    low, high = told.diagnostics["confidence_intervals"].T
    torch.testing.assert_close((high - low) / 2, 1.95996 * told.error[0], rtol=1e-5, atol=0)
    torch.testing.assert_close((high + low) / 2, told.segment_values[0])


def test_more_pieces_than_samples_have_the_same_answer_as_the_lime_package() -> None:
    module, x = tanh_network(30), torch.randn(1, 30, dtype=DOUBLE)
    built = asked(module, x, Lime(samples=12))
    with torch.no_grad():
        wanted, _, r2, _ = package(built == x, module(built)[:, 0])
    found = explain(module, x, Lime(samples=12))
    torch.testing.assert_close(found.segment_values[0], wanted, rtol=0, atol=1e-10)
    assert found.diagnostics["r2"] == pytest.approx(r2, abs=1e-10)
    assert bool(torch.isfinite(found.error).all())
    assert any("fewer than twice the 30 pieces" in note for note in found.diagnostics["notes"])


def test_the_map_shows_the_pieces_asked_for_and_the_record_has_all() -> None:
    slopes = torch.tensor([3.0, -2.0, 0.5, -0.1], dtype=DOUBLE)
    module, x = OfMeans(lambda means: means @ slopes), torch.ones(1, 1, 4, 4, dtype=DOUBLE)

    def shown(**settings: Any) -> list[bool]:
        found = explain(module, x, Lime(segments=QUARTERS, baseline=0.0, **settings))
        assert bool((found.segment_values[0] != 0).all())
        assert torch.equal(found.error[0] > 0, found.values[0] != 0)
        return [bool(found.values[0][piece == QUARTERS].all()) for piece in range(4)]

    assert shown() == [True, True, True, True]
    assert shown(signs="positive") == [True, False, True, False]
    assert shown(signs="negative") == [False, True, False, True]
    assert shown(min_weight=1.0) == [True, True, False, False]
    assert shown(min_weight=1.0, signs="negative") == [False, True, False, False]


def test_a_constant_score_has_no_weights_and_an_interaction_a_low_r2() -> None:
    x = torch.ones(1, 1, 4, 4, dtype=DOUBLE)
    flat = explain(OfMeans(lambda means: 0 * means[:, 0] + 4.2), x, Lime(segments=QUARTERS, baseline=0.0, samples=50))
    assert not flat.values.any()
    assert not flat.error.any()
    assert flat.diagnostics["r2"] == 1
    odd = OfMeans(lambda means: (1 - 2 * means).prod(1))  # the parity of the hidden pieces: nothing is linear in it
    found = explain(odd, x, Lime(segments=QUARTERS, baseline=0.0))
    assert found.diagnostics["r2"] < 0.3
    assert any("R²" in note for note in found.diagnostics["notes"])


def test_pieces_that_equal_their_mean_are_named() -> None:
    x = torch.ones(1, 1, 4, 4, dtype=DOUBLE)
    x[..., 0, 0] = 3
    found = explain(OfMeans(lambda means: means.sum(1)), x, Lime(segments=QUARTERS, samples=20))
    assert any(note.startswith("3 of 4 pieces equal what hides them") for note in found.diagnostics["notes"])


def test_one_piece_holds_the_whole_difference() -> None:
    x = torch.ones(1, 1, 4, 4, dtype=DOUBLE)
    module, method = OfMeans(lambda means: means.sum(1)), Lime(torch.zeros(4, 4, dtype=torch.long), 0.0, samples=4000)
    found = explain(module, x, method)
    # Hidden samples weigh exp(-8): what the ridge of 1 leaves of the difference 4 is n w / (n w + 1).
    hidden = (~draw(1, 4000, 0, cases(wrap(module), x, 0)[0].id)).double().sum()
    sizes = torch.stack([4000 - hidden, hidden * torch.exp(torch.tensor(-8.0, dtype=DOUBLE))])
    both = sizes.prod() / sizes.sum()
    assert float(found.segment_values[0]) == pytest.approx(float(4 * both / (both + 1)), rel=1e-9)


def test_seeds_draw_other_samples_and_batches_the_same() -> None:
    module, x = tanh_network(), torch.randn(2, 5, dtype=DOUBLE)
    once = explain(module, x, Lime(samples=100), batch_size=64)
    again = explain(module, x, Lime(samples=100), batch_size=7)
    assert float((once.values - again.values).abs().max()) < 1e-12
    other = explain(module, x, Lime(samples=100), seed=1)
    assert float((once.values - other.values).abs().max()) > 1e-3


def test_what_asks_for_equal_samples_shares_them_and_other_samples_are_others() -> None:
    seen: list[int] = []

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = tanh_network()

        def forward(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return self.inner(x)

    x, options = torch.randn(1, 5, dtype=DOUBLE), seewhy.Options(prepared="never")
    alike = [Lime(samples=100), Lime(samples=100, kernel_width=1.0)]
    others = [Lime(samples=100, baseline=1.0), Lime(samples=101), Lime(np.array([0, 0, 1, 1, 2]), samples=100)]
    alone = [seewhy.attribute(Counting(), x, method, 0, options=options).values for method in (*alike, *others)]
    seen.clear()
    together = seewhy.attribute(Counting(), x, [*alike, *others], 0, options=options)
    assert 401 <= sum(seen) < 450
    for found, wanted in zip(together.values(), alone, strict=True):
        torch.testing.assert_close(found.values, wanted)


def test_probabilities_can_be_explained() -> None:
    module, x = tanh_network(), torch.randn(1, 5, dtype=DOUBLE)
    method = Lime(samples=50)
    built = asked(module, x, method)
    with torch.no_grad():
        wanted, *_ = package(built == x, module(built).softmax(1)[:, 2])
    found = explain(module, x, method, Class(2, "probability"))
    torch.testing.assert_close(found.segment_values[0], wanted, rtol=0, atol=1e-12)


def test_several_inputs_have_pieces_that_are_numbered_on() -> None:
    class Both(nn.Module):
        def forward(self, picture: Tensor, vector: Tensor) -> Tensor:
            return (picture[:, 0, :2].mean((1, 2)) - 3 * vector[:, 1])[:, None]

    x = (torch.ones(1, 1, 4, 4, dtype=DOUBLE), torch.ones(1, 3, dtype=DOUBLE))
    halves = Lime(segments=lambda shown: np.arange(len(shown)) // 2 if shown.ndim == 1 else QUARTERS // 2, baseline=0.0)
    found = explain(Both(), x, halves)
    assert torch.equal(found.segments[1], torch.tensor([[2, 2, 3]]))
    wanted = torch.tensor([1.0, 0, -3, 0], dtype=DOUBLE)
    torch.testing.assert_close(found.segment_values[0], wanted, rtol=0.01, atol=0.01)
    for part, numbers in zip(found.values, found.segments, strict=True):
        assert torch.equal(part, found.segment_values[0][numbers])


@pytest.mark.parametrize(
    "settings",
    [
        {"samples": 1},
        {"kernel_width": 0},
        {"num_features": 0},
        {"min_weight": -1.0},
        {"signs": "neither"},
        {"baseline": "means"},
        {"segments": 0},
        {"segments": torch.rand(4, 4)},
    ],
)
def test_nonsense_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        Lime(**settings)


def test_inputs_without_places_and_maps_of_another_size_are_refused() -> None:
    x = torch.ones(1, 1, 4, 4, dtype=DOUBLE)
    with pytest.raises(SettingError, match="spatial shape"):
        explain(OfMeans(lambda means: means.sum(1)), x, Lime(segments=torch.zeros(3, 3, dtype=torch.long)))
    with pytest.raises(InputError):
        explain(nn.Flatten(), torch.ones(1, 0, dtype=DOUBLE), Lime())


def test_lime_conforms() -> None:
    check_method(Lime(samples=30))
