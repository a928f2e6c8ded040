"""Tree-supervision loss against the paper's formulas, written again as slow loops over rows and nodes."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from seewhy.core.errors import InputError, SettingError, TargetError
from seewhy.core.hierarchy import Tree
from seewhy.trees.losses import Schedule, TreeSupervisionLoss


def lopsided() -> Tree:
    """Nodes with 2 and 3 children, a node with a single one, leaves at three depths, classes out of order."""
    #            0     1  2  3  4  5  6  7  8  9  10
    parents = [None, 0, 0, 0, 1, 1, 1, 2, 7, 7, 4]
    return Tree.of([*parents, 4], {3: 2, 5: 0, 6: 5, 8: 1, 9: 3, 10: 4, 11: 6})


def balanced() -> Tree:
    return Tree.of([None, 0, 0, 1, 1, 2, 2], {3: 0, 4: 1, 5: 2, 6: 3})


def logits(rows: int = 6, classes: int = 7, seed: int = 0) -> Tensor:
    return 3 * torch.randn(rows, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


TARGET = torch.tensor([0, 6, 2, 3, 1, 5])


def node_odds(tree: Tree, scores: list[float], node: int) -> list[float]:
    """The softmax over a node's children of the mean score below each, in plain Python."""
    means = []
    for child in tree[node].children:
        below = tree.classes_below(child)
        means.append(sum(scores[one] for one in below) / len(below))
    powers = [math.exp(mean) for mean in means]
    return [power / sum(powers) for power in powers]


def leaf_odds(tree: Tree, scores: list[float]) -> list[float]:
    found = []
    for leaf in range(tree.classes):
        way = tree.path(tree.leaf(leaf).index)
        odds = 1.0
        for node, child in pairwise(way):
            odds *= node_odds(tree, scores, node)[tree[node].children.index(child)]
        found.append(odds)
    return found


def smoothed(odds: list[float], right: int, smoothing: float) -> float:
    """Cross-entropy with label smoothing: `smoothing` of the target is spread over all."""
    wanted = [smoothing / len(odds)] * len(odds)
    wanted[right] += 1 - smoothing
    return -sum(share * math.log(one) for share, one in zip(wanted, odds, strict=True))


def soft_oracle(tree: Tree, output: Tensor, target: Tensor, smoothing: float = 0.0) -> float:
    each = [
        smoothed(leaf_odds(tree, row), right, smoothing)
        for row, right in zip(output.tolist(), target.tolist(), strict=True)
    ]
    return sum(each) / len(each)


def hard_rows(tree: Tree, output: Tensor, target: Tensor, smoothing: float = 0.0) -> list[float]:
    deciding = sum(len(node.children) > 1 for node in tree)
    found = []
    for row, right in zip(output.tolist(), target.tolist(), strict=True):
        way = tree.path(tree.leaf(right).index)
        total = 0.0
        for node, child in pairwise(way):
            if len(tree[node].children) > 1:
                total += smoothed(node_odds(tree, row, node), tree[node].children.index(child), smoothing)
        found.append(total / deciding)
    return found


# ---------------------------------------------------------------------------------------------------- the formulas


def test_two_levels_are_what_the_paper_says():
    a, b, c, d = 1.5, -0.25, 0.5, 2.0
    output = torch.tensor([[a, b, c, d]], dtype=torch.float64)

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    first = sigmoid((a + b) / 2 - (c + d) / 2)
    soft = TreeSupervisionLoss(balanced())
    wanted = [
        first * sigmoid(a - b),
        first * sigmoid(b - a),
        (1 - first) * sigmoid(c - d),
        (1 - first) * sigmoid(d - c),
    ]
    for leaf, odds in enumerate(wanted):
        assert soft.tree_loss(output, torch.tensor([leaf])).item() == pytest.approx(-math.log(odds), rel=1e-12)
    assert sum(wanted) == pytest.approx(1)
    hard = TreeSupervisionLoss(balanced(), rule="hard")
    found = hard.tree_loss(output, torch.tensor([3])).item()
    assert found == pytest.approx(-(math.log(1 - first) + math.log(sigmoid(d - c))) / 3, rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_soft_loss_is_the_loops(smoothing):
    tree, output = lopsided(), logits()
    loss = TreeSupervisionLoss(tree, nn.CrossEntropyLoss(label_smoothing=smoothing))
    wanted = soft_oracle(tree, output, TARGET, smoothing)
    assert loss.tree_loss(output, TARGET).item() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_hard_loss_is_the_loops(smoothing):
    tree, output = lopsided(), logits()
    rows = hard_rows(tree, output, TARGET, smoothing)

    def loss(reduction: str) -> Tensor:
        criterion = nn.CrossEntropyLoss(label_smoothing=smoothing, reduction=reduction)
        return TreeSupervisionLoss(tree, criterion, rule="hard").tree_loss(output, TARGET)

    assert loss("mean").item() == pytest.approx(sum(rows) / len(rows), rel=1e-12)
    assert loss("sum").item() == pytest.approx(sum(rows), rel=1e-12)
    assert loss("none").tolist() == pytest.approx(rows, rel=1e-12)


def test_with_cross_entropy_hard_and_soft_differ_by_the_number_of_nodes_and_with_smoothing_they_do_not():
    tree, output = lopsided(), logits()
    soft, hard = (TreeSupervisionLoss(tree, rule=rule).tree_loss(output, TARGET) for rule in ("soft", "hard"))
    torch.testing.assert_close(hard * 4, soft)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.2)
    soft, hard = (
        TreeSupervisionLoss(tree, criterion, rule=rule).tree_loss(output, TARGET) for rule in ("soft", "hard")
    )
    assert abs(float(hard * 4 - soft)) > 0.05


