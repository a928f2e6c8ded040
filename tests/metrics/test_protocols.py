"""The published protocols against loops written from their definitions, torchcam, Quantus and OpenCV."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional

from seewhy.core.targets import Class
from seewhy.metrics import AverageDrop, Deletion, Increase, Insertion
from seewhy.ops.window_blur import igos_blur, rise_blur

from .toys import cnn, draw, measure, values, wrapped

TARGET = 1


def light(size: int) -> nn.Module:
    """A cheap network for pictures of any size that depends on where things are."""
    torch.manual_seed(5)
    return (
        nn.Sequential(nn.AvgPool2d(size // 7), nn.Flatten(), nn.Linear(147, 8), nn.Tanh(), nn.Linear(8, 3))
        .double()
        .eval()
    )


def probability(network: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        return float(network(x).softmax(1)[0, TARGET])


def walk(network: nn.Module, ends: tuple[Tensor, Tensor], found: Tensor, counts: list[int]) -> list[float]:
    """Scores while the highest `counts[k]` pixels of `ends[0]` show `ends[1]`, by a plain loop."""
    order = np.argsort(found.flatten().numpy())[::-1].copy()
    scores = []
    for count in counts:
        x = ends[0].flatten(2).clone()
        x[:, :, order[:count]] = ends[1].flatten(2)[:, :, order[:count]]
        scores.append(probability(network, x.reshape(ends[0].shape)))
    return scores


# ---------------------------------------------------------------------------------------------------------- RISE


def rise_substrate(x: Tensor) -> Tensor:
    impulse = np.zeros((11, 11))
    impulse[5, 5] = 1
    kernel = torch.from_numpy(gaussian_filter(impulse, 5))
    return functional.conv2d(x, kernel.expand(3, 1, 11, 11), padding=5, groups=3)


def test_rise_blur_is_the_papers() -> None:
    x = draw(2, 3, 30, 40) - 0.5
    torch.testing.assert_close(rise_blur(x), rise_substrate(x), atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", [Deletion, Insertion])
def test_rise(kind: type[Deletion] | type[Insertion]) -> None:
    """224 steps, as there are of rows at 224 x 224; the picture is smaller to be quick."""
    network, x, found = light(112), draw(1, 3, 112, 112) - 0.5, draw(1, 112, 112, seed=1)
    ends = (x, torch.zeros_like(x)) if kind is Deletion else (rise_substrate(x), x)
    scores = np.array(walk(network, ends, found, [56 * k for k in range(225)]))
    made = measure(wrapped(network), kind.preset("rise"), x, found, target=Class(TARGET))
    assert made.curve is not None
    np.testing.assert_allclose(made.curve.scores, scores, atol=1e-9)
    assert made.value == pytest.approx((scores.sum() - scores[0] / 2 - scores[-1] / 2) / 224, abs=1e-9)


# ---------------------------------------------------------------------------------------------------------- I-GOS


def test_igos_blur_is_opencvs() -> None:
    cv2 = pytest.importorskip("cv2")
    x = draw(1, 3, 60, 70)
    expected = cv2.GaussianBlur(x[0].permute(1, 2, 0).numpy(), (51, 51), sigmaX=50)
    np.testing.assert_allclose(igos_blur(x)[0].permute(1, 2, 0).numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("size", [1, 2, 20])
def test_igos_blur_is_wider_than_small_pictures(size: int) -> None:
    cv2 = pytest.importorskip("cv2")
    x = draw(1, 1, size, size)
    if size <= 25:  # OpenCV mirrors as often as needed as well
        expected = cv2.GaussianBlur(x[0, 0].numpy(), (51, 51), sigmaX=50)
        np.testing.assert_allclose(igos_blur(x)[0, 0].numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("kind", [Deletion, Insertion])
def test_igos(kind: type[Deletion] | type[Insertion]) -> None:
    """784 cells in chunks of 784 // 50 = 15, soft masks by bilinear upsampling, the sum of score times chunk."""
    network, x, cells = light(56), draw(1, 3, 56, 56), draw(1, 28, 28, seed=1)
    ends = (x, igos_blur(x)) if kind is Deletion else (igos_blur(x), x)
    order = np.argsort(cells.flatten().numpy())[::-1].copy()
    up = nn.UpsamplingBilinear2d(size=(56, 56))
    total, mask = 0.0, torch.ones(784, dtype=torch.float64)
    for start in range(0, 784, 15):
        chunk = order[start : start + 15]
        mask[chunk] = 0
        soft = up(mask.reshape(1, 1, 28, 28))
        total += probability(network, ends[0] * soft + ends[1] * (1 - soft)) * len(chunk)
    made = measure(wrapped(network), kind.preset("i-gos"), x, cells, target=Class(TARGET))
    assert made.protocol["steps"] == 53
    assert made.value == pytest.approx(total / 784, abs=1e-9)


def test_igos_ranks_the_mean_of_what_a_cell_covers() -> None:
    network, x, cells = light(56), draw(1, 3, 56, 56), draw(1, 28, 28, seed=1)
    fine = cells.repeat_interleave(2, 1).repeat_interleave(2, 2) + 0.2 * torch.tensor([-1.0, 1.0]).double().repeat(28)
    made = [
        measure(wrapped(network), Deletion.preset("i-gos"), x, part, target=Class(TARGET)) for part in (cells, fine)
    ]
    assert made[0].value == pytest.approx(made[1].value, abs=1e-12)


# --------------------------------------------------------------------------------------------------------- xplique


