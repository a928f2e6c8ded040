"""Tiny networks with fixed weights, so that a check of a method takes milliseconds and needs no download."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 5
SIZE = 8
PATCH = 2
N = TypeVar("N", bound=nn.Module)


class SmallCnn(nn.Module):
    """Two convolutions with ReLU modules, global average pooling and a linear layer; any picture size."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4, 3, padding=1)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(4, 6, 3, padding=1)
        self.relu2 = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits (N, K)."""
        features = self.relu2(self.conv2(self.relu1(self.conv1(x))))
        return self.head(self.pool(features).flatten(1))  # type: ignore[no-any-return]


class NormalisedCnn(nn.Module):
    """A convolution with batch-norm, functional and in-place ReLU, and dropout: all that training mode changes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits (N, K)."""
        features = F.relu(self.conv2(self.relu(self.norm(self.conv(x)))))
        return self.head(self.dropout(features.mean((2, 3))))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Self-attention of one head over tokens (N, T, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns (N, T, D)."""
        query, key, value = self.qkv(tokens).chunk(3, dim=-1)
        return F.scaled_dot_product_attention(query, key, value)


class SmallTransformer(nn.Module):
    """Patches of 2 x 2 as tokens behind a class token, one block, and a head that reads the class token."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, PATCH, stride=PATCH)
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits (N, K)."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = tokens + self.attention(self.norm1(tokens))
        tokens = tokens + self.mlp(self.norm2(tokens))
        return self.head(tokens[:, 0])  # type: ignore[no-any-return]


class TwoInputs(nn.Module):
    """A picture (N, 3, H, W) and a vector (N, 6) that decide together."""

    def __init__(self) -> None:
        super().__init__()
        self.picture = SmallCnn()
        self.vector = nn.Linear(6, CLASSES)

    def forward(self, picture: Tensor, vector: Tensor) -> Tensor:
        """Returns logits (N, K)."""
        return self.picture(picture) + torch.tanh(self.vector(vector))  # type: ignore[no-any-return]


class WithoutGradient(nn.Module):
    """A network whose answer is cut from its input: no gradient leads back."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Returns the inner network's logits, detached."""
        with torch.no_grad():
            return self.inner(x).detach()  # type: ignore[no-any-return]


class PlannedError(Exception):
    """What `Failing` raises: an error of the user's network, which nobody may wrap or swallow."""


class Failing(nn.Module):
    """A network that answers `calls` times and then raises `PlannedError`."""

    def __init__(self, inner: nn.Module, calls: int) -> None:
        super().__init__()
        self.inner = inner
        self.left = iter(range(calls))
        self.seen = SimpleNamespace(raised=False)  # the engine puts plain attributes back after each pass

    def forward(self, x: Tensor) -> Tensor:
        """Returns the inner network's logits."""
        if next(self.left, None) is None:
            self.seen.raised = True
            raise PlannedError("this network fails on purpose")
        return self.inner(x)  # type: ignore[no-any-return]


class NotFinite(nn.Module):
    """A network whose scores are NaN, whatever it sees."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Returns NaN (N, K)."""
        return self.inner(x) * torch.nan  # type: ignore[no-any-return]


def seeded(build: Callable[[], N], seed: int = 0) -> N:
    """Returns a network with fixed weights in evaluation mode; the global random generator is left alone."""
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        torch.manual_seed(seed)
        return build().eval()


def cnn() -> SmallCnn:
    """Returns a CNN with ReLU modules, global average pooling and a linear head."""
    return seeded(SmallCnn)


def normalised_cnn() -> NormalisedCnn:
    """Returns a CNN with batch-norm, whose running statistics are not those of any batch, and dropout."""
    network = seeded(NormalisedCnn)
    drawn = torch.Generator().manual_seed(1)
    assert network.norm.running_mean is not None
    assert network.norm.running_var is not None
    network.norm.running_mean.copy_(0.3 * torch.randn(6, generator=drawn))
    network.norm.running_var.copy_(0.5 + torch.rand(6, generator=drawn))
    return network


def transformer() -> SmallTransformer:
    """Returns a vision transformer of one block; pictures of even height and width."""
    return seeded(SmallTransformer)


def mlp() -> nn.Sequential:
    """Returns a network over vectors (N, 6): nothing in it has a place in a picture."""
    return seeded(lambda: nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, CLASSES)))


def two_inputs() -> TwoInputs:
    """Returns a network of a picture and a vector."""
    return seeded(TwoInputs)


def constant(network: N) -> N:
    """Returns the network with all weights zero: its every score is 0, whatever it sees."""
    with torch.no_grad():
        for weights in network.parameters():
            weights.zero_()
    return network


def pictures(rows: int = 3, height: int = SIZE, width: int = SIZE) -> Tensor:
    """Returns fixed pictures (N, 3, H, W) of random numbers."""
    return torch.randn(rows, 3, height, width, generator=torch.Generator().manual_seed(2))


def vectors(rows: int = 3) -> Tensor:
    """Returns fixed vectors (N, 6) of random numbers."""
    return torch.randn(rows, 6, generator=torch.Generator().manual_seed(3))
