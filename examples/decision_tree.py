"""Teaches a small network to decide like a tree: Fashion-MNIST with the tree-supervision loss, and the same without.

Run `python examples/decision_tree.py [SEEDS]`: for each seed (0 if none is named) one network is trained, a tree is
induced from its last layer, and two copies are trained on for the same number of epochs, one plainly, one with the loss
of the tree. What is compared in the end is how often network, soft tree and hard tree are right on the test pictures.
Where Debian's package `dataset-fashion-mnist` is not installed, scikit-learn's digits take its place.
"""

from __future__ import annotations

import copy
import gzip
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from seewhy.trees import Accuracy, TrainingPlan, Tree, TreeSupervisionLoss, accuracy, fine_tune, induce

FASHION = Path("/usr/share/datasets/fashion-mnist")
CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
FOLDER = Path("decision_tree")


@dataclass(frozen=True)
class Data:
    """Labelled pictures to train on and to test with."""

    name: str
    labels: Sequence[str]
    train: Dataset[tuple[Tensor, ...]]
    test: Dataset[tuple[Tensor, ...]]


@dataclass(frozen=True)
class Settings:
    """How long and how hard to train."""

    before: int = 3
    epochs: int = 3
    learning_rate: float = 0.05
    weight: float = 1.0


DIGITS = Settings(before=15, epochs=15)
"""So few pictures want more epochs."""


@dataclass(frozen=True)
class Found:
    """What one seed gave: the tree, and how often each network and its trees are right.

    plain: trained without a tree; its trees are induced from its own last layer, afterwards. taught: trained with the
    loss of `tree`, and read along it.
    """

    tree: Tree
    plain: Accuracy
    taught: Accuracy
    network: nn.Module


def fashion() -> Data:
    """Returns Fashion-MNIST: 60,000 pictures of clothes to train on, 10,000 to test with."""

    def part(name: str) -> TensorDataset:
        pixels, labels = (read(FASHION / f"{name}-{kind}.gz") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"))
        return TensorDataset(as_input(torch.from_numpy(pixels).float() / 255), torch.from_numpy(labels).long())

    return Data("Fashion-MNIST", CLOTHES, part("train"), part("t10k"))


def read(path: Path) -> np.ndarray:
    """Returns the array in an .idx file: two zeros, its type (8: bytes), its dimensions, its sizes, its numbers."""
    content = gzip.decompress(path.read_bytes())
    assert content[:3] == b"\x00\x00\x08", f"{path} holds no bytes in idx form"
    sizes = np.frombuffer(content, ">u4", content[3], 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(sizes).copy()


def digits() -> Data:
    """Returns scikit-learn's digits: 1,347 pictures of 8 x 8 to train on, 450 to test with."""
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(pictures))
    x = as_input(torch.tensor(pictures[order], dtype=torch.float32).reshape(-1, 8, 8) / 16)
    y = torch.tensor(labels[order])
    train, test = (TensorDataset(x[part], y[part]) for part in (slice(1347), slice(1347, None)))
    return Data("digits", [str(n) for n in range(10)], train, test)


def as_input(pictures: Tensor) -> Tensor:
    """Returns pictures (N, H, W) of 0 to 1 as network input (N, 1, H, W), centred."""
    return (pictures[:, None] - 0.5) / 0.5


def small_cnn() -> nn.Module:
    """Returns three convolutions, the mean over all places, and the linear layer that the tree is made of."""

    def block(before: int, after: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]

    layers = [*block(1, 16, 2), *block(16, 32, 2), *block(32, 64, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def tree_of(network: nn.Module, data: Data) -> Tree:
    """Returns the tree that the last layer's weights give."""
    return induce(W=network[-1].weight, labels=data.labels)


def run(data: Data, seed: int, settings: Settings | None = None) -> Found:
    """Trains one network, and two copies of it: plainly, and with the loss of its tree."""
    settings = settings or Settings()
    torch.manual_seed(seed)
    start = small_cnn()
    plan = TrainingPlan(settings.before, seed=seed, learning_rate=settings.learning_rate)
    fine_tune(start, data.train, nn.CrossEntropyLoss(), plan)
    tree = tree_of(start, data)
    plan = replace(plan, epochs=settings.epochs)
    plain, taught = copy.deepcopy(start), copy.deepcopy(start)
    fine_tune(plain, data.train, nn.CrossEntropyLoss(), plan)
    fine_tune(taught, data.train, TreeSupervisionLoss(tree, weight=settings.weight), plan)
    return Found(tree, accuracy(plain, tree_of(plain, data), data.test), accuracy(taught, tree, data.test), taught)


def main(*seeds: str) -> list[Found]:
    """Runs every seed, prints a line for each and the means, and saves the last tree."""
    data, settings = (fashion(), Settings()) if FASHION.is_dir() else (digits(), DIGITS)
    print(f"{data.name}: right answers on {len(data.test)} test pictures, trees by the embedded rules")
    print("seed  trained without the tree             trained with the tree's loss")
    print("      network  soft tree  hard tree        network  soft tree  hard tree")
    results = []
    for seed in seeds or ("0",):
        results.append(run(data, int(seed), settings))
        print(line(seed, results[-1].plain, results[-1].taught), flush=True)
    if len(results) > 1:
        means = [[mean(getattr(getattr(one, part), way) for one in results) for way in WAYS] for part in PARTS]
        rows = results[-1].plain.rows
        print(line("mean", *(Accuracy(*shares, rows) for shares in means)))
    FOLDER.mkdir(exist_ok=True)
    for name in ("tree.png", "tree.html", "tree.json"):
        print(f"Wrote {results[-1].tree.save(FOLDER / name)}")
    return results


PARTS, WAYS = ("plain", "taught"), ("network", "soft", "hard")


def line(name: str, plain: Accuracy, taught: Accuracy) -> str:
    """Returns one line of the table."""
    cells = [[f"{getattr(part, way):8.2%}" for way in WAYS] for part in (plain, taught)]
    return f"{name:<4}  {'  '.join(cells[0])}        {'  '.join(cells[1])}"


if __name__ == "__main__":
    main(*sys.argv[1:])
