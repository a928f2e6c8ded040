"""Numbers in words: what is small keeps its digits, and nothing but zero looks like zero."""

from __future__ import annotations

import random

import pytest

from seewhy.core.numbers import in_words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.125, "0.12"),
        (-0.5, "−0.50"),
        (12.345, "12.35"),
        (0.0951, "0.10"),
        (-0.0949, "−0.095"),
        (0.05, "0.050"),
        (-0.001, "−0.0010"),
        (-0.00024, "−0.00024"),
        (0.0001, "0.00010"),
        (2.2e-5, "2.2e−5"),
        (-3e-12, "−3.0e−12"),
        (0.0, "0.00"),
        (-0.0, "0.00"),
        (None, "–"),
    ],
)
def test_numbers_in_words(value, words):
    assert in_words(value) == words


def test_small_numbers_are_read_back_to_two_digits():
    drawn = random.Random(0)
    for _ in range(500):
        value = drawn.choice((-1, 1)) * 10 ** drawn.uniform(-15, 3)
        read = float(in_words(value).replace("−", "-"))
        assert read == pytest.approx(
            value, rel=0.055 if abs(value) < 0.1 else 0, abs=0 if abs(value) < 0.1 else 0.00501
        )
