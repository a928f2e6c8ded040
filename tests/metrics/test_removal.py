"""Deletion and insertion against curves solved on paper, their symmetries, and what goes wrong."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import seewhy
from seewhy.core.errors import InputError, NotFiniteError, SettingError, TargetError, UnknownNameError
from seewhy.core.metric import Claim, Curve
from seewhy.core.targets import Class, Top, Unit
from seewhy.engine.run import Engine, drive
from seewhy.methods import Saliency
from seewhy.metrics import Deletion, Insertion, InsertionMinusDeletion
from seewhy.metrics.places import step_counts
from seewhy.metrics.removal import area
from seewhy.metrics.substitutes import substitutes
from seewhy.ops.chance import random_smooth_maps

from .toys import PLAIN, attribution, case_of, cnn, draw, measure, values, wrapped

ZERO = {"baseline": "zero"}


def patch_model(size: int = 8) -> seewhy.Model:
    """The score is the mean of one patch of 2 x 2 pixels; nothing else is looked at."""
    return values(lambda x: x[:, 0, 2:4, 5:7].mean((1, 2)))


def patch_map(size: int = 8) -> Tensor:
    found = torch.zeros(1, size, size, dtype=torch.float64)
    found[0, 2:4, 5:7] = 1
    return found


# ------------------------------------------------------------------------------------------------ curves on paper


def test_linear_deletion_takes_the_sorted_terms_away_one_by_one() -> None:
    weights, x = draw(1, 1, 4, 4) - 0.4, draw(1, 1, 4, 4, seed=1)
    terms = (weights * x)[:, 0]
    found = measure(values(lambda x: (weights * x).sum((1, 2, 3))), Deletion(steps=16, **ZERO), x, terms)
    ordered = terms.flatten().sort(descending=True).values
    curve = torch.cat([torch.zeros(1), ordered.cumsum(0)])
    expected = terms.sum() - curve
    assert found.curve is not None
    torch.testing.assert_close(found.curve.scores, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(found.curve.fractions, torch.arange(17).double() / 16)
    assert found.value == pytest.approx(float((expected[1:] + expected[:-1]).mean() / 2), abs=1e-12)
    assert found.details["start"] == pytest.approx(float(terms.sum()))
    assert found.details["end"] == pytest.approx(0, abs=1e-12)
    # 6.4 % of 16 places: one of them, and 0.024 of the way to the next.
    assert found.details["score_at_0.064"] == pytest.approx(float(expected[1] - 0.024 * ordered[1]), abs=1e-9)


def test_a_linear_models_insertion_mirrors_deletion() -> None:
    weights, x = draw(1, 2, 5, 5) - 0.5, draw(1, 2, 5, 5, seed=1)
    model, terms = values(lambda x: (weights * x).sum((1, 2, 3))), weights * x
    kept = measure(model, Insertion(steps=25, **ZERO), x, terms)
    removed = measure(model, Deletion(steps=25, **ZERO), x, terms)
    assert kept.curve is not None
    assert removed.curve is not None
    torch.testing.assert_close(kept.curve.scores, terms.sum() - removed.curve.scores, atol=1e-12, rtol=0)


@pytest.mark.parametrize("rule", ["trapezoid", "even", "right"])
@pytest.mark.parametrize("kind", [Deletion, Insertion])
def test_a_constant_score_is_its_own_area(kind: type[Deletion] | type[Insertion], rule: str) -> None:
    model = values(lambda x: torch.full_like(x[:, 0, 0, 0], 0.7))
    found = measure(model, kind(steps=7, area=rule), draw(1, 3, 6, 6), draw(1, 6, 6, seed=2))
    assert found.value == pytest.approx(0.7, abs=1e-12)


@pytest.mark.parametrize(("sign", "lost"), [(1, 2 / 64), (-1, 1 - 2 / 64)])
def test_a_network_that_looks_at_one_patch(sign: int, lost: float) -> None:
    """Deleting the patch's four pixels first leaves 1, 3/4, 1/2, 1/4, 0, ...: trapezoids of 1/64, 2/64 in all."""
    x, found = torch.ones(1, 1, 8, 8, dtype=torch.float64), sign * patch_map()
    removed = measure(patch_model(), Deletion(steps=64, **ZERO), x, found)
    both = InsertionMinusDeletion(Insertion(steps=64, **ZERO), Deletion(steps=64, **ZERO))
    pair = measure(patch_model(), both, x, found)
    assert removed.value == pytest.approx(lost, abs=1e-12)
    assert pair.value == pytest.approx(1 - 2 * lost, abs=1e-12)
    assert pair.details["deletion"] == pytest.approx(lost)
    assert pair.details["insertion"] == pytest.approx(1 - lost)
    assert pair.curve is not None
    assert area(pair.curve, "trapezoid") == pytest.approx(pair.value, abs=1e-12)


