"""Intervals cover what they should, do not depend on order, and merge exactly."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from seewhy.core.errors import SettingError
from seewhy.ops.bootstrap import Total, interval


def test_intervals_cover_the_mean_of_normal_samples() -> None:
    """2,000 samples of 60: the percentile interval is a little short of 95 %, by about 1 %."""
    drawn = np.random.default_rng(7).normal(3.0, 2.0, (2000, 60))
    inside = 0
    for sample in drawn:
        found = interval(sample.tolist(), draws=400)
        inside += found.low <= 3.0 <= found.high
    assert inside / len(drawn) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_an_interval_is_as_wide_as_theory_says(level: float) -> None:
    values = np.random.default_rng(1).normal(size=400)
    found = interval(values.tolist(), level=level)
    reach = {0.5: 0.6745, 0.95: 1.96}[level] * values.std() / math.sqrt(len(values))
    assert found.high - found.mean == pytest.approx(reach, rel=0.06)
    assert found.mean - found.low == pytest.approx(reach, rel=0.06)


def test_shards_merge_exactly_and_order_does_not_matter() -> None:
    values = {f"image {n}": random.Random(n).random() for n in range(50)}
    whole = Total(values)
    names = list(values)
    random.Random(0).shuffle(names)
    merged = Total()
    for start in (35, 0, 20):
        stop = {0: 20, 20: 35, 35: 50}[start]
        merged = merged | Total({name: values[name] for name in names[start:stop]})
    assert merged.interval() == whole.interval()
    assert Total(dict(reversed(values.items()))).interval() == whole.interval()


def test_paired_differences_are_narrower_than_unpaired_ones() -> None:
    drawn = np.random.default_rng(3).normal(size=200)
    first = Total({str(n): float(v) for n, v in enumerate(drawn)})
    second = Total({str(n): float(v) - 0.1 for n, v in enumerate(drawn)} | {"only here": 5.0})
    found = first.minus(second)
    assert (found.mean, found.low, found.high, found.count) == pytest.approx((0.1, 0.1, 0.1, 200))


def test_few_values_and_values_that_are_none() -> None:
    assert interval([]).count == 0
    assert math.isnan(interval([]).mean)
    one = interval([2.0])
    assert one.mean == 2
    assert math.isnan(one.low)
    assert interval([1.0, math.nan, 3.0]).count == 2
    with pytest.raises(SettingError, match="level"):
        interval([1.0, 2.0], level=95)
