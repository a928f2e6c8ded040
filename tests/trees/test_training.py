"""Training that is killed and started again ends where it would have ended, and changes nothing but weights."""

from __future__ import annotations

import io
import itertools
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from seewhy.core.errors import InputError, ModelFileError, NotFiniteError, SettingError
from seewhy.core.hierarchy import Tree
from seewhy.trees import Schedule, TrainingPlan, TreeSupervisionLoss, accuracy, fine_tune, training

ROWS, CLASSES = 50, 4


def tree() -> Tree:
    return Tree.of([None, 0, 0, 1, 1, 2, 2], {3: 0, 4: 1, 5: 2, 6: 3})


def network(seed: int = 0) -> nn.Module:
    """Dropout and batch-norm: what is drawn and what is counted on the way matters."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, CLASSES))


def rows() -> tuple[Tensor, Tensor]:
    x = torch.randn(ROWS, 6, generator=torch.Generator().manual_seed(1))
    return x, (x[:, 0] > 0).long() * 2 + (x[:, 1] > 0).long()


def data() -> Dataset[Any]:
    return TensorDataset(*rows())


class Augmented(Dataset[Any]):
    """Draws from every generator that augmentations use."""

    def __init__(self) -> None:
        self.x, self.y = rows()

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        noise = torch.rand(()).item() + np.random.rand() + random.random()
        return self.x[row] + 0.1 * noise, self.y[row]


def shuffled() -> DataLoader[Any]:
    return DataLoader(Augmented(), batch_size=8, shuffle=True)


def own_generator() -> DataLoader[Any]:
    return DataLoader(Augmented(), batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(9))


class Killed(BaseException):
    """As SIGKILL: nobody catches it."""


def killed_after(steps: int) -> Callable[[Any, Tensor], Tensor]:
    """A loss that lets so many steps through; called like the loss it stands for, so that checkpoints fit."""
    made = itertools.count()

    class CrossEntropyLoss:
        def __call__(self, output: Tensor, target: Tensor) -> Tensor:
            if next(made) == steps:
                raise Killed
            return nn.functional.cross_entropy(output, target)

    return CrossEntropyLoss()


def weights(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def same(one: nn.Module, other: nn.Module) -> bool:
    theirs = weights(other)
    return all(torch.equal(tensor, theirs[name]) for name, tensor in weights(one).items())


def plan(path: Path | None = None, **changes: Any) -> TrainingPlan:
    facts = {"epochs": 3, "batch_size": 8, "learning_rate": 0.05, "seed": 3, "checkpoint": path}
    return TrainingPlan(**(facts | changes))


# -------------------------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("source", [data, Augmented, shuffled, own_generator])
@pytest.mark.parametrize("steps", [5, 7, 11])
def test_killed_and_started_again_it_ends_with_the_same_bits(tmp_path, monkeypatch, source, steps):
    whole = network()
    without = fine_tune(whole, source(), nn.CrossEntropyLoss(), plan())
    monkeypatch.setattr(training, "_BETWEEN", -1.0)  # a checkpoint after every step
    path = tmp_path / "run.pt"
    with pytest.raises(Killed):
        fine_tune(network(), source(), killed_after(steps), plan(path))
    again = network(seed=7)  # whatever it holds, the checkpoint counts
    found = fine_tune(again, source(), nn.CrossEntropyLoss(), plan(path))
    assert found.resumed == steps
    assert found.steps == without.steps == 21
    assert found.losses == without.losses
    assert same(again, whole)
    assert list(tmp_path.iterdir()) == [path]


def test_between_epochs_a_run_loses_at_most_the_epoch_it_was_in(tmp_path):
    path = tmp_path / "run.pt"
    with pytest.raises(Killed):
        fine_tune(network(), data(), killed_after(12), plan(path))
    again, whole = network(), network()
    assert fine_tune(again, data(), nn.CrossEntropyLoss(), plan(path)).resumed == 7
    fine_tune(whole, data(), nn.CrossEntropyLoss(), plan())
    assert same(again, whole)


def test_a_finished_run_is_loaded_and_not_made_again(tmp_path):
    path, first = tmp_path / "run.pt", network()
    done = fine_tune(first, data(), nn.CrossEntropyLoss(), plan(path))
    again = network(seed=5)
    found = fine_tune(again, data(), killed_after(0), plan(path))
    assert (found.losses, found.steps, found.resumed) == (done.losses, 21, 21)
    assert same(first, again)


@pytest.mark.parametrize("make", [lambda p, lr: torch.optim.Adam(p, lr), lambda p, lr: torch.optim.SGD(p, lr)])
def test_any_optimiser_resumes(tmp_path, make):
    path, whole, again = tmp_path / "run.pt", network(), network()
    fine_tune(whole, data(), nn.CrossEntropyLoss(), plan(optimizer=make))
    with pytest.raises(Killed):
        fine_tune(network(), data(), killed_after(16), plan(path, optimizer=make))
    fine_tune(again, data(), nn.CrossEntropyLoss(), plan(path, optimizer=make))
    assert same(again, whole)


def test_checkpoints_of_other_trainings_are_refused(tmp_path):
    path = tmp_path / "run.pt"
    loss = TreeSupervisionLoss(tree())
    fine_tune(network(), data(), loss, plan(path))
    for changes, message in (
        ({"epochs": 4}, "epochs 3, given 4"),
        ({"seed": 4}, "seed 3, given 4"),
        ({"batch_size": 25}, "steps an epoch 7, given 2"),
        ({"learning_rate": 0.1}, "learning_rate 0.05, given 0.1"),
        ({"optimizer": torch.optim.Adam}, "optimizer 'sgd', given 'Adam'"),
    ):
        with pytest.raises(SettingError, match=f"belongs to another training: it has {message}"):
            fine_tune(network(), data(), loss, plan(path, **changes))
    other = Tree.of([None, 0, 0, 1, 1, 2, 2], {3: 0, 4: 2, 5: 1, 6: 3})
    with pytest.raises(SettingError, match="it has loss 'soft around"):
        fine_tune(network(), data(), TreeSupervisionLoss(other), plan(path))
    with pytest.raises(SettingError, match="it has network"):
        fine_tune(nn.Linear(6, CLASSES), data(), loss, plan(path))


def test_files_that_are_no_checkpoint_are_refused_and_kept(tmp_path):
    path = tmp_path / "run.pt"
    torch.save({"weight": torch.ones(3)}, path)
    with pytest.raises(SettingError, match="one that fine_tune wrote"):
        fine_tune(network(), data(), nn.CrossEntropyLoss(), plan(path))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFileError, match="cut short or damaged"):
        fine_tune(network(), data(), nn.CrossEntropyLoss(), plan(path))
    assert path.read_bytes() == whole[: len(whole) // 2]
    path.unlink()
    fine_tune(network(), data(), nn.CrossEntropyLoss(), plan(path, epochs=1))
    content = torch.load(path, weights_only=True)
    torch.save({**content, "schema": 99}, path)
    with pytest.raises(SettingError, match="schema version 99"):
        fine_tune(network(), data(), nn.CrossEntropyLoss(), plan(path, epochs=1))
    with pytest.raises(SettingError, match="does not exist"):
        fine_tune(network(), data(), nn.CrossEntropyLoss(), plan(tmp_path / "no" / "run.pt"))


def test_a_loss_that_is_no_number_ends_training_and_keeps_what_was(tmp_path):
    path, steps = tmp_path / "run.pt", itertools.count()

    def loss(output: Tensor, target: Tensor) -> Tensor:
        found = nn.functional.cross_entropy(output, target)
        return found * math.nan if next(steps) == 10 else found

    net = network()
    with pytest.raises(NotFiniteError, match=r"at step 11 it is nan.*lower learning_rate"):
        fine_tune(net, data(), loss, plan(path))
    assert all(torch.isfinite(tensor).all() for tensor in net.state_dict().values())
    assert torch.load(path, weights_only=True)["step"] == 7


# ------------------------------------------------------------------------------------------------- what it does


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    nets = [network() for _ in range(3)]
    for net, seed in zip(nets, (1, 1, 2), strict=True):
        torch.rand(random.randrange(5))  # the caller's generators must not matter
        fine_tune(net, Augmented(), nn.CrossEntropyLoss(), plan(seed=seed))
    assert same(nets[0], nets[1])
    assert not same(nets[0], nets[2])


def test_it_is_gradient_descent_as_written_by_hand():
    """Plain steps in the order that the data come, without dropout: nothing but the formula."""
    torch.manual_seed(0)
    net, by_hand = nn.Linear(6, CLASSES), nn.Linear(6, CLASSES)
    by_hand.load_state_dict(net.state_dict())
    x, y = rows()
    loader = DataLoader(TensorDataset(x, y), batch_size=10)
    found = fine_tune(
        net,
        loader,
        nn.CrossEntropyLoss(),
        plan(epochs=2, learning_rate=0.5, optimizer=lambda p, lr: torch.optim.SGD(p, lr)),
    )
    losses = []
    for step in range(10):
        part = slice(step % 5 * 10, step % 5 * 10 + 10)
        loss = -torch.log_softmax(by_hand(x[part]), 1)[torch.arange(10), y[part]].mean()
        gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
        losses.append(loss.item())
        with torch.no_grad():
            for parameter, gradient in zip(by_hand.parameters(), gradients, strict=True):
                parameter -= 0.25 * (1 + math.cos(math.pi * step / 10)) * gradient
    torch.testing.assert_close(net.weight, by_hand.weight)
    torch.testing.assert_close(net.bias, by_hand.bias)
    assert found.losses == pytest.approx([sum(losses[:5]) / 5, sum(losses[5:]) / 5], rel=1e-6)


def test_every_row_is_seen_once_an_epoch_in_batches_of_nearly_equal_size():
    seen: list[Tensor] = []
    marked = TensorDataset(torch.arange(ROWS).float()[:, None].expand(-1, 6), torch.zeros(ROWS, dtype=torch.long))

    class Watching(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x[:, 0].long())
            return super().forward(x * 0.01)

    fine_tune(Watching(6, CLASSES), marked, nn.CrossEntropyLoss(), plan(epochs=2, batch_size=7))
    sizes = [len(part) for part in seen]
    assert len(sizes) == 16
    assert set(sizes) == {6, 7}
    first, second = torch.cat(seen[:8]), torch.cat(seen[8:])
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(ROWS))
    assert first.tolist() != second.tolist()


def test_the_tree_loss_is_told_how_far_training_is():
    class Listening(TreeSupervisionLoss):
        def set_progress(self, progress: float) -> None:
            told.append(progress)
            super().set_progress(progress)

    told: list[float] = []
    fine_tune(network(), data(), Listening(tree(), weight=Schedule(0, 1)), plan())
    assert told == [step / 21 for step in range(21)]


def test_it_teaches_the_tree():
    net = network()
    plain = accuracy(net, tree(), data())
    found = fine_tune(net, data(), TreeSupervisionLoss(tree()), plan(epochs=40))
    taught = accuracy(net, tree(), data())
    assert found.losses[-1] < 0.7 * found.losses[0]
    assert taught.soft > max(plain.soft, 0.85)
    assert taught.hard > max(plain.hard, 0.85)


def test_nothing_but_weights_is_changed():
    net = network()
    net[1].eval()
    net[0].requires_grad_(False)
    frozen = weights(net[0])
    state, numbers, thrown = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    with torch.no_grad():
        fine_tune(net, Augmented(), nn.CrossEntropyLoss(), plan(epochs=1))
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numbers).all()
    assert random.getstate() == thrown
    assert [module.training for module in net.modules()] == [True, True, False, True, True, True]
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in weights(net[0]).items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert int(net[1].num_batches_tracked) == 7


def test_a_bar_is_drawn_on_terminals_only():
    drawn = {}
    for terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
        fine_tune(network(), data(), nn.CrossEntropyLoss(), plan(epochs=1), console)
        drawn[terminal] = console.file.getvalue()
    assert "epoch 1, loss" in drawn[True]
    assert "7/7" in drawn[True]
    assert drawn[False].strip() == ""


def test_inputs_may_be_trees_of_tensors():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(6, CLASSES)

        def forward(self, given: dict[str, Tensor]) -> Tensor:
            return self.head(given["a"] + given["b"])

    class Pairs(Dataset[Any]):
        def __len__(self) -> int:
            return ROWS

        def __getitem__(self, row: int) -> tuple[dict[str, Tensor], int]:
            x, y = rows()
            return {"a": x[row], "b": x[row]}, int(y[row])

    found = fine_tune(Two(), Pairs(), nn.CrossEntropyLoss(), plan(epochs=4, learning_rate=0.5))
    assert found.losses[-1] < found.losses[0]
    assert accuracy(Two(), tree(), Pairs()).rows == ROWS


# ------------------------------------------------------------------------------------------------------- accuracy


def test_accuracy_counts_what_loops_count():
    x, y = rows()
    net = nn.Linear(6, CLASSES)
    net.train()
    right = [0, 0, 0]
    for row, target in zip(net(x).tolist(), y.tolist(), strict=True):

        def odds(one: float, other: float) -> float:
            return 1 / (1 + math.exp(other - one))

        first = odds(sum(row[:2]) / 2, sum(row[2:]) / 2)
        left, under = odds(row[0], row[1]), odds(row[2], row[3])
        leaves = [first * left, first * (1 - left), (1 - first) * under, (1 - first) * (1 - under)]
        hard = (0 if left >= 0.5 else 1) if first >= 0.5 else (2 if under >= 0.5 else 3)
        for place, answer in enumerate((row.index(max(row)), leaves.index(max(leaves)), hard)):
            right[place] += answer == target
    found = accuracy(net, tree(), TensorDataset(x, y), batch_size=7)
    assert (found.network, found.soft, found.hard, found.rows) == (*(pytest.approx(n / ROWS) for n in right), ROWS)
    assert net.training
    assert str(found).startswith("network ")
    same_rule = accuracy(net, tree(), DataLoader(TensorDataset(x, y), batch_size=9), rule="marginal")
    assert same_rule.network == found.network


# ----------------------------------------------------------------------------------------------------- wrong usage


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number of 1 or more; given 0"),
        ({"epochs": True}, "given True"),
        ({"batch_size": 2.5}, "batch_size must be a whole number"),
        ({"learning_rate": 0}, "learning_rate must be a number above 0"),
        ({"learning_rate": math.nan}, "given nan"),
        ({"optimizer": "adam"}, "takes a function of .parameters, learning rate"),
    ],
)
def test_plans_that_cannot_be(changes, message):
    with pytest.raises(SettingError, match=message):
        TrainingPlan(**changes)


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(())


class Lying(DataLoader[Any]):
    def __len__(self) -> int:
        return 99


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1, 2], "TensorDataset"),
        (Endless(), "takes a torch Dataset"),
        (TensorDataset(torch.zeros(0, 6), torch.zeros(0)), "is empty"),
        (TensorDataset(torch.zeros(9, 6)), r"pair \(inputs, targets\); given list of 1"),
        (Lying(TensorDataset(*rows()), batch_size=10), "99 batches, and ended after 5"),
    ],
)
def test_data_that_cannot_be_used(given, message):
    with pytest.raises(InputError, match=message):
        fine_tune(network(), given, nn.CrossEntropyLoss(), plan())


def test_a_network_with_nothing_to_train():
    with pytest.raises(InputError, match="requires_grad_"):
        fine_tune(network().requires_grad_(False), data(), nn.CrossEntropyLoss(), plan())
