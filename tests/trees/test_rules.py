"""Decision rules against the paper's formulas, written again as slow loops over nodes, and against what must hold."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from seewhy.core.errors import InputError, SettingError
from seewhy.core.hierarchy import Tree
from seewhy.trees.rules import Rules

RULES = ("marginal", "embedded")


def lopsided() -> Tree:
    """Nodes with 2, 3 and 1 children, leaves at several depths, classes out of order."""
    #          0     1  2  3  4  5  6  7  8  9  10 11
    return Tree.of([None, 0, 0, 0, 1, 1, 1, 2, 7, 7, 4, 4], {3: 2, 5: 0, 6: 5, 8: 1, 9: 3, 10: 4, 11: 6})


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Any tree of up to 12 classes: nodes are hung on earlier inner nodes, childless ones are classes."""
    inner = draw(st.integers(1, 8))
    parents: list[int | None] = [None] + [draw(st.integers(0, node - 1)) for node in range(1, inner)]
    childless = [node for node in range(inner) if node not in parents]
    for node in [*childless, *draw(st.lists(st.integers(0, inner - 1), min_size=1, max_size=4)), 0]:
        parents.append(node)
    leaves = list(range(inner, len(parents)))
    order = draw(st.permutations(range(len(leaves))))
    return Tree.of(parents, dict(zip(leaves, order, strict=True)))


def logits(classes: int, rows: int = 3, scale: float = 4.0) -> torch.Tensor:
    return scale * torch.randn(rows, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(classes))


def slow_turns(tree: Tree, scores: list[float], rule: str) -> list[float]:
    """The probability of each node among its siblings, in plain Python."""
    found = [1.0] * len(tree)

    def weight(node: int) -> float:
        below = [scores[one] for one in tree.classes_below(node)]
        return sum(map(math.exp, below)) if rule == "marginal" else math.exp(sum(below) / len(below))

    for node in tree.inner:
        whole = sum(weight(child) for child in node.children)
        for child in node.children:
            found[child] = weight(child) / whole
    return found


