"""Shapley values of a game: exact from all coalitions, or estimated from some that are drawn from Shapley's kernel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_RELATIVE = 1e-12
"""Directions with less than this share of the largest spread are not covered by the draws."""


def coalitions(players: int) -> Tensor:
    """Returns all coalitions, bool (2^n, n): player i is in the coalition numbered c if bit i of c is set."""
    numbers = torch.arange(2**players, device="cpu")
    return (numbers[:, None] >> torch.arange(players, device="cpu")) & 1 == 1


def exact(worth: Tensor) -> Tensor:
    """Returns the Shapley values (n,) of a game given by the worth of all coalitions, (2^n,), as `coalitions` counts.

    phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! (v(S and i) - v(S)).

    Reference: Shapley, "A value for n-person games", 1953.
    """
    players = len(worth).bit_length() - 1
    inside = coalitions(players)
    sizes = inside.sum(1)
    share = torch.tensor(
        [1 / (players * math.comb(players - 1, size)) for size in range(players)], dtype=torch.float64, device="cpu"
    )
    values = torch.zeros(players, dtype=torch.float64, device="cpu")
    for player in range(players):
        without = torch.nonzero(~inside[:, player])[:, 0]
        gains = worth[without + 2**player] - worth[without]
        values[player] = (share[sizes[without]] * gains).sum()
    return values


def draw_pairs(players: int, pairs: int, source: torch.Generator) -> Tensor:
    """Returns coalitions drawn from Shapley's kernel, each followed by its complement: bool (2 pairs, n), n >= 2.

    A size s from 1 to n - 1 has probability proportional to (n - 1) / (s (n - s)); all coalitions of a size are as
    likely.
    """
    sizes = torch.arange(1, players, dtype=torch.float64, device="cpu")
    chosen = 1 + torch.multinomial(1 / (sizes * (players - sizes)), pairs, replacement=True, generator=source)
    order = torch.rand(pairs, players, generator=source, dtype=torch.float64, device="cpu").argsort(1)
    drawn = torch.zeros(pairs, players, dtype=torch.bool, device="cpu")
    drawn.scatter_(1, order, torch.arange(players, device="cpu") < chosen[:, None])
    return torch.stack([drawn, ~drawn], 1).reshape(2 * pairs, players)


def estimate(drawn: Tensor, worth: Tensor, ends: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Returns estimated Shapley values (n,), which sum to v(all) - v(none), and their standard errors (n,).

    drawn, worth: coalitions as `draw_pairs` gives them, (2 m, n), and what each is worth, (2 m,). ends: v(none) and
        v(all).
    Least squares of the worth on the members under the constraint of the sum. A coalition and its complement say
    one thing: (v(S) - v(not S)) / 2 less what equal shares explain is to equal u . phi with u = z - |S| / n, so that
    the m pairs are independent observations of a regression without an intercept, whose solution sums to 0 by itself.
    Errors are the sandwich estimator's (HC3) of that regression; infinite where the pairs do not determine the values.

    Reference: Lundberg, Lee, "A unified approach to interpreting model predictions", NeurIPS 2017, arXiv 1705.07874,
    theorem 2; Covert, Lee, "Improving KernelSHAP", AISTATS 2021, arXiv 2012.01536, for pairs and convergence.
    """
    players = drawn.shape[1]
    none, whole = ends
    first, size = drawn[::2].double(), drawn[::2].sum(1).double()
    u = first - size[:, None] / players
    equal = (size - players / 2) * (whole - none) / players
    half = (worth[::2] - worth[1::2]) / 2 - equal
    spread, axes = torch.linalg.eigh(u.T @ u)
    covered = spread > _RELATIVE * spread[-1]
    inverse = (axes[:, covered] / spread[covered]) @ axes[:, covered].T @ u.T
    apart = inverse @ half
    values = (whole - none) / players + apart
    rank = int(covered.sum())
    if rank < players - 1 or len(u) <= rank:
        return values, torch.full_like(values, math.inf)
    free = (1 - (u * inverse.T).sum(1)).clamp(min=_RELATIVE)
    errors = (inverse.square() @ ((half - u @ apart) / free).square()).sqrt()
    return values, errors
