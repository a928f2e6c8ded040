"""SSIM against scikit-image, rank correlation against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from skimage.metrics import structural_similarity

from seewhy.core.errors import InputError, SettingError
from seewhy.ops.similarity import rank_correlation, ssim


def pair(shape: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = np.random.default_rng(seed)
    a = drawn.normal(size=shape)
    return torch.from_numpy(a), torch.from_numpy(a + 0.5 * drawn.normal(size=shape))


@pytest.mark.parametrize("shape", [(40,), (24, 31), (11, 11), (12, 13, 14)])
@pytest.mark.parametrize("data_range", [1.0, 7.5, None])
def test_ssim_is_scikit_images(shape: tuple[int, ...], data_range: float | None) -> None:
    a, b = pair(shape, len(shape))
    span = data_range or float(torch.stack([a, b]).max() - torch.stack([a, b]).min())
    expected = structural_similarity(
        a.numpy(), b.numpy(), data_range=span, gaussian_weights=True, use_sample_covariance=False
    )
    assert ssim(a, b, data_range) == pytest.approx(float(expected), abs=1e-12)


def test_ssim_of_equal_constant_and_broken_maps() -> None:
    a, _ = pair((16, 16), 0)
    assert ssim(a, a) == pytest.approx(1)
    assert ssim(torch.ones(16, 16), torch.ones(16, 16)) == 1
    assert math.isnan(ssim(a, torch.full((16, 16), torch.nan).double()))
    with pytest.raises(InputError, match="at least 11"):
        ssim(torch.ones(7, 7), torch.ones(7, 7))
    with pytest.raises(InputError, match="one shape"):
        ssim(torch.ones(12, 12), torch.ones(12, 13))
    with pytest.raises(SettingError, match="data_range"):
        ssim(a, a, 0)


def test_rank_correlation_shares_ties() -> None:
    drawn = np.random.default_rng(0).integers(0, 4, (2, 200)).astype(float)
    a, b = torch.from_numpy(drawn[0]), torch.from_numpy(drawn[1])
    assert rank_correlation(a, b) == pytest.approx(scipy.stats.spearmanr(drawn[0], drawn[1])[0], abs=1e-12)
