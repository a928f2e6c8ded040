"""Fine-tuning that may be killed at any moment: started again, it ends with the weights it would have had."""

from __future__ import annotations

import io
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.optim import Optimizer

from .._version import __version__
from ..core.errors import InputError, NotFiniteError, SettingError
from ..core.tree import map_leaves
from ..models.weight_files import read_weight_file
from ..ops.seeds import derive_seed
from .bar import training_bar
from .batches import Batches
from .losses import TreeSupervisionLoss

Loss = Callable[[Any, Any], Tensor]

FORMAT = "seewhy training"
SCHEMA = 1
"""Version of the checkpoint's form; raised when an older reader could misread a newer file."""
_BETWEEN = 30.0
"""Seconds between checkpoints within an epoch; each epoch ends with one."""


def sgd(parameters: list[nn.Parameter], learning_rate: float) -> Optimizer:
    """Returns stochastic gradient descent as the paper fine-tunes: momentum 0.9, weight decay 0.0005."""
    return torch.optim.SGD(parameters, learning_rate, momentum=0.9, weight_decay=5e-4, nesterov=True)


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How to train.

    epochs: times that all data is seen. batch_size: rows a step; a DataLoader brings its own. learning_rate: of the
    first step; it falls to zero along half a cosine. optimizer: makes the optimiser from parameters and learning rate.
    seed: fixes the order of the rows and every random number drawn on the way. checkpoint: a file that is written at
    the end of each epoch, and within an epoch every 30 seconds; if it is there at the start, training goes on from it.
    """

    epochs: int = 5
    batch_size: int = 128
    learning_rate: float = 0.01
    optimizer: Callable[[list[nn.Parameter], float], Optimizer] = sgd
    seed: int = 0
    checkpoint: str | Path | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise SettingError(f"{name} must be a whole number of 1 or more; given {value!r}.")
        if not (isinstance(self.learning_rate, (int, float)) and 0 < self.learning_rate < math.inf):
            raise SettingError(f"learning_rate must be a number above 0; given {self.learning_rate!r}.")
        if not callable(self.optimizer):
            raise SettingError(
                "optimizer takes a function of (parameters, learning rate), such as "
                f"lambda p, lr: torch.optim.AdamW(p, lr); given {self.optimizer!r}."
            )


@dataclass(frozen=True, slots=True)
class Trained:
    """What training came to: the mean loss of each epoch, the steps made, and at which of them this run began."""

    losses: tuple[float, ...]
    steps: int
    resumed: int = 0


def fine_tune(
    network: nn.Module,
    data: Any,
    loss: Loss,
    plan: TrainingPlan | None = None,
    console: Console | None = None,
) -> Trained:
    """Trains the network in place and returns the mean loss of each epoch.

    A step: loss(network(inputs), targets), its gradient, one step of the optimiser. All parameters that require a
    gradient are trained, in training mode; each module's mode is put back at the end. A TreeSupervisionLoss is told
    at each step how far training has come. What is drawn at random on the way (order, dropout, augmentation by torch,
    numpy or random) is a function of the seed and the step alone, so a run that was killed and started again ends with
    the same bits as one that was not, on the same device and number of threads. The caller's generators are left as
    they were.

    data: a Dataset of (inputs, target), or a DataLoader with a length; inputs may be a tuple or dict of tensors.
    console: where the progress bar is drawn if that is a terminal; None means stderr.

    Raises InputError for data that cannot be used, NotFiniteError where the loss is no number (the checkpoint before
    it is kept), SettingError where the checkpoint belongs to another training, ModelFileError where it is damaged.
    """
    plan = plan or TrainingPlan()
    batches = Batches.of(data, plan.batch_size, plan.seed)
    run = _Run.start(network, loss, plan, batches)
    with _in_training(network), _own_randomness(network), training_bar(console) as bar:
        bar.begin(plan.epochs * len(batches), run.step)
        for epoch in range(run.step // len(batches), plan.epochs):
            for inputs, targets in batches.epoch(epoch, run.step - epoch * len(batches)):
                bar.show(epoch, run.train(inputs, targets))
                run.keep_if_due()
            run.end_epoch()
    return Trained(tuple(run.losses), run.step, run.resumed)


@dataclass(slots=True)
class _Run:
    """One training on its way: everything that changes from step to step, and the file that it is kept in."""

    network: nn.Module
    loss: Loss
    plan: TrainingPlan
    batches: Batches
    optimizer: Optimizer
    setup: Mapping[str, Any]
    step: int = 0
    resumed: int = 0
    losses: list[float] = field(default_factory=list)
    total: float = 0.0
    seen: int = 0
    kept: float = field(default_factory=time.monotonic)

    @staticmethod
    def start(network: nn.Module, loss: Loss, plan: TrainingPlan, batches: Batches) -> _Run:
        """Returns a run at its first step, or at the one that the checkpoint holds."""
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        if not trained:
            raise InputError(
                "Training needs parameters that require a gradient; given a network without any. Call "
                "network.requires_grad_(True), or thaw the layers that are to be trained."
            )
        optimizer = plan.optimizer(trained, plan.learning_rate)
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        run = _Run(network, loss, plan, batches, optimizer, _setup(network, loss, plan, batches))
        if plan.checkpoint is not None:
            from ..render.files import check_folder  # here: drawing is slow to import

            check_folder(Path(plan.checkpoint))
            if Path(plan.checkpoint).exists():
                run.load(Path(plan.checkpoint))
        return run

    def train(self, inputs: Any, targets: Any) -> float:
        """Returns the loss of one step, after making it."""
        progress = self.step / (self.plan.epochs * len(self.batches))
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * 0.5 * (1 + math.cos(math.pi * progress))
        if isinstance(self.loss, TreeSupervisionLoss):
            self.loss.set_progress(progress)
        device = next(self.network.parameters()).device
        inputs, targets = (map_leaves(lambda _, leaf: leaf.to(device), part) for part in (inputs, targets))
        self.optimizer.zero_grad(set_to_none=True)
        with torch.enable_grad():
            value = self.loss(self.network(inputs), targets)
            if not torch.isfinite(value).all():
                raise NotFiniteError(
                    f"The loss must stay a finite number; at step {self.step + 1} it is {float(value.detach()):g}. "
                    "Use a lower learning_rate, and check the data for NaN."
                )
            value.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        rows = len(targets)
        self.step, self.total, self.seen = self.step + 1, self.total + float(value.detach()) * rows, self.seen + rows
        return self.total / self.seen

    def end_epoch(self) -> None:
        """Notes the epoch's mean loss and keeps the run."""
        self.losses.append(self.total / max(1, self.seen))
        self.total, self.seen = 0.0, 0
        self.keep()

    def keep_if_due(self) -> None:
        """Keeps the run where the last time was long enough ago; an epoch's end keeps it anyway."""
        if time.monotonic() - self.kept > _BETWEEN and self.step % len(self.batches):
            self.keep()

    def keep(self) -> None:
        """Writes the checkpoint, whole or not at all."""
        if self.plan.checkpoint is not None:
            buffer = io.BytesIO()
            torch.save(self._content(), buffer)
            from ..render.files import write_whole  # here: drawing is slow to import

            write_whole(Path(self.plan.checkpoint), buffer.getvalue())
        self.kept = time.monotonic()

    def _content(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "schema": SCHEMA,
            "seewhy": __version__,
            "setup": dict(self.setup),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "losses": list(self.losses),
            "total": self.total,
            "seen": self.seen,
        }

    def load(self, path: Path) -> None:
        """Goes on from a checkpoint; raises SettingError if it belongs to another training."""
        content = read_weight_file(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise SettingError(
                f"checkpoint {str(path)!r} must be one that fine_tune wrote; this file holds something else. Give "
                "another path; weights to start from are loaded into the network beforehand."
            )
        if content["schema"] > SCHEMA:
            raise SettingError(
                f"checkpoint {str(path)!r} has schema version {content['schema']}, written by seewhy "
                f"{content.get('seewhy')}; this seewhy {__version__} reads up to version {SCHEMA}. Use the version "
                "that wrote it, or another path."
            )
        found = content["setup"]
        differing = [
            f"{name} {found.get(name)!r}, given {value!r}"
            for name, value in self.setup.items()
            if found.get(name) != value
        ]
        if differing:
            raise SettingError(
                f"checkpoint {str(path)!r} belongs to another training: it has {'; '.join(differing)}. Train as "
                "before, delete the file to begin anew, or give another path."
            )
        self.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.step = self.resumed = int(content["step"])
        self.losses = [float(value) for value in content["losses"]]
        self.total, self.seen = float(content["total"]), int(content["seen"])


def _setup(network: nn.Module, loss: Loss, plan: TrainingPlan, batches: Batches) -> dict[str, Any]:
    """Returns what must be the same for a training to go on where another one stopped."""
    shapes = sorted((name, str(tuple(tensor.shape))) for name, tensor in network.state_dict().items())
    return {
        "epochs": plan.epochs,
        "steps an epoch": len(batches),
        "learning_rate": float(plan.learning_rate),
        "seed": int(plan.seed),
        "loss": loss.describe() if isinstance(loss, TreeSupervisionLoss) else _name(loss),
        "optimizer": _name(plan.optimizer),
        "network": f"{type(network).__name__} {derive_seed(*(part for pair in shapes for part in pair)):x}",
    }


def _name(thing: Any) -> str:
    return str(getattr(thing, "__qualname__", type(thing).__name__))


@contextmanager
def _in_training(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.train()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _own_randomness(network: nn.Module) -> Iterator[None]:
    """Puts back every global generator that the steps seed."""
    devices: Sequence[Any] = sorted({p.device.index for p in network.parameters() if p.device.type == "cuda"})
    state, numbers = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(state)
        np.random.set_state(numbers)
