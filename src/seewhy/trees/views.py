"""Soft and hard trees over a network: views that answer with the tree's own log-probabilities."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core import tree as inputs_tree
from ..core.decisions import RULES, WALKS, DecisionPath, Rule, Walk
from ..core.errors import NotFiniteError, OutputError, SettingError
from ..core.hierarchy import Node, Tree
from ..core.targets import Turn
from ..engine.guard import guarded, quiet_modes, random_state
from ..engine.scoring import settled_kind
from ..models.derived import Derived
from ..models.images import open_picture
from ..models.kinds import log_probabilities
from ..models.model import Model, call
from ..models.outputs import Output, understand
from ..models.wrapping import wrap
from .files import check_fits
from .head import class_vectors
from .induce import source_of
from .reading import path_to
from .rules import Rules, check_rule
from .turns import turn

RESIDUE = 1e-6
"""What a hard tree leaves to all classes but its own, together."""


class TreeView(Derived):
    """What soft and hard trees have in common: the network, the tree, and the rule of its turns."""

    walk: ClassVar[Walk]

    def __init__(self, model: Any, tree: Tree, rule: Rule = "marginal") -> None:
        source = source_of(wrap(model))
        if not isinstance(tree, Tree):
            raise SettingError(f"tree takes a seewhy.trees.Tree, such as seewhy.trees.induce(model); given {tree!r}.")
        check_fits(tree, source.labels)
        super().__init__(source, f"{WALKS[self.walk]} ({RULES[check_rule(rule)]})")
        if rule == "embedded":
            self._check_embedded(source, tree)
        self.tree, self.rule = tree, rule
        self.rules = Rules(tree).to(source.device)

    @staticmethod
    def _check_embedded(source: Model, tree: Tree) -> None:
        """The rule speaks of inner products with weight rows, which need a linear layer."""
        name, vectors = class_vectors(source)
        if len(vectors) != tree.classes:
            raise SettingError(
                f"The tree has {tree.classes} classes, and the network's last linear layer {name!r} {len(vectors)}. "
                "Use a tree over this network's classes."
            )

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """Returns the tree's log-probability of each class, (N, K), for the network's own inputs."""
        count = inputs_tree.row_count((inputs, named))
        return self.answer(self.log_probabilities(self.network(*inputs, **named), count))

    def answer(self, scores: Tensor) -> Tensor:
        """Returns the tree's log-probabilities (N, K) from the network's."""
        raise NotImplementedError

    def classes(self, scores: Tensor, turns: Tensor) -> Tensor:
        """Returns the class that the tree names, (N,), from the network's log-probabilities and the turns'."""
        raise NotImplementedError

    def log_probabilities(self, raw: Any, count: int) -> Tensor:
        """Returns the network's own log-probabilities (N, K), at least in single precision.

        Raises OutputError where its answer is no probability divided among the tree's classes.
        """
        source = self.source
        return own_log_probabilities(source, understand(raw, source.output, count), self.tree.classes)

    def turn(self, node: str | int | Node) -> Turn:
        """Returns the decision for a node as a target of this view: `target=soft.turn("animal")`.

        Its score is the log-odds of the turn under this view's rule: log-probabilities of classes, as this view gives
        them, are the products of the turns, so that their sums are the nodes' under any rule.
        """
        return turn(self.tree, node)

    def decisions(self, x: Any) -> list[list[tuple[str, float]]]:
        """Returns for each row the nodes on its way by name, the root left out, and the probability of each turn."""
        return [[(step, probability) for step, probability in way] for way in self._ways(x)]

    def paths(self, x: Any) -> list[DecisionPath]:
        """Returns each row's way with all that was not taken."""
        chosen, turns, _ = self._read(x)
        rows = turns.exp().tolist()
        return [
            path_to(self.tree, self.walk, self.rule, index, row)
            for index, row in zip(chosen.tolist(), rows, strict=True)
        ]

    def _ways(self, x: Any) -> list[list[tuple[str, float]]]:
        chosen, turns, _ = self._read(x)
        found = []
        for row, index in zip(turns, chosen.tolist(), strict=True):
            way = self.tree.path(self.tree.leaf(index).index)[1:]
            found.append(list(zip([self.tree[node].name for node in way], row[list(way)].exp().tolist(), strict=True)))
        return found

    def _read(self, x: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the classes (N,), the turns (N, nodes) and the network's log-probabilities (N, K), on the CPU.

        The network is asked in evaluation mode, without gradients, and left as it was.
        """
        source = self.source
        inputs = self._inputs(x)
        count = inputs_tree.row_count(inputs)
        with (
            guarded(source.refresh(), source.memo),
            quiet_modes(source.device, None),
            random_state(source.device),
            torch.no_grad(),
        ):
            scores = self.log_probabilities(call(source.module, inputs), count)
        bad = (~torch.isfinite(scores)).any(1)
        if bool(bad.any()):
            raise NotFiniteError(
                f"The network's scores must be finite; those of row {int(bad.nonzero()[0])} hold NaN or infinity. Look "
                "for it in the input and in the weights."
            )
        with torch.no_grad():
            wide = scores if scores.device.type == "mps" else scores.double()
            turns = self.rules.turns(wide, self.rule)
            return self.classes(scores, turns).cpu(), turns.cpu(), scores.cpu()

    def _inputs(self, x: Any) -> Any:
        device = self.source.device
        if isinstance(x, (Tensor, tuple, list, dict)):
            return inputs_tree.map_leaves(lambda _, leaf: leaf.to(device), x)
        steps = self.source.preprocessing
        if steps is None:
            raise SettingError(
                f"{self.source.name} has no preprocessing, so x must be a tensor; given {type(x).__name__}. Say how a "
                "picture becomes its input: preprocess= of seewhy.wrap."
            )
        return steps(open_picture(x)).to(device)


class SoftTree(TreeView):
    """A network read along a tree, the largest product of turns wins; an nn.Module of log-probabilities (N, K).

    log p(k) = sum of log p(v | parent of v) over the nodes v on the way to class k.

    rule: what a turn's probability is. "marginal", the hierarchical read-out of the network's softmax: the share that
    the network's own probability mass below the node has of that below its parent. The products then are the network's
    own probabilities, exactly, and its answer is the network's; the turns say how it is made up. "embedded", the
    paper's rule: softmax among siblings of the features' inner products with the nodes' vectors, each the mean of the
    weight rows of the classes below it. It is meant for networks that were fine-tuned with the tree.

    model: a network, or a model of `seewhy.load`; held, not copied, and never changed. It may be trained through this
    module. tree: over its classes, as `seewhy.trees.induce(model)` gives it.

    Explanation methods take it like any network: `seewhy.attribute(soft, x, "grad-cam", target=soft.turn("animal"))`.

    Raises SettingError for a tree over other classes, and UnsupportedModelError where the embedded rule finds no linear
    layer.

    Differences: the bias of the last layer counts, as a weight of a feature that is always 1; the paper's formula has
    none. Its code takes it along, too. The marginal rule is not the paper's.

    Reference: Wan et al., "NBDT: Neural-Backed Decision Tree", ICLR 2021, arXiv 2004.00221, sec. 3.1.
    """

    walk = "soft"

    def answer(self, scores: Tensor) -> Tensor:
        """Returns the products of the turns: under the marginal rule the network's own probabilities."""
        if self.rule == "marginal":
            return scores
        return self.rules.leaves(self.rules.turns(scores, self.rule))

    def classes(self, scores: Tensor, turns: Tensor) -> Tensor:
        """Returns the likeliest class."""
        return (scores if self.rule == "marginal" else self.rules.leaves(turns)).argmax(1)


class HardTree(TreeView):
    """A network read along a tree, the likeliest turn at each node; an nn.Module of log-probabilities (N, K).

    Its class has log(1 - 1e-6), the others share the rest: a hard tree's answer is a decision. Going back, the gradient
    is that of the soft tree's log-probabilities (straight through), so that the way to a class can be explained and
    trained. `decisions` has the turns' probabilities. Of equal turns the first is taken.

    model, tree, rule and errors: as `SoftTree`. With the marginal rule it is a greedy walk down the network's softmax,
    which may miss the top class where that has less than half.

    Reference: Wan et al., "NBDT: Neural-Backed Decision Tree", ICLR 2021, arXiv 2004.00221, sec. 3.1; Bengio et al.,
    arXiv 1308.3432, for straight-through gradients.
    """

    walk = "hard"

    def answer(self, scores: Tensor) -> Tensor:
        """Returns nearly all for the class that the walk ends at."""
        turns = self.rules.turns(scores, self.rule)
        soft = scores if self.rule == "marginal" else self.rules.leaves(turns)
        rest = math.log(RESIDUE / (self.tree.classes - 1))
        hard = torch.full_like(soft, rest).scatter_(1, self.rules.greedy(turns)[:, None], math.log1p(-RESIDUE))
        return soft + (hard - soft).detach()

    def classes(self, scores: Tensor, turns: Tensor) -> Tensor:
        """Returns the class at the end of the walk."""
        return self.rules.greedy(turns)


def own_log_probabilities(model: Model, output: Output, classes: int) -> Tensor:
    """Returns a network's own log-probabilities (N, K) from its answer, at least in single precision.

    Raises OutputError where the answer is no probability divided among so many classes.
    """
    scores = output.tensor()
    if scores.dim() != 2 or scores.shape[1] != classes:
        raise OutputError(
            f"The tree decides between {classes} classes, so the network must answer with (N, {classes}); it gave "
            f"{tuple(scores.shape)}. Use a tree over this network's classes."
        )
    kind = settled_kind(model, scores)
    if kind not in ("logits", "softmax"):
        given = "cannot be told: its values lie between 0 and 1 and do not sum to one" if kind is None else repr(kind)
        raise OutputError(
            "A tree divides a probability of 1 among classes that exclude each other, so the network's output must be "
            f"logits or a softmax; what this one's is, {given}. If it is one of them, say so: "
            "output_kind='logits' of seewhy.wrap and seewhy.load, --output-kind on the command line."
        )
    wide = scores.float() if scores.dtype not in (torch.float32, torch.float64) else scores
    return log_probabilities(wide, kind)
