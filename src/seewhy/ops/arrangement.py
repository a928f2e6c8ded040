"""How points that belong together lie among the others, as numbers that no scale and no dimension changes.

Every measure is taken of many arrangements at once: the one that is there and those that chance makes of it, so that
both go through the same arithmetic; see `ops.permutation`.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from .distances import Array
from .pca import NOTHING

Whole: TypeAlias = NDArray[np.int64]
Marks: TypeAlias = NDArray[np.bool_]


def farther_shares(distances: Array) -> Array:
    """Returns for each two points which share of the third ones lies farther from the first than the second does.

        R_ij = (#{k: d_ik > d_ij} + ½ #{k: d_ik = d_ij}) / (n - 2),   k neither i nor j,

    for distances (n, n); (n, n) with NaN on the diagonal, and all NaN for fewer than three points.
    """
    count = len(distances)
    found = np.full((count, count), np.nan)
    if count < 3:
        return found
    off = ~np.eye(count, dtype=bool)
    ranks = rankdata(distances[off].reshape(count, count - 1), axis=1)
    found[off] = ((count - 1 - ranks) / (count - 2)).ravel()
    return found


def pair_nearness(shares: Array, partners: Marks, weights: Array, orders: Whole) -> Array:
    """Returns how often a partner lies nearer than another point, (K,), one for each order of the points.

    For point i with partners S_i among n points, the probability that a partner is nearer to it than a point that is
    none (the area under the ROC curve; a tie counts ½):

        A_i = P(d_ij < d_ik),   j in S_i, k not in S_i and not i,

    and the result is the mean of A_i with the given weights. 1: partners are always nearer; ½: chance.

    shares: what `farther_shares` returns, (n, n). partners: (n, n), symmetric, False on the diagonal. weights: (n,),
    of points that have partners, and others to compare these with. orders: (K, n), which point stands at each place.
    NaN where no point counts.

    Reference: Mann, Whitney, "On a test of whether one of two random variables is stochastically larger than the
    other", Ann. Math. Stat. 18 (1947).
    """
    count, own = len(shares), partners.sum(1)
    counted = (own > 0) & (own < count - 1)
    weight = np.where(counted, weights, 0.0)
    if not weight.sum():
        return np.full(len(orders), np.nan)
    rows, columns = np.nonzero(partners & counted[:, None])
    # A_i from the mean of its partners' shares: those that are farther than another partner are taken off again.
    scale = np.where(counted, weight / np.maximum(own * (count - 1 - own), 1), 0.0) / weight.sum()
    offset = float((scale * own * (own - 1) / 2).sum())
    each = scale[rows] * (count - 2)
    return np.array([shares[order[rows], order[columns]] @ each for order in orders]) - offset


def stratified_nearness(distances: Array, pairs: Whole, near: Marks, strata: Whole, orders: Whole) -> Array:
    """Returns how often a pair marked near lies closer together than one of its stratum that is not, (K,).

        A = Σ_s P_s n_s m_s / Σ_s n_s m_s,   P_s = P(d(near pair of stratum s) < d(other pair of s)),

    with n_s near pairs and m_s others, a tie counting ½. pairs: (M, 2). near, strata: (M,). orders: (K, n).
    NaN where no stratum has both.

    Reference: van Elteren, "On the combination of independent two-sample tests of Wilcoxon", Bull. Int. Stat. Inst. 37
    (1960), with the weights that make it one probability.
    """
    total, weights = np.zeros(len(orders)), 0.0
    for stratum in np.unique(strata):
        chosen = strata == stratum
        one, other = pairs[chosen & near], pairs[chosen & ~near]
        if not len(one) or not len(other):
            continue
        both = np.concatenate([one, other])
        values = distances[orders[:, both[:, 0]], orders[:, both[:, 1]]]
        ranks = rankdata(values, axis=1)[:, : len(one)]
        wins = len(one) * len(both) - (ranks.sum(1) - len(one) * (len(one) + 1) / 2) - len(one) ** 2
        total += wins
        weights += len(one) * len(other)
    return total / weights if weights else np.full(len(orders), np.nan)


def subset_nearness(distances: Array, subsets: Marks) -> Array:
    """Returns how often a member of the subset lies nearer to a given point than the others do, (K,).

        A = mean over the points q of P(d_qa < d_qc),   a in the subset, c not,

    a tie counting ½. distances: (points, n). subsets: (K, n), each with members and others.
    """
    count, sizes = distances.shape[1], subsets.sum(1)
    farther = (count - rankdata(distances, axis=1)).mean(0)  # of each candidate: how many are farther, on average
    found: Array = (subsets @ farther - sizes * (sizes - 1) / 2) / (sizes * (count - sizes))
    return found


def separation(points: Array, subsets: Marks) -> Array:
    """Returns how far a subset stands apart from the rest, in units of the rest's own spread, (K,).

        |c_A - c_R| / sqrt(mean over r in R of |x_r - c_R|²),

    c_A, c_R the mean of the subset and of the rest. Where there is no spread: 0. A subset of k points drawn by chance
    is about 1/sqrt(k) away, so that only a comparison with chance says something.

    points: (n, D). subsets: (K, n), each with members and others.
    """
    centred = points - points.mean(0)
    gram = centred @ centred.T
    members = subsets.astype(np.float64)
    sizes = members.sum(1)
    others = len(points) - sizes
    inner = ((members @ gram) * members).sum(1)  # |sum over the subset|²
    between = inner / (sizes * others / len(points)) ** 2
    spread = (np.trace(gram) - members @ np.diag(gram)) / others - inner / others**2
    least = (NOTHING * np.linalg.norm(points)) ** 2
    ratio = np.divide(between, spread, out=np.zeros_like(between), where=spread > least)
    found: Array = np.sqrt(np.maximum(ratio, 0.0))
    return found