@pytest.mark.parametrize("kind", [Deletion, Insertion])
def test_xplique(kind: type[Deletion] | type[Insertion]) -> None:
    network, x, found = cnn(), draw(1, 3, 12, 12), draw(1, 12, 12, seed=1)
    counts = np.linspace(0, 144, 11, dtype=np.int32).tolist()
    zero = torch.zeros_like(x)
    scores = np.array(walk(network, (x, zero) if kind is Deletion else (zero, x), found, counts))
    made = measure(wrapped(network), kind.preset("xplique"), x, found, target=Class(TARGET))
    assert made.value == pytest.approx(np.mean(scores[:-1] + scores[1:]) * 0.5, abs=1e-9)


# -------------------------------------------------------------------------------------------------------- torchcam


class Extractor:
    """What torchcam's measures ask of a CAM extractor, with a map that is given."""

    def __init__(self, model: nn.Module, found: Tensor) -> None:
        self.model, self.found = model, found

    def __call__(self, class_idx: object = None, scores: object = None, **_: object) -> list[Tensor]:
        return [self.found.clone()]

    def fuse_cams(self, cams: list[Tensor]) -> Tensor:
        return cams[0]

    def _hooks_off(self) -> AbstractContextManager[None]:
        return nullcontext()


def soft(scores: Tensor) -> Tensor:
    return scores.softmax(-1)


@pytest.mark.parametrize("size", [6, 12])
def test_torchcam_deletion_and_insertion(size: int) -> None:
    peer = pytest.importorskip("torchcam.metrics")
    if not hasattr(peer, "DeletionInsertionMetric"):
        pytest.skip("this torchcam has no deletion")
    network, x, found = cnn(), draw(1, 3, 12, 12), draw(1, size, size, seed=1)
    theirs = peer.DeletionInsertionMetric(Extractor(network, found), soft)
    theirs.update(x, TARGET)
    expected = theirs.summary()
    for kind, name in ((Deletion, "deletion_auc"), (Insertion, "insertion_auc")):
        made = measure(wrapped(network), kind.preset("torchcam"), x, found, target=Class(TARGET))
        assert made.value == pytest.approx(expected[name], abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_torchcam_average_drop_and_increase(seed: int) -> None:
    peer = pytest.importorskip("torchcam.metrics")
    network, x, found = cnn(seed=seed), draw(1, 3, 12, 12, seed=seed), draw(1, 4, 4, seed=seed)
    found = (found - found.min()) / (found.max() - found.min())
    theirs = peer.ClassificationMetric(Extractor(network, found), soft)
    theirs.update(x, TARGET)
    expected, model = theirs.summary(), wrapped(network)
    drop = measure(model, AverageDrop(), x, 3 * found - 1, target=Class(TARGET))
    assert drop.value == pytest.approx(expected["avg_drop"], abs=1e-6)
    assert measure(model, Increase(), x, 3 * found - 1, target=Class(TARGET)).value == expected["conf_increase"]


@pytest.mark.parametrize("seed", range(4))
def test_grad_cam_increase_and_drop(seed: int) -> None:
    peer = pytest.importorskip("pytorch_grad_cam.metrics.cam_mult_image")
    network, x, found = cnn(seed=seed), draw(1, 3, 12, 12, seed=seed), draw(1, 12, 12, seed=seed)
    found = (found - found.min()) / (found.max() - found.min())
    targets = [lambda output: output.softmax(-1)[TARGET]]
    theirs = [
        kind()(x, found.numpy(), targets, network)[0] for kind in (peer.IncreaseInConfidence, peer.DropInConfidence)
    ]
    model = wrapped(network)
    assert measure(model, Increase(), x, found, target=Class(TARGET)).value == theirs[0]
    drop = measure(model, AverageDrop(), x, found, target=Class(TARGET))
    assert drop.value * drop.details["score"] == pytest.approx(float(theirs[1]), abs=1e-6)


# ---------------------------------------------------------------------------------------------- masking, by hand


@pytest.mark.parametrize(
    ("found", "kept"), [([0.0, 1.0], 3.0), ([5.0, 7.0], 3.0), ([7.0, 5.0], 1.0), ([2.0, 2.0], 0.0)]
)
def test_the_input_through_its_map(found: list[float], kept: float) -> None:
    """1 + 3 = 4 through a map of 0 and 1 is one of both; a constant map keeps nothing."""
    x = torch.tensor([[1.0, 3.0]]).double()
    made = measure(values(lambda x: x.sum(1)), AverageDrop(), x, torch.tensor([found]).double())
    assert made.details == pytest.approx({"score": 4, "masked": kept})
    assert made.value == pytest.approx(1 - kept / 4)


def test_there_is_no_share_of_a_score_that_is_not_positive() -> None:
    x = torch.tensor([[1.0, -3.0]]).double()
    made = measure(values(lambda x: x.sum(1)), AverageDrop(), x, torch.tensor([[1.0, 0.0]]).double())
    assert math.isnan(made.value)
    assert measure(values(lambda x: x.sum(1)), Increase(), x, torch.tensor([[1.0, 0.0]]).double()).value == 1


# ---------------------------------------------------------------------------------------------------------- Quantus


def test_quantus_pixel_flipping() -> None:
    quantus = pytest.importorskip("quantus")
    network, x, found = cnn(channels=1).float(), draw(1, 1, 12, 12).float(), draw(1, 12, 12, seed=1).float()
    peer = quantus.PixelFlipping(features_in_step=12, normalise=False, perturb_baseline=0.0, disable_warnings=True)
    (theirs,) = peer(
        model=network,
        x_batch=x.numpy(),
        y_batch=np.array([TARGET]),
        a_batch=found[None].numpy(),
        softmax=True,
        device="cpu",
    )
    made = measure(wrapped(network), Deletion(steps=12, baseline=0.0), x, found, target=Class(TARGET))
    assert made.curve is not None
    np.testing.assert_allclose(made.curve.scores[1:], theirs, atol=1e-6)
