"""Moments and correlations: equal to numpy and scipy, however the rows are batched and on hard numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from seewhy.core.errors import InputError
from seewhy.ops import statistics
from seewhy.ops.seeds import generator
from seewhy.ops.statistics import FourMoments, Moments, pearson, rank_correlation, relative_error


def _rows(count: int, *shape: int) -> torch.Tensor:
    return torch.randn((count, *shape), dtype=torch.float64, generator=generator("rows", count, *shape))


def _stream(rows: torch.Tensor, sizes: list[int]) -> Moments:
    moments = Moments.empty()
    for batch in rows.split(sizes):
        moments = moments.update(batch)
    return moments


@pytest.mark.parametrize("sizes", [[30], [1] * 30, [7, 0, 16, 7], [0, 29, 1, 0]], ids=str)
def test_equal_to_numpy_however_batched(sizes: list[int]) -> None:
    rows = _rows(30, 3, 4) * 5 + 2
    found, data = _stream(rows, sizes), rows.numpy()
    assert found.count == 30
    np.testing.assert_allclose(found.mean.numpy(), data.mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.variance.numpy(), data.var(0, ddof=1), rtol=1e-13)
    np.testing.assert_allclose(found.standard_error.numpy(), stats.sem(data, axis=0), rtol=1e-13)


@pytest.mark.parametrize("sizes", [[1000], [1] * 1000, [3] * 333 + [1]], ids=["one", "single", "threes"])
def test_large_mean_and_small_spread(sizes: list[int]) -> None:
    rows = _rows(1000, 2) + 1e8
    exact = rows - 1e8  # exact in float64, so its variance is that of the rows
    found = _stream(rows, sizes)
    np.testing.assert_allclose(found.variance.numpy(), exact.numpy().var(0, ddof=1), rtol=1e-8)
    np.testing.assert_allclose((found.mean - 1e8).numpy(), exact.numpy().mean(0), rtol=0, atol=1e-6)
    naive = (rows.square().sum(0) - rows.sum(0) ** 2 / 1000) / 999
    assert bool(((naive - found.variance).abs() > 0.1).all())  # the case is as hard as it claims to be


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64])
def test_rows_of_other_dtypes_are_summed_in_float64(dtype: torch.dtype) -> None:
    rows = (_rows(64, 5) * 40 + 100).to(dtype)
    found, data = _stream(rows, [10, 54]), rows.double().numpy()
    assert found.mean.dtype == found.variance.dtype == torch.float64
    np.testing.assert_allclose(found.mean.numpy(), data.mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.variance.numpy(), data.var(0, ddof=1), rtol=1e-12)


def test_float32_reduction_for_devices_without_float64_keeps_its_digits() -> None:
    rows = (_rows(500, 4) + 1e4).float()
    found, data = statistics._reduce(rows, torch.float32), rows.double().numpy()
    np.testing.assert_allclose(found.mean.numpy(), data.mean(0), rtol=1e-10)
    np.testing.assert_allclose(found.variance.numpy(), data.var(0, ddof=1), rtol=1e-5)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=6), st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_merging_is_associative_and_commutative(sizes: list[int], seed: int) -> None:
    rows = torch.randn(sum(sizes), 3, dtype=torch.float64, generator=generator(seed))
    parts = [Moments.of(batch) for batch in rows.split(sizes)]
    forwards, backwards = Moments.empty(), Moments.empty()
    for part in parts:
        forwards, backwards = forwards.merge(part), part.merge(backwards)
    assert forwards.count == backwards.count == len(rows)
    assert forwards.mean.shape == (3,)
    for one, other in ((forwards.mean, backwards.mean), (forwards.variance, backwards.variance)):
        torch.testing.assert_close(one, other, equal_nan=True)
    if len(rows) > 1:
        torch.testing.assert_close(forwards.variance, rows.var(0))


def test_too_few_rows_have_no_variance() -> None:
    for nothing in (Moments.empty(), Moments.of(torch.zeros(0, 2))):
        assert nothing.count == 0
        assert bool(nothing.mean.isnan().all())
        assert bool(nothing.standard_error.isnan().all())
    assert Moments.empty().update(torch.zeros(0, 2)).mean.shape == (2,)
    one = Moments.of(torch.tensor([[3.0, 4.0]]))
    assert one.mean.tolist() == [3.0, 4.0]
    assert bool(one.variance.isnan().all())


def test_equal_rows_have_exactly_no_variance() -> None:
    found = _stream(torch.full((9, 2), 0.1), [4, 5])
    assert found.variance.tolist() == [0.0, 0.0]
    assert found.mean.tolist() == [float(np.float32(0.1))] * 2


def test_updates_leave_earlier_moments_and_rows_alone() -> None:
    rows = _rows(4, 2)
    kept = rows.clone()
    first = Moments.of(rows.requires_grad_())
    before = first.mean
    before += 100
    first.update(rows + 1)
    assert torch.equal(first.mean, Moments.of(kept).mean)
    assert torch.equal(rows, kept)
    assert not first.mean.requires_grad


def test_rows_of_different_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(3,\) after \(2,\)"):
        Moments.of(torch.zeros(1, 2)).update(torch.zeros(1, 3))
    with pytest.raises(InputError, match="rows"):
        Moments.of(torch.tensor(1.0))


@pytest.mark.parametrize("levels", [2, 5, 1000], ids=["many ties", "some ties", "few ties"])
def test_correlations_equal_scipy(levels: int) -> None:
    draw = generator("levels", levels)
    a = torch.randint(levels, (8, 25), generator=draw).float()
    b = a + torch.randint(levels, (8, 25), generator=draw)
    expected = stats.spearmanr(a.flatten().numpy(), b.flatten().numpy()).statistic
    assert rank_correlation(a, b) == pytest.approx(float(expected), abs=1e-13)
    expected = stats.pearsonr(a.flatten().double().numpy(), b.flatten().double().numpy()).statistic
    assert pearson(a, b) == pytest.approx(float(expected), abs=1e-13)


def test_correlation_at_a_large_offset_and_at_extreme_scales() -> None:
    a, b = _rows(200), _rows(200, 1).flatten()
    expected = pearson(a, b)
    assert pearson(a + 1e8, b) == pytest.approx(expected, abs=1e-7)
    assert pearson(a * 1e-200, b * 1e200) == pytest.approx(expected, abs=1e-13)


def test_rank_correlation_sees_order_only() -> None:
    a = _rows(50)
    assert rank_correlation(a, a.exp()) == pytest.approx(1, abs=1e-14)
    assert rank_correlation(a, -a) == pytest.approx(-1, abs=1e-14)
    assert rank_correlation(torch.tensor([1.0, 2.0, math.inf]), torch.arange(3)) == pytest.approx(1)
    assert rank_correlation(torch.tensor([0.0, -0.0, 1.0]), torch.tensor([1, 1, 2])) == pytest.approx(1)


def test_perfect_correlation_is_never_above_one() -> None:
    for count in range(2, 60):
        a = _rows(count)
        assert pearson(a, a * 3 + 7) <= 1.0
        assert pearson(a, a * 3 + 7) == pytest.approx(1.0, abs=1e-12)
        assert pearson(a, -a) >= -1.0


@pytest.mark.parametrize("correlation", [pearson, rank_correlation])
def test_undefined_correlations_are_nan(correlation: Callable[[torch.Tensor, torch.Tensor], float]) -> None:
    ramp = torch.arange(3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(correlation(torch.full((3,), 0.1), ramp))
        assert math.isnan(correlation(ramp, torch.tensor([1.0, math.nan, 2.0])))
        assert math.isnan(correlation(torch.tensor([1.0]), torch.tensor([2.0])))
        assert math.isnan(correlation(torch.zeros(0), torch.zeros(0)))
    with pytest.raises(InputError, match=r"\(3,\) and \(2,\)"):
        correlation(ramp, ramp[:2])


def test_a_constant_whose_mean_rounds_is_still_constant() -> None:
    assert math.isnan(pearson(torch.full((7,), 0.1, dtype=torch.float64), torch.arange(7.0)))


# ------------------------------------------------------------------------------------------------------ four moments


def _four(rows: torch.Tensor, sizes: list[int]) -> FourMoments:
    moments = FourMoments.empty()
    for batch in rows.split(sizes):
        moments = moments.update(batch)
    return moments


@pytest.mark.parametrize("sizes", [[30], [1] * 30, [7, 0, 16, 7], [0, 29, 1, 0]], ids=str)
def test_third_and_fourth_moments_are_scipys_however_batched(sizes: list[int]) -> None:
    rows = _rows(30, 3, 4).exp() * 5 + 2
    found, data = _four(rows, sizes), rows.numpy()
    assert found.count == 30
    np.testing.assert_allclose(found.variance.numpy(), data.var(0, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(found.cubes.numpy() / 30, stats.moment(data, 3), rtol=1e-10)
    np.testing.assert_allclose(found.fourths.numpy() / 30, stats.moment(data, 4), rtol=1e-10)
    wanted = np.sqrt((stats.moment(data, 4) - 27 / 29 * data.var(0, ddof=1) ** 2) / 30)
    np.testing.assert_allclose(found.variance_error.numpy(), wanted, rtol=1e-10)


def test_four_moments_keep_their_digits_at_a_large_mean() -> None:
    rows = _rows(300, 2) + 1e6
    found, exact = _four(rows, [3] * 100), (rows - 1e6).numpy()
    np.testing.assert_allclose(found.fourths.numpy() / 300, stats.moment(exact, 4), rtol=1e-6)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=6), st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_merging_four_moments_is_associative_and_commutative(sizes: list[int], seed: int) -> None:
    rows = torch.randn(sum(sizes), 3, dtype=torch.float64, generator=generator(seed))
    parts = [FourMoments.of(batch) for batch in rows.split(sizes)]
    forwards, backwards = FourMoments.empty(), FourMoments.empty()
    for part in parts:
        forwards, backwards = forwards.merge(part), part.merge(backwards)
    assert forwards.count == backwards.count == len(rows)
    torch.testing.assert_close(forwards.cubes, backwards.cubes)
    torch.testing.assert_close(forwards.fourths, backwards.fourths)
    if len(rows):
        torch.testing.assert_close(forwards.fourths, (rows - rows.mean(0)).pow(4).sum(0))


def test_equal_rows_have_exactly_no_higher_moments_and_few_rows_no_error() -> None:
    found = _four(torch.full((9, 2), 0.1), [4, 5])
    assert found.variance.tolist() == found.variance_error.tolist() == [0.0, 0.0]
    assert found.cubes.tolist() == found.fourths.tolist() == [0.0, 0.0]
    assert bool(FourMoments.of(torch.ones(1, 2)).variance_error.isnan().all())


def test_the_variance_error_is_the_spread_of_variances() -> None:
    rows = torch.rand(4000, 40, dtype=torch.float64, generator=generator("spread"))
    each = torch.stack([FourMoments.of(rows[:, i]).variance for i in range(40)])
    reported = torch.stack([FourMoments.of(rows[:, i]).variance_error for i in range(40)]).mean()
    assert float(each.std() / reported) == pytest.approx(1, abs=0.35)


def test_relative_error_is_norm_by_norm() -> None:
    pairs = [(torch.tensor([3.0, 0.0]), torch.tensor([0.5, 0.0])), (torch.tensor([4.0]), torch.tensor([1.2]))]
    assert relative_error(pairs) == pytest.approx(1.3 / 5)
    assert relative_error([(torch.zeros(2), torch.zeros(2))]) == 0
    assert relative_error([(torch.zeros(2), torch.ones(2))]) == math.inf