@pytest.mark.parametrize("rule", RULES)
@given(tree=trees())
def test_turns_are_those_of_the_formulas(tree, rule):
    scores = logits(tree.classes)
    found = Rules(tree).turns(scores, rule).exp()
    expected = torch.tensor([slow_turns(tree, row, rule) for row in scores.tolist()], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("rule", RULES)
@given(tree=trees())
def test_probabilities_sum_to_one_at_every_node_and_over_all_classes(tree, rule):
    rules = Rules(tree)
    turns = rules.turns(logits(tree.classes), rule)
    for node in tree.inner:
        total = turns[:, list(node.children)].exp().sum(1)
        torch.testing.assert_close(total, torch.ones_like(total))
    total = rules.leaves(turns).exp().sum(1)
    torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("rule", RULES)
@given(tree=trees())
def test_leaves_are_products_of_turns_and_the_greedy_walk_takes_the_likeliest(tree, rule):
    rules = Rules(tree)
    turns = rules.turns(logits(tree.classes), rule)
    leaves, reach, greedy = rules.leaves(turns), rules.reach(turns), rules.greedy(turns)
    for row, odds in enumerate(turns.tolist()):
        for leaf in range(tree.classes):
            way = tree.path(tree.leaf(leaf).index)
            assert leaves[row, leaf].item() == pytest.approx(sum(odds[node] for node in way))
        for node in range(len(tree)):
            assert reach[row, node].item() == pytest.approx(sum(odds[above] for above in tree.path(node)))
        here = tree.root
        while here.children:
            here = tree[max(here.children, key=odds.__getitem__)]
        assert greedy[row].item() == here.leaf


@given(tree=trees())
def test_the_marginal_soft_tree_is_the_networks_softmax(tree):
    scores = logits(tree.classes)
    rules = Rules(tree)
    torch.testing.assert_close(rules.leaves(rules.turns(scores, "marginal")), scores.log_softmax(1))


def test_the_papers_inner_products_on_a_two_level_network():
    """Node vectors are means of the leaves' weight rows; the root weighs inner products with them."""
    generator = torch.Generator().manual_seed(0)
    weight, features = torch.randn(4, 3, generator=generator), torch.randn(2, 3, generator=generator)
    tree = Tree.of([None, 0, 0, 1, 1, 2, 2], {3: 0, 4: 2, 5: 1, 6: 3})
    pairs = torch.stack([(weight[0] + weight[2]) / 2, (weight[1] + weight[3]) / 2])
    top = (features @ pairs.T).softmax(1)
    left, right = (features @ weight[[0, 2]].T).softmax(1), (features @ weight[[1, 3]].T).softmax(1)
    expected = torch.stack(
        [top[:, 0] * left[:, 0], top[:, 1] * right[:, 0], top[:, 0] * left[:, 1], top[:, 1] * right[:, 1]], 1
    )
    rules = Rules(tree)
    torch.testing.assert_close(rules.leaves(rules.turns(features @ weight.T, "embedded")).exp(), expected)


def test_a_flat_tree_is_the_softmax_under_either_rule():
    tree = Tree.of([None, 0, 0, 0, 0, 0], {node: node - 1 for node in range(1, 6)})
    scores = logits(5)
    for rule in RULES:
        torch.testing.assert_close(Rules(tree).leaves(Rules(tree).turns(scores, rule)), scores.log_softmax(1))
        assert Rules(tree).greedy(Rules(tree).turns(scores, rule)).tolist() == scores.argmax(1).tolist()


@pytest.mark.parametrize("rule", RULES)
def test_a_number_added_to_all_of_a_rows_scores_changes_nothing(rule):
    rules, scores = Rules(lopsided()), logits(7)
    torch.testing.assert_close(rules.turns(scores + 11.0, rule), rules.turns(scores, rule))


@pytest.mark.parametrize("rule", RULES)
def test_scores_far_apart_neither_overflow_nor_underflow(rule):
    scores = torch.tensor([[0.0, -2000.0, 3000.0, 1.0, -4000.0, 5.0, -4001.0]], dtype=torch.float64)
    turns = Rules(lopsided()).turns(scores, rule)
    assert torch.isfinite(turns).all()
    tree = lopsided()
    deep = [tree.leaf(4).index, tree.leaf(6).index]
    torch.testing.assert_close(turns[0, deep].exp(), torch.tensor([math.e, 1.0], dtype=torch.float64) / (1 + math.e))


@pytest.mark.parametrize("rule", RULES)
def test_gradients_are_those_of_finite_differences(rule):
    rules = Rules(lopsided())
    scores = logits(7).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: rules.leaves(rules.turns(s, rule)), (scores,))


def test_of_equal_turns_the_first_is_taken():
    tree = lopsided()
    turns = Rules(tree).turns(torch.zeros(1, 7), "embedded")
    assert Rules(tree).greedy(turns).tolist() == [tree.classes_below(tree.root.index)[0]]


def test_a_chain_as_deep_as_it_has_classes():
    count = 300
    parents: list[int | None] = [None]
    for node in range(count - 2):
        parents.append(node)
    ends = [*range(count - 1), count - 2]
    tree = Tree.of([*parents, *ends], {count - 1 + leaf: leaf for leaf in range(count)})
    assert tree.depth == count - 1
    scores = logits(count)
    rules = Rules(tree)
    torch.testing.assert_close(rules.leaves(rules.turns(scores, "marginal")), scores.log_softmax(1))


def test_scores_of_other_classes_and_unknown_rules_are_refused():
    with pytest.raises(InputError, match=r"7 classes.*\(3, 5\)"):
        Rules(lopsided()).turns(logits(5), "marginal")
    with pytest.raises(SettingError, match="Did you mean 'marginal'"):
        Rules(lopsided()).turns(logits(7), "margin")  # type: ignore[arg-type]
