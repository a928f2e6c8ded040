"""Tree-supervision loss: teaches a network to decide as its tree does, while it learns what it would learn anyway."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from ..core.errors import InputError, SettingError, TargetError
from ..core.hierarchy import Tree
from .paths import Paths
from .rules import Rules

Supervision: TypeAlias = Literal["soft", "hard"]

_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A weight on its way from `start` to `end`: start + (end - start) * progress ** power, progress from 0 to 1.

    power: 1 is linear; above 1 stays near the start for longer, below 1 leaves it sooner.
    """

    start: float
    end: float
    power: float = 1.0

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            value = getattr(self, name)
            if not (_is_number(value) and value >= 0):
                raise SettingError(f"A weight's {name} must be a number of 0 or more; given {value!r}.")
        if not (_is_number(self.power) and self.power > 0):
            raise SettingError(f"A schedule's power must be a number above 0, 1 for linear; given {self.power!r}.")

    def at(self, progress: float) -> float:
        """Returns the weight when this share of the training is over, 0 to 1."""
        return self.start + (self.end - self.start) * math.pow(progress, self.power)

    def __str__(self) -> str:
        if self.start == self.end:
            return f"{self.start:g}"
        return f"{self.start:g} to {self.end:g}, power {self.power:g}"


class TreeSupervisionLoss(nn.Module):
    """Returns criterion_weight * criterion(output, target) + weight * loss of the tree's own decisions.

    The tree decides by the paper's embedded rule: a node's score is the mean of the outputs (logits) of the classes
    below it, which behind a linear last layer is the product of the features with the mean of these classes' weights,
    plus the mean of their biases. p(c | i) is the softmax of the scores of node i's children, p(k) the product of
    p over the turns on the way to class k. The tree's loss is

        rule="soft": criterion(log p, target), with log p (N, K) in the place of the outputs
        rule="hard": 1 / (N I) * sum over rows and over nodes i on the target's path of
                     criterion(log p(. | i), the child on the path)

    with I the number of nodes that decide something (two children or more). With plain cross-entropy both are
    -log p(target), the hard loss divided by I, so that they differ in weight only. Where the criterion does more, as
    with class weights, label smoothing or a focal term, they differ.

    tree: the hierarchy over the K outputs. criterion: a function of (output, target); None means cross-entropy. For
    the hard rule it must average, sum (`reduction="sum"`) or return one value a row, and hold nothing by class. weight,
    criterion_weight: numbers, or a Schedule, which `set_progress` moves along.

    output: (N, K) logits; half precision is raised to float32 for the tree. target: (N,) class indices; with the soft
    rule whatever the criterion takes, such as (N, K) probabilities.

    Raises SettingError for settings that cannot be, and for a Schedule that was never told how far training is;
    InputError for an output of another shape; TargetError for targets that are no classes of the tree.

    Differences: the paper lets the criterion's weight fall from 1 to 0 while the tree's rises from 0 to 0.5
    (`criterion_weight=Schedule(1, 0), weight=Schedule(0, 0.5)`); the defaults here are 1 and 1, as in the authors'
    code. That code hands p and not log p to the cross-entropy of its soft loss, which so takes a second softmax, and
    divides its hard loss by I / 2.

    Reference: Wan et al., "NBDT: Neural-Backed Decision Tree", ICLR 2021, arXiv 2004.00221, sec. 3.3; the hard loss is
    in its appendix.
    """

    def __init__(
        self,
        tree: Tree,
        criterion: Callable[[Any, Any], Tensor] | None = None,
        *,
        rule: Supervision = "soft",
        weight: float | Schedule = 1.0,
        criterion_weight: float | Schedule = 1.0,
    ) -> None:
        super().__init__()
        if not isinstance(tree, Tree):
            raise SettingError(f"tree takes a seewhy.trees.Tree, such as induce(model); given {type(tree).__name__}.")
        if rule not in ("soft", "hard"):
            raise SettingError(f"rule takes 'soft' or 'hard'; given {rule!r}.")
        self.criterion: Callable[[Any, Any], Tensor] = nn.CrossEntropyLoss() if criterion is None else criterion
        if not callable(self.criterion):
            raise SettingError(
                "criterion takes a function of (output, target), such as torch.nn.CrossEntropyLoss(); given "
                f"{type(criterion).__name__}."
            )
        if rule == "hard" and isinstance(getattr(self.criterion, "weight", None), Tensor):
            raise SettingError(
                "With rule='hard' the criterion judges each node's children, so it cannot have a weight for each "
                "class; given one that has. Use rule='soft', or a criterion without class weights."
            )
        self.tree = tree
        self.rule: Supervision = rule
        self.weight = _schedule("weight", weight)
        self.criterion_weight = _schedule("criterion_weight", criterion_weight)
        self.progress: float | None = None
        self._rules, self._paths = Rules(tree), Paths(tree)

    def set_progress(self, progress: float) -> None:
        """Says which share of the training is over, 0 to 1; `fine_tune` does so at each step."""
        if not (_is_number(progress) and 0 <= progress <= 1):
            raise SettingError(f"progress must lie within 0 and 1, such as step / steps; given {progress!r}.")
        self.progress = float(progress)

    def forward(self, output: Tensor, target: Any) -> Tensor:
        """Returns the weighted sum of the network's loss and the tree's."""
        tree = self.tree_loss(output, target)
        return self._now(self.criterion_weight) * self.criterion(output, target) + self._now(self.weight) * tree

    def tree_loss(self, output: Tensor, target: Any) -> Tensor:
        """Returns the loss of the tree's decisions alone, unweighted."""
        classes = self.tree.classes
        if not isinstance(output, Tensor) or output.dim() != 2 or output.shape[1] != classes:
            given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise InputError(
                f"The tree has {classes} classes, so the network's output must be (N, {classes}) logits; given "
                f"{given}. Give the tensor of logits, and a tree over just these classes."
            )
        with torch.autocast(output.device.type, enabled=False):
            turns = self._rules.turns(output.float() if output.dtype in _HALF else output, "embedded")
            if self.rule == "hard":
                return self._hard(turns, self._checked(target, len(output)))
            return self.criterion(self._rules.leaves(turns), target)

    def describe(self) -> str:
        """Returns all settings in one line, and a fingerprint of the tree: equal lines mean equal losses."""
        shape = [(node.parent, node.leaf) for node in self.tree]
        mark = hashlib.blake2b(json.dumps(shape).encode(), digest_size=6).hexdigest()
        name = getattr(self.criterion, "__qualname__", type(self.criterion).__name__)
        return f"{self.rule} around {name}, weights {self.weight} and {self.criterion_weight}, tree {mark}"

    def _hard(self, turns: Tensor, target: Tensor) -> Tensor:
        """Returns the loss over all nodes; nodes with equally many children are judged in one call."""
        rows, deciding = len(target), self._paths.deciding
        whole, each = turns.new_zeros(()), turns.new_zeros(rows)
        by_row = False
        for turn in self._paths.by_arity(target):
            found = self.criterion(turns[turn.rows[:, None], turn.children], turn.taken)
            if found.dim():
                by_row, each = True, each.index_add(0, turn.rows, found.to(each.dtype))
            elif getattr(self.criterion, "reduction", "mean") == "sum":
                whole = whole + found
            else:  # the mean over these turns, each of which counts as one of all rows' turns
                whole = whole + found * len(turn.rows) / rows
        return (each if by_row else whole) / deciding

    def _checked(self, target: Any, rows: int) -> Tensor:
        classes = self.tree.classes
        whole = isinstance(target, Tensor) and not target.dtype.is_floating_point and target.dtype != torch.bool
        if not whole or target.shape != (rows,):
            given = f"{tuple(target.shape)} of {target.dtype}" if isinstance(target, Tensor) else type(target).__name__
            raise TargetError(
                f"With rule='hard' targets must be ({rows},) class indices; given {given}. Use rule='soft' for targets "
                "of another form."
            )
        outside = (target < 0) | (target >= classes)
        if bool(outside.any()):
            raise TargetError(
                f"Targets must be classes 0 to {classes - 1} of the tree; given {int(target[outside][0])}. Leave rows "
                "without a class out of the batch."
            )
        found: Tensor = target.long()
        return found

    def _now(self, schedule: Schedule) -> float:
        if schedule.start == schedule.end:
            return schedule.start
        if self.progress is None:
            raise SettingError(
                "A weight with a schedule must know how far training is, and was never told. Call "
                "loss.set_progress(step / steps) before each step, or give a number as the weight."
            )
        return schedule.at(self.progress)


def _schedule(name: str, weight: float | Schedule) -> Schedule:
    if isinstance(weight, Schedule):
        return weight
    if not _is_number(weight):
        raise SettingError(f"{name} takes a number or a Schedule; given {weight!r}.")
    return Schedule(float(weight), float(weight))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