@pytest.mark.parametrize(
    ("rule", "expected"), [("trapezoid", (2 + 1) / 2 * 0.25 + 0.5 * 0.75), ("even", 1.0), ("right", 0.25)]
)
def test_areas_of_three_points(rule: str, expected: float) -> None:
    curve = Curve(torch.tensor([0, 0.25, 1.0]).double(), torch.tensor([2, 1, 0]).double())
    assert area(curve, rule) == pytest.approx(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ("nearest", [0, 3, 5, 8, 10]),
        ("down", [0, 2, 5, 7, 10]),
        ("chunks-up", [0, 3, 6, 9, 10]),
        ("chunks-down", [0, 2, 4, 6, 8, 10]),
    ],
)
def test_steps_become_whole_places(grid: str, expected: list[int]) -> None:
    assert step_counts(10, 4, grid) == expected  # type: ignore[arg-type]
    assert step_counts(3, 50, grid) == [0, 1, 2, 3]  # type: ignore[arg-type]


def test_several_baselines_are_averaged() -> None:
    model, x, found = values(lambda x: (x**3).sum((1, 2, 3))), draw(1, 1, 4, 4), draw(1, 4, 4, seed=5)
    alone = [measure(model, Deletion(baseline=b), x, found) for b in (0.0, 2.0)]
    both = measure(model, Deletion(baseline=[0.0, 2.0]), x, found)
    assert both.curve is not None
    scores = [part.curve.scores for part in alone if part.curve is not None]
    torch.testing.assert_close(both.curve.scores, (scores[0] + scores[1]) / 2)


# ------------------------------------------------------------------------------------------------------ the score


def test_scores_are_probabilities_where_there_are_any() -> None:
    module, x = cnn(), draw(1, 3, 12, 12)
    found = measure(wrapped(module), Deletion(), x, draw(1, 12, 12, seed=1), target=Class(2))
    assert found.details["start"] == pytest.approx(float(module(x).detach().softmax(1)[0, 2]), abs=1e-9)
    assert found.protocol["score"] == "probability"
    assert found.protocol["target"] == "class 2 (probability)"


@pytest.mark.parametrize("metric", [Deletion(), InsertionMinusDeletion()])
def test_where_there_is_no_probability_the_score_takes_its_place(metric: Deletion | InsertionMinusDeletion) -> None:
    found = measure(patch_model(), metric, 3 * torch.ones(1, 1, 8, 8, dtype=torch.float64), patch_map())
    assert found.protocol["score"] == "score"
    assert max(found.details.values()) == pytest.approx(3)


def test_another_scale_is_not_replaced() -> None:
    with pytest.raises(TargetError, match="plain values"):
        measure(patch_model(), Deletion(of="logit"), draw(1, 1, 8, 8), patch_map())


@pytest.mark.parametrize("metric", [Deletion(), InsertionMinusDeletion()])
def test_a_class_that_is_not_there_is_refused(metric: Deletion | InsertionMinusDeletion) -> None:
    with pytest.raises(TargetError, match="between 0 and 3"):
        measure(wrapped(cnn()), metric, draw(1, 3, 12, 12), draw(1, 12, 12), target=Class(9))


def test_a_target_without_a_scale_stays_as_it_is() -> None:
    target = Unit("0", 1)
    found = measure(wrapped(cnn()), Deletion(), draw(1, 3, 12, 12), draw(1, 12, 12), target=target)
    assert found.protocol["score"] == "score"


def test_an_open_target_is_what_the_claim_explained() -> None:
    model, x = wrapped(cnn()), draw(1, 3, 12, 12)
    case = case_of(model, x)
    claim = Claim(attribution(case, draw(1, 12, 12), Class(3)))
    found = drive(model, Deletion(steps=3).flow(case, Top(), claim), PLAIN)
    assert found.protocol["target"] == "class 3 (probability)"


# -------------------------------------------------------------------------------------------------- what is stable


def test_the_protocol_is_on_every_measurement() -> None:
    found = measure(wrapped(cnn(), value_range=(0, 1)), Deletion(steps=9), draw(1, 3, 12, 12), draw(1, 12, 12))
    for name in ("baseline", "unit", "units", "steps", "area", "target", "score", "ties", "grid"):
        assert name in found.protocol
    assert found.protocol["baseline"] == "black"
    assert found.protocol["steps"] == 9
    other = measure(wrapped(cnn(), value_range=(0, 1)), Insertion(steps=9), draw(1, 3, 12, 12), draw(1, 12, 12))
    assert other.protocol["baseline"] == "blur"


