"""ROAD against pytorch-grad-cam's, and its imputation against what can be solved on paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from seewhy.core.errors import InputError, SettingError
from seewhy.core.targets import Class
from seewhy.metrics import Road
from seewhy.metrics.road import removed_at
from seewhy.ops.imputation import linear_imputation

from .toys import PLAIN, cnn, draw, measure, values, wrapped

TARGET = 2


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("percentiles", [(20, 40, 60, 80), (10, 35, 90)])
def test_grad_cams_road(seed: int, percentiles: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    peer = pytest.importorskip("pytorch_grad_cam.metrics.road")

    class Quiet(peer.NoisyLinearImputer):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(noise=0)

    monkeypatch.setattr(peer, "NoisyLinearImputer", Quiet)
    network, x = cnn(16, seed=seed).float(), draw(1, 3, 16, 16, seed=seed).float()
    found = draw(1, 16, 16, seed=9 + seed).float()
    targets = [lambda output: output.softmax(-1)[TARGET]]
    theirs = float(peer.ROADCombined(list(percentiles))(x, found.numpy(), targets, network)[0])
    most = float(peer.ROADMostRelevantFirstAverage(list(percentiles))(x, found.numpy(), targets, network)[0])
    least = float(peer.ROADLeastRelevantFirstAverage(list(percentiles))(x, found.numpy(), targets, network)[0])
    for order, expected in (("combined", theirs), ("most-relevant-first", -most), ("least-relevant-first", least)):
        metric = Road(percentiles, order=order, noise=0)  # type: ignore[arg-type]
        made = measure(wrapped(network), metric, x, found, target=Class(TARGET))
        assert made.value == pytest.approx(expected, abs=1e-6)


def test_grad_cams_imputer() -> None:
    peer = pytest.importorskip("pytorch_grad_cam.metrics.road")
    x, gone = draw(1, 3, 13, 17).float(), draw(13, 17, seed=1) < 0.7
    theirs = peer.NoisyLinearImputer(noise=0)(x[0], 1 - gone.float())
    torch.testing.assert_close(linear_imputation(x, gone)[0], theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(12,), (9, 11), (6, 5, 7)])
def test_a_ramp_is_filled_in_as_it_was(shape: tuple[int, ...]) -> None:
    """Inside, each place of a ramp is the mean of its neighbours, with any symmetric weights."""
    axes = [torch.arange(size, dtype=torch.float64) * (axis + 1) for axis, size in enumerate(shape)]
    ramp = sum(torch.meshgrid(*axes, indexing="ij"), torch.zeros(shape, dtype=torch.float64))
    x = torch.stack([ramp, 3 - 2 * ramp])[None]
    gone = torch.zeros(shape, dtype=torch.bool)
    gone[tuple(slice(2, -2) for _ in shape)] = True
    holed = torch.where(gone, 99.0, x)
    torch.testing.assert_close(linear_imputation(holed, gone), x, atol=1e-10, rtol=0)


def test_a_single_hole_is_the_weighted_mean_around_it() -> None:
    x, gone = draw(1, 1, 3, 3), torch.zeros(3, 3, dtype=torch.bool)
    gone[1, 1] = True
    beside, across = x[0, 0, [0, 1, 1, 2], [1, 0, 2, 1]].sum(), x[0, 0, [0, 0, 2, 2], [0, 2, 0, 2]].sum()
    assert float(linear_imputation(x, gone)[0, 0, 1, 1]) == pytest.approx(float(beside / 6 + across / 12))


def test_nothing_and_everything_gone() -> None:
    x = draw(1, 2, 4, 4)
    assert torch.equal(linear_imputation(x, torch.zeros(4, 4, dtype=torch.bool)), x)
    filled = linear_imputation(x, torch.ones(4, 4, dtype=torch.bool))
    torch.testing.assert_close(filled, x.mean((2, 3), keepdim=True).expand_as(x))
    with pytest.raises(InputError, match="no neighbours"):
        linear_imputation(draw(1, 4), torch.ones(4, dtype=torch.bool))


@pytest.mark.parametrize("percentile", [20, 33.3, 50, 90])
@pytest.mark.parametrize("places", [1, 7, 100, 256])
def test_percentiles_count_places_as_numpy_does(percentile: float, places: int) -> None:
    values_ = np.random.default_rng(0).permutation(places).astype(float)
    assert removed_at(percentile, places) == int((values_ >= np.percentile(values_, percentile)).sum())


def test_a_patch_that_matters_is_missed_only_where_the_map_shows_it() -> None:
    """The score is a bright spot on black: without its highest places it is gone, without its lowest it stays."""
    x = torch.zeros(1, 1, 12, 12, dtype=torch.float64)
    x[0, 0, 5:7, 5:7] = 1
    model = values(lambda x: x[:, 0, 5:7, 5:7].mean((1, 2)))
    good = measure(model, Road(noise=0), x, x[:, 0] + 0.01 * draw(1, 12, 12))
    assert good.value == pytest.approx(0.5, abs=0.05)
    assert good.details["most-relevant-first 80"] < 0.05
    assert good.details["least-relevant-first 80"] == pytest.approx(1)


def test_noise_is_seeded_and_falls_on_imputed_places_only() -> None:
    seen: list[Tensor] = []

    def score(x: Tensor) -> Tensor:
        seen.append(x)
        return x.sum((1, 2, 3))

    x, found = torch.ones(1, 1, 10, 10, dtype=torch.float64), draw(1, 10, 10)
    first = measure(values(score), Road((80,), noise=0.5), x, found)
    assert first.value == measure(values(score), Road((80,), noise=0.5), x, found).value
    assert first.value != measure(values(score), Road((80,), noise=0.5), x, found, seed=1).value
    changed = {int((row != 1).sum()) for batch in seen for row in batch}
    assert changed == {0, removed_at(80, 100)}


def test_vectors_and_impossible_settings_are_refused() -> None:
    with pytest.raises(InputError, match="Use deletion"):
        measure(values(lambda x: x.sum(1)), Road(), draw(1, 5), draw(1, 5))
    for settings, message in (
        ({"percentiles": ()}, "percentiles"),
        ({"percentiles": (0, 50)}, "percentiles"),
        ({"order": "most"}, "order takes"),
        ({"noise": -1}, "noise must be"),
    ):
        with pytest.raises(SettingError, match=message):
            Road(**settings)  # type: ignore[arg-type]


def test_one_pixel_stays_what_it_is() -> None:
    x = torch.full((1, 1, 1, 1), 0.4, dtype=torch.float64)
    made = measure(values(lambda x: x.sum((1, 2, 3))), Road(noise=0), x, torch.ones(1, 1, 1).double(), PLAIN)
    assert made.value == 0
