"""Pointing, localization and mosaics on planted maps, and against Quantus."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from seewhy.core.errors import InputError, SettingError
from seewhy.core.metric import Metric
from seewhy.metrics import GridPointing, Localization, PointingGame, mosaic

from .toys import case_of, draw, measure, values

MODEL = values(lambda x: x.mean((1, 2, 3)))


def box(size: int, rows: slice, columns: slice) -> Tensor:
    found = torch.zeros(size, size, dtype=torch.bool)
    found[rows, columns] = True
    return found


def point(size: int, *at: tuple[int, int]) -> Tensor:
    found = torch.zeros(1, size, size, dtype=torch.float64)
    for row, column in at:
        found[0, row, column] = 1
    return found


@pytest.mark.parametrize(
    ("at", "hit", "distance"),
    [((10, 10), 1, 0), ((10, 24), 1, 5), ((10, 25), 0, 6), ((22, 23), 1, 5), ((23, 23), 0, 32**0.5)],
)
def test_pointing_within_a_tolerance(at: tuple[int, int], hit: int, distance: float) -> None:
    truth = box(40, slice(5, 20), slice(5, 20))
    found = measure(MODEL, PointingGame(tolerance=5), draw(1, 1, 40, 40), point(40, at), truth=truth)
    assert found.value == hit
    assert found.details["distance"] == pytest.approx(distance)


def test_pointing_at_several_places_is_what_a_random_choice_gives() -> None:
    truth = box(20, slice(0, 10), slice(0, 10))
    two = measure(MODEL, PointingGame(0), draw(1, 1, 20, 20), point(20, (3, 3), (15, 15)), truth=truth)
    assert two.value == 0.5
    flat = measure(MODEL, PointingGame(0), draw(1, 1, 20, 20), torch.zeros(1, 20, 20).double(), truth=truth)
    assert flat.value == flat.details["chance"] == 0.25


def test_localization_by_hand() -> None:
    found = torch.tensor([[[4.0, 2.0], [-3.0, 2.0]]]).double()
    made = measure(MODEL, Localization(), draw(1, 1, 2, 2), found, truth=torch.tensor([[True, False], [True, False]]))
    assert made.value == pytest.approx(0.5)
    assert made.details == pytest.approx({"precision": 0.5, "iou": 1 / 3, "chance": 0.5})


@pytest.mark.parametrize("level", [0.0, -1.0])
def test_a_map_without_positive_evidence_locates_nothing(level: float) -> None:
    truth = box(4, slice(0, 2), slice(0, 2))
    for metric in (Localization(), GridPointing()):
        assert measure(MODEL, metric, draw(1, 1, 4, 4), torch.full((1, 4, 4), level).double(), truth=truth).value == 0


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_shares_do_not_depend_on_the_scale(scale: float) -> None:
    truth, found = box(8, slice(0, 4), slice(2, 8)), draw(1, 8, 8) - 0.3
    expected = float(found.clamp(min=0)[0][truth].sum() / found.clamp(min=0).sum())
    assert measure(MODEL, Localization(), draw(1, 1, 8, 8), scale * found, truth=truth).value == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_quantus(seed: int) -> None:
    quantus = pytest.importorskip("quantus")
    x, found = draw(1, 1, 16, 16, seed=seed), draw(1, 16, 16, seed=50 + seed)
    truth = box(16, slice(2, 12), slice(seed, seed + 7))
    batch = {
        "model": MODEL.module,
        "x_batch": x.numpy(),
        "y_batch": np.array([0]),
        "a_batch": found[None].numpy(),
        "s_batch": truth[None, None].numpy(),
        "device": "cpu",
    }
    quiet = {"disable_warnings": True, "normalise": False, "abs": False}
    pointing = quantus.PointingGame(**quiet)(**batch)[0]
    mass, rank = quantus.RelevanceMassAccuracy(**quiet)(**batch)[0], quantus.RelevanceRankAccuracy(**quiet)(**batch)[0]
    made = measure(MODEL, Localization(), x, found, truth=truth)
    assert made.value == pytest.approx(float(mass), abs=1e-6)
    assert made.details["precision"] == pytest.approx(float(rank))
    assert measure(MODEL, PointingGame(0), x, found, truth=truth).value == float(pointing)


def test_a_mosaic_knows_where_its_pictures_are() -> None:
    pictures = [torch.full((1, 3, 4, 5), float(number)) for number in range(6)]
    made = mosaic(pictures, 3)
    assert made.x.shape == (1, 3, 8, 15)
    for number, truth in enumerate(made.truths):
        assert int(truth.sum()) == 20
        assert bool((made.x[0, :, truth] == number).all())
    assert torch.equal(mosaic(torch.cat(pictures), 3).x, made.x)
    assert torch.equal(mosaic([case_of(values(lambda x: x.mean((1, 2, 3))), part) for part in pictures], 3).x, made.x)


def test_evidence_in_its_own_cell() -> None:
    made = mosaic(draw(4, 1, 6, 6), 2)
    found = torch.full((1, 12, 12), -1.0).double()
    found[0, :6, 6:] = 3
    found[0, 6:, 6:] = 1
    shares = [measure(MODEL, GridPointing(), made.x, found, truth=truth) for truth in made.truths]
    assert [share.value for share in shares] == pytest.approx([0, 0.75, 0, 0.25])
    assert shares[0].details["chance"] == 0.25
    assert shares[0].protocol["cells"] == 4


def test_mosaics_that_cannot_be_made() -> None:
    with pytest.raises(InputError, match="one shape"):
        mosaic([torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 5)], 2)
    with pytest.raises(InputError, match="none"):
        mosaic([], 1)
    with pytest.raises(SettingError, match="columns must divide"):
        mosaic(torch.zeros(5, 3, 4, 4), 2)


@pytest.mark.parametrize("metric", [PointingGame(), Localization(), GridPointing()])
def test_truth_is_needed_and_checked(metric: Metric) -> None:
    x, found = draw(1, 1, 4, 4), draw(1, 4, 4)
    with pytest.raises(SettingError, match=f"{metric.info.name} needs to know"):
        measure(MODEL, metric, x, found)
    with pytest.raises(InputError, match=r"shape \(3, 4\)"):
        measure(MODEL, metric, x, found, truth=torch.ones(3, 4, dtype=torch.bool))
    with pytest.raises(InputError, match="False everywhere"):
        measure(MODEL, metric, x, found, truth=torch.zeros(4, 4, dtype=torch.bool))
    several = values(lambda a, b: a.mean((1, 2, 3)) + b.mean((1, 2, 3)))
    with pytest.raises(InputError, match="2 maps"):
        measure(several, metric, (x, x), (found, found), truth=torch.ones(4, 4, dtype=torch.bool))