def test_soft_loss_takes_what_the_criterion_takes():
    tree, output = lopsided(), logits()
    odds = [leaf_odds(tree, row) for row in output.tolist()]
    shares = torch.rand(6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    shares /= shares.sum(1, keepdim=True)
    wanted = -(shares * torch.tensor(odds, dtype=torch.float64).log()).sum(1).mean()
    torch.testing.assert_close(TreeSupervisionLoss(tree).tree_loss(output, shares), wanted)
    weights = torch.arange(1, 8, dtype=torch.float64)
    found = TreeSupervisionLoss(tree, nn.CrossEntropyLoss(weight=weights)).tree_loss(output, TARGET)
    each = torch.tensor([-math.log(odds[row][right]) for row, right in enumerate(TARGET.tolist())], dtype=torch.float64)
    torch.testing.assert_close(found, (weights[TARGET] * each).sum() / weights[TARGET].sum())


# --------------------------------------------------------------------------------------------- sum, gradient, schedule


@pytest.mark.parametrize("rule", ["soft", "hard"])
def test_total_is_the_weighted_sum(rule):
    tree, output = lopsided(), logits()
    loss = TreeSupervisionLoss(tree, nn.MultiMarginLoss(), rule=rule, weight=0.3, criterion_weight=2)
    own, of_tree = nn.MultiMarginLoss()(output, TARGET), loss.tree_loss(output, TARGET)
    torch.testing.assert_close(loss(output, TARGET), 2 * own + 0.3 * of_tree)
    assert loss.tree_loss(output, TARGET).item() > 0.01


@pytest.mark.parametrize("rule", ["soft", "hard"])
def test_gradients_are_the_finite_differences(rule):
    loss = TreeSupervisionLoss(lopsided(), nn.CrossEntropyLoss(label_smoothing=0.1), rule=rule)
    output = logits().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, TARGET), output)
    (gradient,) = torch.autograd.grad(loss.tree_loss(output, TARGET), output)
    assert (gradient.abs().sum(1) > 1e-3).all()
    torch.testing.assert_close(gradient.sum(1), torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-12)


def test_gradient_reaches_the_network_and_descent_teaches_the_tree():
    torch.manual_seed(0)
    x, tree = torch.randn(64, 5), balanced()
    y = (x[:, 0] > 0).long() * 2 + (x[:, 1] > 0).long()
    net = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 4))
    loss = TreeSupervisionLoss(tree, criterion_weight=0.0)
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        loss(net(x), y).backward()
        optimizer.step()
    right = [max(range(4), key=leaf_odds(tree, row).__getitem__) for row in net(x).tolist()]
    assert sum(a == b for a, b in zip(right, y.tolist(), strict=True)) >= 63


def test_schedule_goes_from_start_to_end():
    line = Schedule(0.0, 0.5)
    assert [line.at(progress) for progress in (0, 0.25, 1)] == [0, 0.125, 0.5]
    assert Schedule(1, 0, power=2).at(0.5) == 0.75
    assert Schedule(1, 3, power=0.5).at(0.25) == 2
    loss = TreeSupervisionLoss(lopsided(), weight=Schedule(0, 0.5), criterion_weight=Schedule(1, 0))
    output = logits()
    own, tree = nn.CrossEntropyLoss()(output, TARGET), loss.tree_loss(output, TARGET)
    for progress, total in ((0.0, own), (0.5, own / 2 + tree / 4), (1.0, tree / 2)):
        loss.set_progress(progress)
        torch.testing.assert_close(loss(output, TARGET), total)


