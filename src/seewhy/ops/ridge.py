"""Weighted least squares with a ridge, in float64, with errors that do not believe the model to be true."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_SATURATED = 1e-12
"""What is left of a row that the fit goes through, whatever it holds."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Coefficients (P,), their standard errors (P,), the intercept, and the share of the spread explained."""

    coefficients: Tensor
    errors: Tensor
    intercept: float
    r2: float

    def predict(self, rows: Tensor) -> Tensor:
        """Returns the fitted value of each row (n, P): (n,)."""
        predicted: Tensor = self.intercept + rows.double() @ self.coefficients
        return predicted


def ridge(rows: Tensor, values: Tensor, weights: Tensor, alpha: float) -> Fit:
    """Returns b and c that minimise sum_i w_i (y_i - c - z_i b)^2 + alpha |b|^2; the intercept is not shrunk.

    rows: z (n, P). values: y (n,). weights: w (n,), not negative. alpha: positive, so that there is one answer with
    fewer rows than columns, too.
    Errors are the sandwich estimator's of the ridge estimate (HC3): with H = (Z'WZ + alpha)^-1 Z'W, sum_i H_pi^2
    e_i^2 / (1 - h_i)^2. They are right also where y is no linear function of z, and rows are drawn by chance; of the
    shrinkage they know nothing. R^2 is weighted; it is 1 where all values are equal.

    Reference: Hoerl, Kennard, Technometrics 12, 1970; MacKinnon, White, Journal of Econometrics 29, 1985 (HC3).
    """
    roots, total = weights.double().sqrt(), weights.double().sum()
    share = weights.double() / total
    z, y = rows.double(), values.double()
    centre, mean = share @ z, share @ y
    a, b = roots[:, None] * (z - centre), roots * (y - mean)
    if len(z) >= z.shape[1]:
        inverse = torch.linalg.solve(a.T @ a + alpha * _identity(z.shape[1]), a.T)
    else:
        inverse = torch.linalg.solve(a @ a.T + alpha * _identity(len(z)), a).T
    coefficients = inverse @ b
    left = b - a @ coefficients
    free = (1 - share - (a * inverse.T).sum(1)).clamp(min=_SATURATED)
    errors = (inverse.square() @ (left / free).square()).sqrt()
    spread = float(b.square().sum())
    constant = bool((y == y[0]).all())
    r2 = 1.0 if constant or spread == 0 else 1 - float(left.square().sum()) / spread
    if constant:
        coefficients, errors = torch.zeros_like(coefficients), torch.zeros_like(errors)
    return Fit(coefficients, errors, float(mean - centre @ coefficients), r2)


def _identity(size: int) -> Tensor:
    return torch.eye(size, dtype=torch.float64, device="cpu")
