"""Where in a map the evidence lies, in words that are backed by a share of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TENTH = 0.1
_QUARTER, _MIDDLE, _HALF = 0.7, 0.6, 0.75
"""Least shares of the evidence that let a region be named; an even map has 25 %, 25 % and 50 % there."""


def concentration(evidence: Tensor) -> float:
    """Returns the share of the evidence (H, W), 0 or more everywhere, that its strongest tenth of the area holds."""
    # Scaled first: the sum of huge numbers would overflow.
    return float(_strongest(evidence).sum() / (evidence / evidence.max()).sum())


def region(evidence: Tensor) -> tuple[str, float]:
    """Returns where the strongest tenth of (H, W) lies, and the share of its evidence there; ("", 0) if nowhere.

    A quarter is named where it holds 70 % of that evidence, else the middle (half as high and half as wide) for
    60 %, else a half for 75 %.
    """
    strongest = _strongest(evidence)
    mass = strongest / strongest.sum()
    rows, columns = mass.sum(1), mass.sum(0)
    upper, left = _first_half(rows), _first_half(columns)
    sides = {"upper": upper, "lower": 1 - upper, "left": left, "right": 1 - left}
    quarters = _quarters(mass)
    named = max(quarters, key=lambda name: quarters[name])
    if quarters[named] >= _QUARTER:
        return f"in the {named} quarter", quarters[named]
    middle = float(_weights(len(rows), 0.25, 0.75) @ mass @ _weights(len(columns), 0.25, 0.75))
    if middle >= _MIDDLE:
        return "in the middle", middle
    half = max(sides, key=lambda name: sides[name])
    return (f"in the {half} half", sides[half]) if sides[half] >= _HALF else ("", 0.0)


def _quarters(mass: Tensor) -> dict[str, float]:
    found = {}
    for row, (top, bottom) in {"upper": (0.0, 0.5), "lower": (0.5, 1.0)}.items():
        for column, (start, end) in {"left": (0.0, 0.5), "right": (0.5, 1.0)}.items():
            vertical, horizontal = _weights(mass.shape[0], top, bottom), _weights(mass.shape[1], start, end)
            found[f"{row} {column}"] = float(vertical @ mass @ horizontal)
    return found


def _first_half(profile: Tensor) -> float:
    return float(_weights(len(profile), 0.0, 0.5) @ profile)


def _weights(length: int, start: float, end: float) -> Tensor:
    """Returns which share of each of `length` cells lies between `start` and `end` of the whole side."""
    edges = torch.arange(length + 1, dtype=torch.float64) / length
    inside = edges[1:].clamp_max(end) - edges[:-1].clamp_min(start)
    return inside.clamp_min(0) * length


def _strongest(evidence: Tensor) -> Tensor:
    """Returns the strongest tenth of the places, as shares of the largest number, and zero elsewhere."""
    flat = (evidence / evidence.max()).flatten()
    best = flat.topk(max(1, math.ceil(TENTH * len(flat))))
    return torch.zeros_like(flat).scatter(0, best.indices, best.values).reshape(evidence.shape)