def test_schedule_that_was_never_told_is_an_error_and_no_silent_zero():
    loss = TreeSupervisionLoss(lopsided(), weight=Schedule(0, 0.5))
    with pytest.raises(SettingError, match=r"never told.*set_progress\(step / steps\)"):
        loss(logits(), TARGET)
    for progress in (-0.1, 1.1, math.nan, "half"):
        with pytest.raises(SettingError, match="within 0 and 1"):
            loss.set_progress(progress)


# ------------------------------------------------------------------------------------------------ numbers and errors


@pytest.mark.parametrize("rule", ["soft", "hard"])
def test_half_precision_is_raised_and_large_logits_stay_finite(rule):
    loss = TreeSupervisionLoss(lopsided(), rule=rule)
    exact = loss.tree_loss(logits(), TARGET)
    small = loss.tree_loss(logits().to(torch.bfloat16), TARGET)
    assert small.dtype == torch.float32
    torch.testing.assert_close(small.double(), exact, rtol=0.02, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert loss.tree_loss(logits().float(), TARGET).dtype == torch.float32
    huge = (1e4 * logits()).float().requires_grad_()
    loss.tree_loss(huge, TARGET).backward()
    assert torch.isfinite(huge.grad).all()


def test_the_module_moves_and_saves_nothing_of_its_own():
    loss = TreeSupervisionLoss(lopsided(), nn.CrossEntropyLoss(weight=torch.ones(7)))
    assert list(loss.state_dict()) == ["criterion.weight"]
    assert all(buffer.is_meta for buffer in loss.to("meta").buffers())


def test_equal_losses_have_equal_descriptions():
    one, same = (TreeSupervisionLoss(lopsided()).describe() for _ in range(2))
    assert one == same
    others = [
        TreeSupervisionLoss(balanced()),
        TreeSupervisionLoss(lopsided(), rule="hard"),
        TreeSupervisionLoss(lopsided(), weight=0.5),
        TreeSupervisionLoss(lopsided(), nn.MultiMarginLoss()),
        TreeSupervisionLoss(lopsided(), weight=Schedule(0, 1, 2)),
    ]
    assert len({one, *(other.describe() for other in others)}) == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "firm"}, "'soft' or 'hard'; given 'firm'"),
        ({"weight": -1.0}, "0 or more; given -1.0"),
        ({"weight": math.nan}, "number or a Schedule; given nan"),
        ({"weight": True}, "number or a Schedule; given True"),
        ({"criterion_weight": "1"}, "criterion_weight takes a number"),
        ({"criterion": 3}, "function of .output, target.*given int"),
        ({"rule": "hard", "criterion": nn.CrossEntropyLoss(weight=torch.ones(7))}, "class weights"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(SettingError, match=message):
        TreeSupervisionLoss(lopsided(), **settings)
    with pytest.raises(SettingError, match="induce"):
        TreeSupervisionLoss({"a": "tree"})
    for wrong in ({"start": math.inf, "end": 1}, {"start": 0, "end": 1, "power": 0}):
        with pytest.raises(SettingError):
            Schedule(**wrong)


def test_outputs_and_targets_that_do_not_fit():
    soft, hard = TreeSupervisionLoss(lopsided()), TreeSupervisionLoss(lopsided(), rule="hard")
    with pytest.raises(InputError, match=r"7 classes.*\(N, 7\) logits; given \(6, 8\)"):
        soft.tree_loss(logits(classes=8), TARGET)
    with pytest.raises(InputError, match="given dict"):
        soft.tree_loss({"logits": logits()}, TARGET)
    for target, message in (
        (torch.tensor([0, 7, 0, 0, 0, 0]), "classes 0 to 6 of the tree; given 7"),
        (torch.tensor([0, -100, 0, 0, 0, 0]), "given -100"),
        (torch.zeros(5, dtype=torch.long), r"\(6,\) class indices; given \(5,\)"),
        (torch.zeros(6, 7), "rule='soft' for targets"),
    ):
        with pytest.raises(TargetError, match=message):
            hard.tree_loss(logits(), target)
