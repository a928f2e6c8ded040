"""Occlusion, feature ablation and RISE against games solved on paper, slow loops, captum, and their own statistics."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seewhy
from seewhy import Options
from seewhy.core.errors import InputError, SettingError
from seewhy.methods import FeatureAblation, Occlusion, Rise
from seewhy.ops import segments
from seewhy.ops.mask_regression import likeliest_ridge
from seewhy.ops.masks import Layout, Masks, unit_points
from seewhy.ops.statistics import rank_correlation
from seewhy.study.cases import cases

from . import networks

SAMPLERS = ("sobol", "iid")
PATCHES = segments.grid((28, 28), (7, 7))


class Game(nn.Module):
    """A score of the whole input, beside a class that nobody asks for."""

    def __init__(self, score: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.score = score
        self.unused = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        found = self.score(x)
        return torch.stack([found, torch.zeros_like(found)], 1)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cnn() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(4),
    ).double()


def window_loop(score: Callable[[Tensor], float], ends: tuple[Tensor, Tensor], window: Any, stride: Any) -> Tensor:
    """The mean drop over windows, by hand: corners every `stride` until the border is reached."""
    x, baseline = ends
    total, count = torch.zeros(x.shape[2:], dtype=torch.float64), torch.zeros(x.shape[2:], dtype=torch.float64)
    corners = []
    for size, w, s in zip(x.shape[2:], window, stride, strict=True):
        starts = [0]
        while starts[-1] + w < size:
            starts.append(starts[-1] + s)
        corners.append(starts)
    for corner in itertools.product(*corners):
        where = tuple(slice(start, start + w) for start, w in zip(corner, window, strict=True))
        hidden = x.clone()
        hidden[(..., *where)] = baseline[(..., *where)]
        total[where] += score(x) - score(hidden)
        count[where] += 1
    return total / count


# ------------------------------------------------------------------------------------------------- games on paper


def test_a_linear_score_falls_by_what_is_hidden():
    weights, x, baseline = uniform(3, 9, 7) - 0.5, uniform(1, 3, 9, 7, seed=1), uniform(1, 3, 9, 7, seed=2)
    net = Game(lambda given: (given * weights).sum((1, 2, 3)))
    own = (weights * (x - baseline)[0]).sum(0)
    labels = segments.grid((9, 7), (3, 2))
    found = FeatureAblation(segments=labels, baseline=baseline).attribute(net, x, 0)
    for piece in range(6):
        torch.testing.assert_close(found.segment_values[0][piece], own[labels == piece].sum())
    torch.testing.assert_close(found.values[0], found.segment_values[0][labels])
    assert torch.equal(found.segments[0], labels)
    slid = Occlusion(window=1, stride=1, baseline=baseline).attribute(net, x, 0)
    torch.testing.assert_close(slid.values[0], own)


def test_of_a_maximum_only_the_largest_falls_and_to_the_second():
    net = Game(lambda given: given.amax(1))
    x = torch.tensor([[0.2, 0.9, 0.6, 0.1]], dtype=torch.float64)
    wanted = torch.tensor([[0.0, 0.3, 0.0, 0.0]], dtype=torch.float64)
    for method in (FeatureAblation(), Occlusion()):
        torch.testing.assert_close(method.attribute(net, x, 0).values, wanted)


def test_of_a_product_each_factor_takes_all_with_it():
    net = Game(lambda given: given.prod(1))
    x = torch.tensor([[2.0, 3.0, -4.0]], dtype=torch.float64)
    torch.testing.assert_close(FeatureAblation().attribute(net, x, 0).values, torch.full((1, 3), -24.0).double())
    halved = FeatureAblation(baseline=1.0).attribute(net, x, 0).values
    torch.testing.assert_close(halved, torch.tensor([[-12.0, -16.0, -30.0]], dtype=torch.float64))


def test_several_baselines_are_averaged():
    x = uniform(1, 3, 8, 8)
    net = cnn()
    net(x)
    for make in (lambda b: FeatureAblation(5, b), lambda b: Occlusion(3, 2, b)):
        apart = [make(b).attribute(net, x, 1).values for b in (0.0, 0.7)]
        torch.testing.assert_close(make([0.0, 0.7]).attribute(net, x, 1).values, sum(apart) / 2)


def test_rise_of_a_linear_score_of_features_is_known():
    """Given that feature k is visible, every other one is with probability 1/2."""
    weights, x = uniform(1, 10) - 0.5, uniform(1, 10, seed=1)
    net = Game(lambda given: (given * weights).sum(1))
    found = Rise(masks=128).attribute(net, x, 0)
    own = (weights * x)[0]
    wanted = own.sum() / 2 + own / 2
    torch.testing.assert_close(found.values[0], wanted)  # two coordinates of a block are exactly balanced
    assert float(found.error.max()) < 1e-7
    torch.testing.assert_close(found.neutral, (own.sum() / 2).reshape(1))
    noisy = Rise(masks=4096, sampler="iid").attribute(net, x, 0)
    assert bool(((noisy.values[0] - wanted).abs() < 5 * noisy.error[0]).all())


@pytest.mark.parametrize(
    "method", [Rise(masks=512), Rise(masks=512, sampler="iid"), Occlusion(4), FeatureAblation(PATCHES)]
)
def test_maps_peak_at_the_patch_that_a_network_looks_at(method: Any):
    net = Game(lambda given: given[:, :, 16:24, 4:12].mean((1, 2, 3)))
    x = 0.5 + 0.1 * uniform(1, 3, 28, 28)
    values = method.attribute(net, x, 0).values[0]
    row, column = divmod(int(values.argmax()), 28)
    assert 14 <= row < 26
    assert 2 <= column < 14
    inside = torch.zeros(28, 28, dtype=torch.bool)
    inside[16:24, 4:12] = True
    assert float(values[inside].mean()) > float(values[~inside].mean()) + 2 * float(values[~inside].std())


# ------------------------------------------------------------------------------------------------------- formulas


@pytest.mark.parametrize(
    ("shape", "window", "stride"),
    [
        ((3, 11, 8), (3, 4), (2, 3)),
        ((2, 13), (5,), (3,)),
        ((2, 5, 4, 6), (2, 3, 2), (2, 2, 1)),
        ((3, 6, 6), (4, 4), (4, 4)),
    ],
)
def test_occlusion_is_a_loop_and_captum(shape: tuple[int, ...], window: Any, stride: Any):
    x, weights, baseline = uniform(1, *shape), uniform(*shape, seed=1) - 0.5, uniform(1, *shape, seed=2)
    net = Game(lambda given: torch.tanh((given * weights).flatten(1).sum(1)) + given.flatten(1).prod(1))
    found = Occlusion(window, stride, baseline).attribute(net, x, 0).values[0]
    with torch.no_grad():
        loop = window_loop(lambda given: float(net(given)[0, 0]), (x, baseline), window, stride)
        peer = captum.attr.Occlusion(net).attribute(x, (shape[0], *window), (1, *stride), baselines=baseline, target=0)
    torch.testing.assert_close(found, loop, rtol=1e-9, atol=1e-12)
    largest = float(found.abs().max())
    assert largest > 1e-3
    torch.testing.assert_close(found, peer[0, 0].double(), rtol=0, atol=1e-6 * largest)  # captum adds up in float32


def test_feature_ablation_is_captum_s_with_the_same_pieces():
    net, x = cnn(), uniform(1, 3, 12, 10)
    with torch.no_grad():
        net(x)
        found = FeatureAblation(segments=12, baseline=0.4).attribute(net, x, 2)
        peer = captum.attr.FeatureAblation(net).attribute(x, 0.4, target=2, feature_mask=found.segments[:, None])
    torch.testing.assert_close(found.values, peer[:, 0], rtol=1e-6, atol=1e-9)
    assert 4 <= len(found.segment_values[0]) <= 20


def slow_masks(case: Any, places: tuple[int, int], cells: int, blocks: tuple[int, int], sampler: Any) -> Tensor:
    """Masks of the paper from the same random numbers: pictures stretched by torch and cropped one by one."""
    widths = [math.ceil(size / cells) for size in places]
    found = []
    for block in range(blocks[0]):
        points = unit_points(blocks[1], cells**2 + 2, sampler, case.seed, case.id, "rise", block)
        for row in points:
            grid = (row[: cells**2] < 0.5).double().reshape(1, 1, cells, cells)
            size = [(cells + 1) * width for width in widths]
            large = nn.functional.interpolate(grid, size=size, mode="bilinear", align_corners=False)[0, 0]
            top, left = (int(number * width) for number, width in zip(row[cells**2 :], widths, strict=True))
            found.append(large[top : top + places[0], left : left + places[1]])
    return torch.stack(found)


def slow_line(masks: Tensor, score: Tensor, cells: int) -> Tensor:
    """What ridge fits to the other blocks of 32 masks say of each mask less what they say while a place is visible."""
    places = tuple(masks.shape[1:])
    box = [torch.arange(size) * cells // size for size in places]
    member = torch.stack([(box[0] == i)[:, None] & (box[1] == j)[None] for i in range(cells) for j in range(cells)])
    member = member.double() / member.sum((1, 2), keepdim=True)
    features = torch.einsum("nhw,khw->nk", masks, member)
    widths = [math.ceil(size / cells) for size in places]
    shared = torch.zeros(cells**2, *places).double()
    for cell in range(cells**2):
        grid = torch.zeros(cells**2).double()
        grid[cell] = 1
        size = [(cells + 1) * width for width in widths]
        large = nn.functional.interpolate(
            grid.reshape(1, 1, cells, cells), size=size, mode="bilinear", align_corners=False
        )[0, 0]
        for top, left in itertools.product(range(widths[0]), range(widths[1])):
            own = large[top : top + places[0], left : left + places[1]]
            shared += own * (member * own).sum((1, 2))[:, None, None] / math.prod(widths)
    penalty = math.sqrt(likeliest_ridge(features, score))
    said = torch.empty(len(masks), *places).double()
    for start in range(0, len(masks), 32):
        others = torch.cat([torch.arange(start), torch.arange(start + 32, len(masks))])
        centre, mean = features[others].mean(0), score[others].mean()
        rows = torch.cat([features[others] - centre, penalty * torch.eye(cells**2).double()])
        values = torch.cat([score[others] - mean, torch.zeros(cells**2).double()])
        slopes = torch.linalg.lstsq(rows, values).solution
        visible = mean + ((0.5 + 0.5 * shared - centre[:, None, None]) * slopes[:, None, None]).sum(0)
        said[start : start + 32] = (mean + (features[start : start + 32] - centre) @ slopes)[:, None, None] - visible
    return said


@pytest.mark.parametrize("estimator", ["regression", "mean"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_rise_and_its_error_are_a_loop_over_its_masks(sampler: Any, estimator: Any):
    net, x = cnn(), uniform(1, 3, 14, 11)
    net(x)
    baseline = uniform(1, 3, 14, 11, seed=5)
    method = Rise(masks=96, cells=3, sampler=sampler, baseline=baseline, estimator=estimator)
    found = method.attribute(net, x, 1, seed=4)
    (case,) = cases(seewhy.wrap(net), x, 4)
    masks = slow_masks(case, (14, 11), 3, (3, 32), sampler)  # 9 cells and 2 crops: 22 is below 32
    assert found.diagnostics["masks"] == 96
    with torch.no_grad():
        score = torch.stack([net(x * mask + baseline * (1 - mask))[0, 1] for mask in masks])
    torch.testing.assert_close(found.neutral[0], score.mean())
    number = score[:, None, None].expand_as(masks)
    if estimator == "regression":
        number = number - slow_line(masks, score, 3)
    total, weight = (number * masks).sum(0), masks.sum(0)
    torch.testing.assert_close(found.values[0], total / weight, rtol=1e-9, atol=1e-12)
    unit = 32 if sampler == "sobol" else 1
    rest = (masks * (number - total / weight)).reshape(-1, unit, 14, 11).sum(1)
    error = (rest.square().sum(0) * len(rest) / (len(rest) - 1)).sqrt() / weight
    torch.testing.assert_close(found.error[0], error, rtol=1e-6, atol=1e-9)


# ----------------------------------------------------------------------------------------------------- statistics


def small_game() -> tuple[nn.Module, Tensor, Tensor]:
    """A network of 8 features with interactions, an input, and its RISE values over all 256 masks."""
    torch.manual_seed(6)
    net = nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 2)).double()
    net[0].weight.data *= 4
    x = uniform(1, 8, seed=8) + 0.5
    masks = torch.tensor(list(itertools.product([0.0, 1.0], repeat=8)), dtype=torch.float64)
    with torch.no_grad():
        score = net(x * masks)[:, 0]
    return net, x, (score[:, None] * masks).sum(0) / masks.sum(0)


@pytest.mark.parametrize("estimator", ["regression", "mean"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_standard_error_covers_the_truth_as_often_as_it_says(sampler: Any, estimator: Any):
    net, x, truth = small_game()
    method = Rise(masks=128, sampler=sampler, estimator=estimator)  # blocks of 32: four of them
    inside = []
    for seed in range(60):
        found = method.attribute(net, x, 0, seed=seed)
        if sampler == "sobol":
            assert found.diagnostics["blocks"] == 4
        bound = (3.182 if sampler == "sobol" else 1.979) * found.error[0]  # Student's t, 95 %, 3 and 127
        inside.append(((found.values[0] - truth).abs() <= bound).double())
    assert 0.90 <= float(torch.stack(inside).mean()) <= 0.985


def test_the_error_of_independent_masks_falls_with_their_root_and_sobol_s_is_smaller():
    net, x, truth = small_game()

    def spread(masks: int, sampler: Any, estimator: Any = "mean") -> float:
        method = Rise(masks=masks, sampler=sampler, estimator=estimator)
        found = torch.stack([method.attribute(net, x, 0, seed=seed).values[0] for seed in range(30)])
        assert bool(((found.mean(0) - truth).abs() < 4.5 * found.std(0) / math.sqrt(30) + 1e-9).all())
        return float((found - truth).square().mean().sqrt())

    few, many = spread(64, "iid"), spread(1024, "iid")
    assert 3.2 < few / many < 5.0
    assert spread(64, "sobol") < 0.7 * few
    fitted = spread(64, "iid", "regression")
    assert fitted < 0.8 * few
    assert 3.2 < fitted / spread(1024, "iid", "regression") < 6.0


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_blocks_are_drawn_until_the_tolerance_is_met(sampler: Any):
    net, x, _ = small_game()
    loose = Rise(masks=64, sampler=sampler, tolerance=0.2).attribute(net, x, 0)
    tight = Rise(masks=64, sampler=sampler, tolerance=0.02, max_masks=512).attribute(net, x, 0)
    assert loose.diagnostics["converged"]
    assert loose.diagnostics["relative_error"] <= 0.2
    assert tight.diagnostics["masks"] == 512 or tight.diagnostics["converged"]
    assert tight.diagnostics["masks"] > loose.diagnostics["masks"]
    values, error = tight.values[0], tight.error[0]
    wanted = float(error.norm() / (values - values.mean()).norm())
    assert tight.diagnostics["relative_error"] == pytest.approx(wanted)


@pytest.mark.slow
def test_two_seeds_rank_the_pixels_of_a_photograph_alike():
    x = networks.picture(96)
    model = seewhy.load("efficientnet-lite0", device="cpu")
    first, second = (seewhy.attribute(model, x, "rise", seed=seed) for seed in (0, 1))
    assert rank_correlation(first.values, second.values) >= 0.8


# ------------------------------------------------------------------------------------------------------ invariance


@pytest.mark.parametrize("method", [Occlusion(4, 3), FeatureAblation(10), Rise(masks=64, cells=3)])
def test_neither_batches_nor_company_show_and_a_seed_gives_the_same_bits(method: Any):
    net, x = cnn(), uniform(2, 3, 12, 12)
    net(x)
    whole = seewhy.attribute(net, x, method, 1, options=Options(batch_size=64))
    again = seewhy.attribute(net, x, method, 1, options=Options(batch_size=64))
    assert torch.equal(whole.values, again.values)
    small = seewhy.attribute(net, x[:1], method, 1, options=Options(batch_size=5))
    torch.testing.assert_close(small.values, whole.values[:1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", [Occlusion(), FeatureAblation(), Rise(masks=32)])
def test_several_inputs_are_hidden_one_at_a_time_and_masked_together(method: Any):
    class Two(nn.Module):
        def forward(self, picture: Tensor, vector: Tensor) -> Tensor:
            found = picture.sum((1, 2, 3)) * vector[:, 0]
            return torch.stack([found, -found], 1)

    x = (uniform(1, 1, 4, 4), torch.tensor([[2.0, 5.0]], dtype=torch.float64))
    found = method.attribute(Two(), x, 0)
    picture, vector = found.values
    assert picture.shape == (1, 4, 4)
    assert vector.shape == (1, 2)
    if isinstance(method, FeatureAblation):
        torch.testing.assert_close(picture[0], 2 * x[0][0, 0])
        torch.testing.assert_close(found.segment_values[0][found.segments[1][0]], vector[0])
    if not isinstance(method, Rise):
        torch.testing.assert_close(vector, torch.tensor([[2 * float(x[0].sum()), 0.0]], dtype=torch.float64))
    assert float(vector[0, 0]) > float(vector[0, 1])


# -------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "make",
    [
        lambda: Occlusion(window=0),
        lambda: Occlusion(stride="2"),
        lambda: FeatureAblation(segments=0),
        lambda: FeatureAblation(segments=torch.rand(3, 3)),
        lambda: FeatureAblation(segments=[[0, 1]]),
        lambda: Rise(masks=2),
        lambda: Rise(probability=1.0),
        lambda: Rise(cells=()),
        lambda: Rise(sampler="halton"),
        lambda: Rise(tolerance=0.1, max_masks=100),
    ],
)
def test_nonsense_is_refused_at_once(make: Callable[[], Any]):
    with pytest.raises(SettingError, match="given"):
        make()


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (Occlusion(window=(3,)), "2 spatial axes"),
        (Occlusion(window=2, stride=3), "no window covers"),
        (Rise(cells=(2, 2, 2)), "2 spatial axes"),
        (FeatureAblation(segments=torch.zeros(3, 4, dtype=torch.long)), r"\(8, 8\)"),
        (FeatureAblation(segments=lambda picture: picture), "whole numbers"),
    ],
)
def test_what_does_not_fit_the_input_is_said(method: Any, words: str):
    net, x = cnn(), uniform(1, 3, 8, 8)
    net(x)
    with pytest.raises(SettingError, match=words):
        method.attribute(net, x, 0)


def test_a_function_gets_the_picture_in_colours_and_its_labels_count():
    seen = []

    def halves(picture: np.ndarray) -> np.ndarray:
        seen.append(picture)
        return np.where(np.arange(picture.shape[1]) < 3, 7, -2)[None].repeat(picture.shape[0], 0)

    x = torch.stack([torch.full((4, 6), value) for value in (-1.0, 0.0, 3.0)])[None].double()
    net = seewhy.wrap(Game(lambda given: given.sum((1, 2, 3))), value_range=(-1.0, 1.0))
    found = seewhy.attribute(net, x, FeatureAblation(halves), 0)
    assert seen[0].shape == (4, 6, 3)
    assert seen[0][0, 0].tolist() == [0.0, 0.5, 1.0]
    assert found.segments[0, 0].tolist() == [1, 1, 1, 0, 0, 0]
    # hidden by black, which is -1 here
    torch.testing.assert_close(found.segment_values[0], torch.tensor([60.0, 60.0], dtype=torch.float64))


# ------------------------------------------------------------------------------------------------------------- ops


def test_slic_keeps_areas_of_one_colour_apart_and_is_the_same_each_time():
    x = torch.zeros(1, 3, 40, 60)
    x[:, 0, :, 30:] = 1
    labels = segments.segment_map(20, x, None, None)
    assert torch.equal(labels, segments.segment_map(20, x, None, None))
    assert sorted(labels.unique().tolist()) == list(range(int(labels.max()) + 1))
    assert not set(labels[:, :28].unique().tolist()) & set(labels[:, 32:].unique().tolist())
    assert 10 <= len(labels.unique()) <= 30


def test_pieces_of_other_inputs_are_features_places_or_boxes():
    assert segments.segment_map(None, torch.zeros(1, 900), None, None).tolist() == list(range(900))
    assert segments.segment_map(None, torch.zeros(1, 2, 9), None, None).tolist() == list(range(9))
    assert segments.segment_map(3, torch.zeros(1, 2, 9), None, None).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    volume = segments.segment_map(None, torch.zeros(1, 1, 20, 10, 10), None, None)
    assert 100 <= int(volume.max()) + 1 <= 200
    sizes = torch.bincount(volume.flatten())
    assert int(sizes.max()) <= 2 * int(sizes.min())
    with pytest.raises(InputError, match="one row"):
        segments.segment_map(None, torch.zeros(2, 3), None, None)


def test_piece_means_and_hiding_by_hand():
    x = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]], [[0.0, 2.0], [4.0, 10.0]]]])
    labels = torch.tensor([[0, 0], [1, 0]])
    means = segments.piece_means(x, labels)
    torch.testing.assert_close(means[0, 0], torch.tensor([[11 / 3, 11 / 3], [5.0, 11 / 3]]))
    torch.testing.assert_close(means[0, 1], torch.tensor([[4.0, 4.0], [4.0, 4.0]]))
    kept = segments.hide(x, torch.full_like(x, -1.0), labels, torch.tensor([[True, False], [False, False]]))
    torch.testing.assert_close(kept[0, 0], torch.tensor([[1.0, 3.0], [-1.0, 7.0]]))
    assert bool((kept[1] == -1).all())
    mixed = segments.hide(x, torch.full_like(x, -1.0), labels, torch.tensor([[0.5, 1.0]]))
    torch.testing.assert_close(mixed[0, 1], torch.tensor([[-0.5, 0.5], [4.0, 4.5]]))


@pytest.mark.parametrize("numbers", [18, 51, 66])
def test_the_first_digits_of_a_block_are_balanced_in_pairs(numbers: int):
    """What the length of a block is for: above twice the numbers two cells go together half of the time."""
    count = 1 << (2 * numbers).bit_length()
    signs = 2 * (unit_points(count, numbers, "sobol", 1, "x", 0) < 0.5).double() - 1
    assert bool((signs.sum(0) == 0).all())
    together = (signs.T @ signs).fill_diagonal_(0)
    # of 51 numbers two may share their digits: no more than that one pair, elsewhere in each block
    assert int((together != 0).sum()) <= (2 if numbers == 51 else 0)


def test_masks_are_the_same_one_by_one_and_single_places_are_not_stretched():
    layout = Layout.of((10, 3), (4, 7))
    assert (layout.cells, layout.widths, layout.numbers) == ((4, 3), (3, 1), 13)
    masks = Masks.of(layout, unit_points(8, 13, "iid", 0), 0.5)
    whole = masks.build(torch.arange(8), "cpu", torch.float64)
    for number in range(8):
        assert torch.equal(whole[number], masks.build(torch.tensor([number]), "cpu", torch.float64)[0])
    columns = masks.visible.double()
    assert bool(((whole >= columns.amin(1, keepdim=True)) & (whole <= columns.amax(1, keepdim=True))).all())
