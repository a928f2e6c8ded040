"""Imputation of missing places from their neighbours: what is removed leaves neither colour nor outline behind."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import InputError

Whole = NDArray[np.int64]


def linear_imputation(x: Tensor, gone: Tensor) -> Tensor:
    """Returns `x` (1, C, *spatial) with the places that are `gone` (*spatial) filled in, in x's dtype and device.

    Each missing place is the weighted mean of its neighbours, diagonal ones included, missing ones as they are
    filled in themselves: one sparse linear system, solved in float64. A neighbour's weight goes with 1 / distance²;
    in pictures 1/6 beside and 1/12 across, renormalised at the border. Where all places are gone, the mean of x.

    Raises:
        InputError: x has no spatial axis, or `gone` another shape than it has places.

    Reference: Rong, Leemann, Borisov, Kasneci, Kasneci, "A Consistent and Efficient Evaluation Strategy for
    Attribution Methods", ICML 2022, arXiv 2202.00449.
    """
    if x.dim() < 3 or tuple(gone.shape) != tuple(x.shape[2:]):
        raise InputError(
            f"Imputation needs (1, C, *spatial) and one True or False for each place; given {tuple(x.shape)} and "
            f"{tuple(gone.shape)}. The features of a vector have no neighbours."
        )
    missing = gone.detach().cpu().numpy().astype(bool).reshape(-1)
    if not missing.any():
        return x.clone()
    values = x.detach().cpu().double().reshape(-1, missing.size).numpy().copy()
    if missing.all():
        values[:] = values.mean(1, keepdims=True)
    else:
        values[:, missing] = _solved(values, missing, tuple(x.shape[2:]))
    return torch.from_numpy(values).reshape(x.shape).to(x.device, x.dtype)


def _neighbours(places: Sequence[int]) -> Iterator[tuple[float, Whole, Whole]]:
    """Yields for each direction its weight, and the flat numbers of places and of their neighbours."""
    numbers = np.arange(int(np.prod(places)), dtype=np.int64).reshape(tuple(places))
    offsets = [offset for offset in itertools.product((-1, 0, 1), repeat=len(places)) if any(offset)]
    weights = [1 / sum(map(abs, offset)) for offset in offsets]
    for offset, weight in zip(offsets, weights, strict=True):
        here = tuple(slice(max(0, -step), min(size, size - step)) for step, size in zip(offset, places, strict=True))
        there = tuple(slice(max(0, step), min(size, size + step)) for step, size in zip(offset, places, strict=True))
        yield weight / sum(weights), numbers[here].reshape(-1), numbers[there].reshape(-1)


def _solved(values: NDArray[np.float64], missing: NDArray[np.bool_], places: Sequence[int]) -> NDArray[np.float64]:
    """Returns the missing values (C, missing)."""
    from scipy.sparse import coo_matrix  # here: scipy.sparse takes a while to load, and few calls need it
    from scipy.sparse.linalg import splu

    number = np.cumsum(missing) - 1
    count = int(missing.sum())
    diagonal = np.zeros(count)
    known = np.zeros((count, len(values)))
    rows, columns, entries = [np.arange(count)], [np.arange(count)], [diagonal]
    for weight, here, there in _neighbours(places):
        asked = missing[here]
        mine, other = number[here[asked]], there[asked]
        diagonal[mine] += weight
        open_ = missing[other]
        known[mine[~open_]] += weight * values[:, other[~open_]].T
        rows.append(mine[open_])
        columns.append(number[other[open_]])
        entries.append(np.full(int(open_.sum()), -weight))
    system = coo_matrix((np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))), (count, count))
    # Symmetric and diagonally dominant: pivots stay on the diagonal, which keeps the factors sparse.
    factors = splu(system.tocsc(), "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    found: NDArray[np.float64] = factors.solve(known).T
    return found