def test_results_depend_neither_on_the_batch_nor_on_neighbours() -> None:
    both = InsertionMinusDeletion(Insertion(steps=9), Deletion(steps=9))
    model, xs = wrapped(cnn()), [draw(1, 3, 12, 12, seed=s) for s in range(3)]
    maps = [draw(1, 12, 12, seed=10 + s).round(decimals=1) for s in range(3)]
    alone = [measure(model, both, x, m, replace(PLAIN, batch_size=1)).value for x, m in zip(xs, maps, strict=True)]
    flows = []
    for number, (x, found) in enumerate(zip(xs, maps, strict=True)):
        case = case_of(model, x)
        flows.append((number, both.flow(case, Class(0), Claim(attribution(case, found)))))
    beside = Engine(model, replace(PLAIN, batch_size=7, verify_sharing=True)).run(flows)
    assert [beside[number].result().value for number in range(3)] == pytest.approx(alone, abs=1e-12)


def test_rows_are_shared_by_what_they_hold() -> None:
    """29 + 29 rows of both, less the untouched picture, and less one baseline where it is the same."""
    model, x, found = wrapped(cnn()), draw(1, 3, 12, 12), draw(1, 12, 12)
    case = case_of(model, x)
    claim = Claim(attribution(case, found))
    for baseline, rows in ((None, 57), ("zero", 56)):
        engine = Engine(model, PLAIN)
        metric = InsertionMinusDeletion(Insertion(baseline=baseline), Deletion(baseline=baseline))
        engine.run(
            [("a", metric.flow(case, Class(0), claim)), ("b", Deletion(baseline=baseline).flow(case, Class(0), claim))]
        )
        assert engine.meters.rows == rows
        assert engine.meters.rounds == 1


def test_flows_of_one_case_hold_one_blurred_picture() -> None:
    case, other = (case_of(wrapped(cnn()), draw(1, 3, 12, 12, seed=s)) for s in (0, 1))
    held = substitutes(None, case, blurred=True)
    assert substitutes("blur", case) is held
    assert substitutes("blur", other) is not held
    assert substitutes("zero", case) is not held


def test_ties_are_broken_by_the_case_and_not_in_raster_order() -> None:
    """Only the upper half counts: in raster order a constant map would look perfect, or as bad as can be."""
    model, flat = values(lambda x: x[:, 0, :8].mean((1, 2))), torch.zeros(1, 16, 16, dtype=torch.float64)
    x = torch.ones(1, 1, 16, 16, dtype=torch.float64)
    found = [measure(model, Deletion(steps=32, **ZERO), x, flat, seed=seed).value for seed in range(20)]
    assert len(set(found)) > 10
    assert found[0] == measure(model, Deletion(steps=32, **ZERO), x, flat, seed=0).value
    assert sum(found) / 20 == pytest.approx(0.5, abs=0.02)


def test_turned_round_a_map_has_the_opposite_score() -> None:
    """With one baseline, deleting along a map is inserting along its negative: chance is exactly 0 on average."""
    model, x = wrapped(cnn(14)), draw(1, 3, 14, 14)
    both = InsertionMinusDeletion(Insertion(steps=14, **ZERO), Deletion(steps=14, **ZERO))
    drawn = random_smooth_maps((14, 14), 12, 0, "any").double()
    scores = []
    for found in drawn:
        there, back = (measure(model, both, x, sign * found[None], target=Class(1)).value for sign in (1, -1))
        assert there == pytest.approx(-back, abs=1e-12)
        scores.append(there)
    spread = torch.tensor(scores).std() / math.sqrt(len(scores))
    assert abs(sum(scores) / len(scores)) < 3 * float(spread)


# ------------------------------------------------------------------------------------------------------ other inputs


def test_places_of_several_inputs_are_ranked_together() -> None:
    """The score is 4 a + b of one number each: deleting a first leaves 5, 1, 0."""
    model = values(lambda a, b: 4 * a.sum(1) + b.sum((1, 2, 3)))
    x = torch.ones(1, 1, dtype=torch.float64), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    maps = torch.full((1, 1), 4.0).double(), torch.ones(1, 1, 1).double()
    found = measure(model, Deletion(steps=2, **ZERO), x, maps)
    assert found.curve is not None
    assert found.curve.scores.tolist() == pytest.approx([5, 1, 0])


