"""Quadrature: exact up to each rule's degree and not beyond, converging at each rule's order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate

from seewhy.core.errors import SettingError
from seewhy.ops.quadrature import RULES, quadrature


def _integral(rule: str, steps: int, power: int) -> float:
    nodes, weights = quadrature(rule, steps)
    return float((weights * nodes**power).sum())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [2, 3, 10, 57])
def test_shape_order_and_total(rule: str, steps: int) -> None:
    nodes, weights = quadrature(rule, steps)
    assert nodes.shape == weights.shape == (steps,)
    assert nodes.dtype == weights.dtype == torch.float64
    assert float(weights.sum()) == pytest.approx(1, abs=1e-14)
    assert bool((nodes.diff() > 0).all())
    assert bool((weights > 0).all())
    assert float(nodes[0]) >= 0
    assert float(nodes[-1]) <= 1


@pytest.mark.parametrize(
    ("rule", "nodes", "weights"),
    [
        ("left", [0, 0.25, 0.5, 0.75], [0.25] * 4),
        ("right", [0.25, 0.5, 0.75, 1], [0.25] * 4),
        ("midpoint", [0.125, 0.375, 0.625, 0.875], [0.25] * 4),
        ("trapezoid", [0, 1 / 3, 2 / 3, 1], [1 / 6, 1 / 3, 1 / 3, 1 / 6]),
    ],
)
def test_conventions(rule: str, nodes: list[float], weights: list[float]) -> None:
    found = quadrature(rule, 4)
    np.testing.assert_allclose(found[0].numpy(), nodes, rtol=0, atol=1e-15)
    np.testing.assert_allclose(found[1].numpy(), weights, rtol=0, atol=1e-15)


def test_gauss_legendre_against_scipy() -> None:
    # scipy integrates on any interval; its nodes are found by another route than numpy's.
    for steps in (1, 2, 5, 50):
        nodes, weights = quadrature("gauss-legendre", steps)
        expected, _ = integrate.fixed_quad(lambda t: np.exp(3 * t), 0, 1, n=steps)
        assert float((weights * torch.exp(3 * nodes)).sum()) == pytest.approx(float(expected), rel=1e-13)


@pytest.mark.parametrize("steps", [2, 3, 5, 8])
@pytest.mark.parametrize(
    ("rule", "degree"),
    [("left", 0), ("right", 0), ("midpoint", 1), ("trapezoid", 1), ("gauss-legendre", None)],
)
def test_polynomials_are_exact_up_to_the_degree_and_no_further(rule: str, degree: int | None, steps: int) -> None:
    exact = 2 * steps - 1 if degree is None else degree
    for power in range(exact + 1):
        assert _integral(rule, steps, power) == pytest.approx(1 / (power + 1), rel=1e-13)
    beyond = exact + 1
    assert abs(_integral(rule, steps, beyond) - 1 / (beyond + 1)) > 1e-11


@pytest.mark.parametrize(("rule", "order"), [("left", 1), ("right", 1), ("midpoint", 2), ("trapezoid", 2)])
def test_order_of_convergence(rule: str, order: int) -> None:
    def error(panels: int) -> float:
        nodes, weights = quadrature(rule, panels + 1 if rule == "trapezoid" else panels)
        return abs(float((weights * nodes.exp()).sum()) - (math.e - 1))

    assert math.log2(error(100) / error(200)) == pytest.approx(order, abs=0.01)


def test_left_and_right_have_opposite_errors() -> None:
    assert _integral("left", 10, 1) < 0.5 < _integral("right", 10, 1)


def test_default_device_and_dtype_do_not_matter() -> None:
    with torch.device("meta"):
        nodes, _ = quadrature("midpoint", 3)
    assert nodes.device.type == "cpu"


@pytest.mark.parametrize(
    ("rule", "steps", "message"),
    [
        ("simpson", 4, "midpoint"),
        ("gauss", 4, "Did you mean"),
        ("trapezoidal", 4, "'trapezoid'"),
        ("midpoint", 0, "at least 1"),
        ("left", -3, "at least 1"),
        ("trapezoid", 1, "at least 2"),
        ("midpoint", 2.5, "whole number"),
        (None, 3, "The rule is one of"),
    ],
)
def test_impossible_settings(rule: Any, steps: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        quadrature(rule, steps)
