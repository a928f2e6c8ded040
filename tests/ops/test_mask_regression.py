"""Sums and features of masks against masks that are built, and the ridge against the likelihood written out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from seewhy.ops.mask_regression import Boxes, left_out, likeliest_ridge
from seewhy.ops.masks import Layout, Masks, unit_points

LAYOUTS = [((11, 8), (3, 2)), ((13,), (5,)), ((6,), (6,)), ((5, 4, 7), (2, 4, 3)), ((9, 4), (2, 4))]


def drawn(places: tuple[int, ...], cells: tuple[int, ...], count: int = 40) -> Masks:
    layout = Layout.of(places, cells)
    return Masks.of(layout, unit_points(count, layout.numbers, "iid", 3), 0.6)


def box_means(masks: torch.Tensor, cells: tuple[int, ...]) -> torch.Tensor:
    """Means over boxes, by a loop over all places."""
    places = masks.shape[1:]
    total, count = torch.zeros(len(masks), *cells).double(), torch.zeros(cells).double()
    for place in itertools.product(*map(range, places)):
        box = tuple(at * cell // size for at, cell, size in zip(place, cells, places, strict=True))
        total[(slice(None), *box)] += masks[(slice(None), *place)]
        count[box] += 1
    return (total / count).flatten(1)


@pytest.mark.parametrize(("places", "cells"), LAYOUTS)
def test_totals_and_features_are_those_of_the_masks_when_they_are_built(places, cells):
    masks = drawn(places, cells)
    built = masks.build(torch.arange(40), "cpu", torch.float64)
    boxes, weights = Boxes.of(masks.layout), torch.linspace(-1, 2, 40).double()
    wanted = (built * weights.reshape(-1, *[1] * len(places))).sum(0)
    torch.testing.assert_close(boxes.total(masks, weights), wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(boxes.features(masks), box_means(built, cells), rtol=1e-12, atol=1e-12)
    assert boxes.count == math.prod(cells)


@pytest.mark.parametrize(("places", "cells"), [((6, 4), (2, 2)), ((7,), (3,)), ((4,), (4,)), ((6, 2), (3, 2))])
@pytest.mark.parametrize("probability", [0.5, 0.3])
def test_what_is_expected_while_a_place_is_visible_is_the_mean_over_all_masks_there_are(places, cells, probability):
    layout = Layout.of(places, cells)
    count = math.prod(layout.cells)
    grids = list(itertools.product([False, True], repeat=count))
    crops = list(itertools.product(*(range(width) for width in layout.widths)))
    pairs = list(itertools.product(grids, crops))
    visible = torch.tensor([grid for grid, _ in pairs]).reshape(-1, *layout.cells)
    masks = Masks(layout, visible, torch.tensor([crop for _, crop in pairs]))
    shown = visible.flatten(1).sum(1)
    chance = probability**shown * (1 - probability) ** (count - shown) / len(crops)
    built = masks.build(torch.arange(len(pairs)), "cpu", torch.float64)
    weight = chance.double().reshape(-1, *[1] * len(places)) * built
    slopes = torch.linspace(-1, 1.5, count).double()
    said = (Boxes.of(layout).features(masks) @ slopes).reshape(-1, *[1] * len(places))
    wanted = (weight * said).sum(0) / weight.sum(0)
    # visible cells are drawn with chances in float32 here
    torch.testing.assert_close(Boxes.of(layout).expected(slopes, probability), wanted, rtol=1e-6, atol=1e-6)


def test_the_likeliest_ridge_maximises_the_likelihood_of_the_values():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(30, 6, generator=generator, dtype=torch.float64)
    slopes = 0.4 * torch.randn(6, generator=generator, dtype=torch.float64)
    values = rows @ slopes + torch.randn(30, generator=generator, dtype=torch.float64)
    found = likeliest_ridge(rows, values)
    # What is left of 30 values after their mean: 29 independent ones, by a basis of the contrasts.
    contrasts = np.linalg.svd(np.eye(30) - 1 / 30)[0][:, :29]
    z, y = contrasts.T @ rows.numpy(), contrasts.T @ values.numpy()

    def likelihood(ridge: float) -> float:
        shape = z @ z.T / ridge + np.eye(29)
        noise = float(y @ np.linalg.solve(shape, y)) / 29
        return float(multivariate_normal(np.zeros(29), noise * shape).logpdf(y))

    step = 10 ** (8 / 47)
    assert likelihood(found) >= max(likelihood(found * step), likelihood(found / step))
    assert 0.5 < found < 50  # the truth is 1 / 0.16


def test_no_line_is_drawn_through_equal_values_or_equal_rows():
    rows = torch.randn(20, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for given, values in ((rows, torch.full((20,), 2.5).double()), (torch.ones(20, 3).double(), rows[:, 0])):
        assert math.isinf(likeliest_ridge(given, values))
        (first, _) = left_out(given, values, 2)
        assert not first.slopes.any()
        assert first.intercept == pytest.approx(float(values[10:].mean()))


def test_a_block_s_line_does_not_know_the_block():
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    values = rows @ torch.tensor([1.0, -2.0, 0.5]).double() + 3
    values[:10] += 100  # the first block is unlike the others
    first, second, *_ = left_out(rows, values, 4)
    others = rows[10:].numpy()
    centred = others - others.mean(0)
    ridge = math.sqrt(likeliest_ridge(rows, values)) * np.eye(3)
    wanted = values[10:].numpy() - float(values[10:].mean())
    slopes = np.linalg.lstsq(np.vstack([centred, ridge]), np.concatenate([wanted, np.zeros(3)]), rcond=None)[0]
    np.testing.assert_allclose(first.slopes.numpy(), slopes, rtol=1e-9)
    assert first.intercept == pytest.approx(float(values[10:].mean()) - others.mean(0) @ slopes)
    assert first.intercept < 5 < 20 < second.intercept
