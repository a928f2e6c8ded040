"""Feature visualisation with the defaults of the library lucent, written from Distill's description, to compare with.

Adam at a constant 0.05 on Fourier coefficients in decorrelated colours, that start from noise of 0.01, kept between
black and white by a sigmoid; in every step the picture is padded by 12 pixels of grey, moved by up to 8 pixels, scaled
by 0.9 to 1.1, turned by up to 10 degrees and moved by up to 4 pixels again. One move a step for all of a batch.

Reference: Olah, Mordvintsev, Schubert, "Feature Visualization", Distill 2017, "The Enemy of Feature Visualization".
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import functional as TF

import seewhy
from seewhy.ops.fourier import correlated, from_spectrum

STEPS = 128
"""lucent's default is 512: four times the cost."""
RATE, SIZE = 0.05, 224
PAD, FIRST, SECOND = 12, 8, 4
SCALES = [1 + (step - 5) / 50 for step in range(11)]
ANGLES = [*range(-10, 11), *5 * [0]]


def lucent_style(model: seewhy.Model, layer: str, channels: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Returns a picture (224, 224, 3) for each channel; the network's parameters are frozen by the caller."""
    assert model.value_range is not None
    low, high = (bound.reshape(1, -1, 1, 1) for bound in model.value_range)
    noise = torch.Generator().manual_seed(0)
    numbers = 0.01 * torch.randn(len(channels), 3, SIZE, SIZE // 2 + 1, 2, generator=noise)
    numbers.requires_grad_()
    optimiser, draws = torch.optim.Adam([numbers], lr=RATE), random.Random(0)
    kept: list[Tensor] = []
    handle = model.module.get_submodule(layer).register_forward_hook(lambda _, __, out: kept.append(out))
    try:
        for _ in range(STEPS):
            kept.clear()
            optimiser.zero_grad()
            model.module(low + moved(drawn(numbers), draws) * (high - low))
            (-sum(kept[0][row, channel].mean() for row, channel in enumerate(channels))).backward()
            optimiser.step()
    finally:
        handle.remove()
    levels = drawn(numbers.detach()).mul(255).round().to(torch.uint8)
    return [one.permute(1, 2, 0).numpy() for one in levels]


def drawn(numbers: Tensor) -> Tensor:
    """Returns the pictures between black and white."""
    return torch.sigmoid(correlated(from_spectrum(numbers, SIZE)))


def moved(pictures: Tensor, draws: random.Random) -> Tensor:
    """Returns the pictures padded, moved, scaled, turned and moved again."""
    padded = F.pad(pictures, (PAD, PAD, PAD, PAD), value=0.5)
    small = shifted(padded, FIRST, draws)
    scale = draws.choice(SCALES)
    scaled = F.interpolate(small, scale_factor=scale, mode="bilinear", align_corners=False)
    turned = TF.rotate(scaled, float(draws.choice(ANGLES)), TF.InterpolationMode.BILINEAR)
    return shifted(turned, SECOND, draws)


def shifted(pictures: Tensor, most: int, draws: random.Random) -> Tensor:
    """Returns a window that is smaller by `most` pixels, at a random place."""
    top, left = draws.randint(0, most), draws.randint(0, most)
    height, width = pictures.shape[2] - most, pictures.shape[3] - most
    return pictures[..., top : top + height, left : left + width]