def test_an_input_without_a_map_stays_whole() -> None:
    model = values(lambda a, b: 4 * a.sum(1) + b.sum((1, 2, 3)))
    x = torch.ones(1, 2, dtype=torch.float64), torch.ones(1, 1, 2, 2, dtype=torch.float64)
    found = measure(model, Deletion(**ZERO), x, torch.tensor([[1.0, 2.0]]).double())
    assert found.protocol["inputs_left_whole"] == 1
    assert found.curve is not None
    assert found.curve.scores.tolist() == pytest.approx([12, 8, 4 if found.details["end"] == 4 else 0])


@pytest.mark.parametrize("shape", [(1, 6), (1, 2, 9), (1, 2, 3, 4, 5), (1, 1, 1, 1)])
def test_vectors_signals_volumes_and_one_pixel(shape: tuple[int, ...]) -> None:
    x = draw(*shape) + 0.1
    places = shape[2:] or shape[1:]
    model = values(lambda x: x.flatten(1).sum(1))
    per_place = x.sum(1) if len(shape) > 2 else x
    for kind in (Deletion, Insertion):
        found = measure(model, kind(steps=5, baseline="zero"), x, per_place)
        worst = measure(model, kind(steps=5, baseline="zero"), x, -per_place)
        assert (found.value <= worst.value) == (kind is Deletion) or found.value == worst.value
        assert found.protocol["units"] == math.prod(places)
        default = measure(model, kind(steps=5), x, per_place)
        assert math.isfinite(default.value)


def test_a_coarse_resolution_ranks_cells() -> None:
    """Four quarters of a picture: the brightest goes first, and its corner is gone while the far corner stays."""
    x = torch.ones(1, 1, 8, 8, dtype=torch.float64)
    found = torch.zeros(1, 8, 8, dtype=torch.float64)
    found[0, :4, :4] = 1
    seen = []

    def score(x: Tensor) -> Tensor:
        seen.append(x)
        return x.mean((1, 2, 3))

    made = measure(values(score), Deletion(steps=4, resolution=2, **ZERO), x, found, replace(PLAIN, batch_size=8))
    assert made.protocol["unit"] == "cell of 2 x 2"
    assert made.protocol["units"] == 4
    first = next(row for batch in seen for row in batch if 0 < float(row.mean()) < 1 and float(row[0, 0, 0]) == 0)
    assert float(first[0, -1, -1]) == 1


# ---------------------------------------------------------------------------------------------------------- failures


def test_a_map_that_is_not_finite_is_refused() -> None:
    with pytest.raises(NotFiniteError, match="1 of its 64 values"):
        measure(
            patch_model(),
            Deletion(),
            draw(1, 1, 8, 8),
            torch.where(torch.arange(64).reshape(1, 8, 8) == 3, torch.nan, 1.0),
        )


def test_a_map_of_another_size_is_refused() -> None:
    model = patch_model()
    case = case_of(model, draw(1, 1, 8, 8))
    wrong = replace(attribution(case, draw(1, 4, 4)), input_shapes=((1, 4, 4),))
    with pytest.raises(InputError, match=r"\(8, 8\); given \(4, 4\)"):
        drive(model, Deletion().flow(case, Class(0), Claim(wrong)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be"),
        ({"area": "simpson"}, "area takes"),
        ({"grid": "up"}, "grid takes"),
        ({"of": "odds"}, "of takes"),
        ({"baseline": "blac"}, "Did you mean 'black'"),
        ({"resolution": 0}, "resolution must be"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Deletion(**settings)  # type: ignore[arg-type]


def test_unknown_protocols_and_swapped_parts_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="rise"):
        Deletion.preset("rice")
    with pytest.raises(SettingError, match="Insertion"):
        InsertionMinusDeletion(insertion=Deletion())  # type: ignore[arg-type]


def test_a_windows_blur_needs_a_picture() -> None:
    with pytest.raises(InputError, match="rise-blur"):
        measure(values(lambda x: x.sum(1)), Insertion.preset("rise"), draw(1, 5), draw(1, 5))


def test_a_real_method_and_its_measure_go_in_one_run() -> None:
    model, x = wrapped(cnn()), draw(1, 3, 12, 12)
    case = case_of(model, x)

    def both() -> object:
        made = yield from Saliency().flow(case, Top())
        return (yield from InsertionMinusDeletion().flow(case, Top(), Claim(made, Saliency())))

    found = drive(model, both(), PLAIN)
    assert math.isfinite(found.value)
    assert isinstance(model.module, nn.Module)
