"""Soft and hard trees over networks: what they answer, what explains them, what they leave alone."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import seewhy
from seewhy import targets, trees
from seewhy.core.errors import NotFiniteError, OutputError, SettingError, TargetError, UnsupportedModelError
from seewhy.testing import networks
from seewhy.trees.rules import Rules

NESTED = [[0, 3], [[1, 4], 2]]
VIEWS = [(kind, rule) for kind in (trees.SoftTree, trees.HardTree) for rule in ("marginal", "embedded")]


@pytest.fixture
def network():
    return networks.cnn()


def tree():
    return trees.from_nested(NESTED, [f"class {index}" for index in range(5)])


def inputs(rows=3):
    return networks.pictures(rows)


@pytest.mark.parametrize(("kind", "rule"), VIEWS)
def test_trees_answer_with_log_probabilities_and_name_their_class(network, kind, rule):
    view, x = kind(network, tree(), rule=rule), inputs(8)
    with torch.no_grad():
        answer, turns = view(x), Rules(tree()).turns(network(x), rule)
    torch.testing.assert_close(answer.exp().sum(1), torch.ones(8))
    rules = Rules(tree())
    expected = rules.leaves(turns).argmax(1) if kind is trees.SoftTree else rules.greedy(turns)
    assert answer.argmax(1).tolist() == expected.tolist()
    if kind is trees.SoftTree:
        torch.testing.assert_close(answer, rules.leaves(turns))
    assert [path.index for path in view.paths(x)] == expected.tolist()


def test_the_marginal_soft_tree_gives_the_networks_own_answer_bit_for_bit(network):
    x = inputs(8)
    with torch.no_grad():
        assert torch.equal(trees.SoftTree(network, tree())(x), network(x).log_softmax(1))


def test_decisions_are_the_turns_of_the_way_without_the_root(network):
    view, x = trees.SoftTree(network, tree(), "embedded"), inputs(4)
    with torch.no_grad():
        turns, answer = Rules(tree()).turns(network(x), "embedded").exp(), view(x)
    for row, found in enumerate(view.decisions(x)):
        way = tree().path(tree().leaf(int(answer[row].argmax())).index)[1:]
        assert [name for name, _ in found] == [tree()[node].name for node in way]
        np.testing.assert_allclose([p for _, p in found], turns[row, list(way)].numpy(), rtol=1e-5)
        assert np.prod([p for _, p in found]) == pytest.approx(float(answer[row].max().exp()), rel=1e-4)


def test_paths_say_what_was_not_taken(network):
    path = trees.HardTree(network, tree()).paths(inputs(1))[0]
    assert (path.walk, path.rule) == ("hard", "marginal")
    for step in path.steps:
        assert step.probability >= max(other.probability for other in step.alternatives)
        total = step.probability + sum(other.probability for other in step.alternatives)
        assert total == pytest.approx(1)
    assert str(path).startswith(f"Prediction: {path.name} // Decisions: {path.steps[0].name} (")


@pytest.mark.parametrize("rule", ["marginal", "embedded"])
@pytest.mark.parametrize("method", ["saliency", "grad-cam", "integrated-gradients", "occlusion", "rise", "kernel-shap"])
def test_a_nodes_decision_is_explained_as_the_same_log_odds_on_tree_and_network(network, method, rule):
    """A method sees one score, so what it says about the tree must be what it says about the network."""
    soft, x = trees.SoftTree(network, tree(), rule), inputs(1)
    node = tree().path(tree().leaf(1).index)[2]
    on_tree = seewhy.attribute(soft, x, method, target=soft.turn(node))
    on_network = seewhy.attribute(network, x, method, target=trees.turn(tree(), node, rule))
    odds = Rules(tree()).turns(network(x), rule)[0]
    (sibling,) = tree().siblings(node)
    assert float(on_tree.scores[0]) == pytest.approx(float(odds[node] - odds[sibling]), abs=1e-5)
    torch.testing.assert_close(on_tree.values, on_network.values, atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize(("kind", "rule"), VIEWS)
@pytest.mark.parametrize("method", ["saliency", "grad-cam", "guided-backprop", "score-cam", "occlusion", "i-gos"])
def test_methods_explain_a_trees_own_answer(network, kind, rule, method):
    view, x = kind(network, tree(), rule), inputs(1)
    found = seewhy.attribute(view, x, method)
    assert found.targets[0].index == int(view(x)[0].argmax())
    assert torch.isfinite(found.values).all()
    assert bool((found.values != 0).any()) or found.diagnostics["empty"] or kind is trees.HardTree


def test_a_hard_trees_gradient_is_the_soft_trees(network):
    x = inputs(1).requires_grad_()
    for rule in ("marginal", "embedded"):
        gradients = [
            torch.autograd.grad(kind(network, tree(), rule)(x)[0, 2], x)[0] for kind in (trees.SoftTree, trees.HardTree)
        ]
        torch.testing.assert_close(gradients[0], gradients[1])


def test_turns_as_targets_are_data():
    one = trees.turn(tree(), 1)
    assert one == trees.turn(tree(), tree()[1])
    assert hash(one) == hash(trees.turn(tree(), 1))
    assert one != trees.turn(tree(), 1, "embedded")
    assert pickle.loads(pickle.dumps(one)) == one
    animals = trees.from_nested({"animal": ["cat", "dog"], "vehicle": ["car"], "plant": ["oak"]})
    assert targets.Turn((0, 1), ((2,), (3,))) == trees.turn(animals, "animal")
    assert trees.turn(animals, "animal").name == "animal rather than vehicle or plant"
    with pytest.raises(SettingError, match="'all classes' is the root"):
        trees.turn(animals, 0)
    with pytest.raises(SettingError, match="once"):
        targets.Turn((0, 1), ((1,),))
    with pytest.raises(SettingError, match="others"):
        targets.Turn((0,), ())


def test_turns_are_kept_in_files_and_told_in_words(network, tmp_path):
    animals = trees.from_nested({"animal": ["cat", "dog", "owl"], "vehicle": ["car", "bus"]})
    target = trees.turn(animals, "animal")
    found = seewhy.explain(network, inputs(1), ["grad-cam", "cam"], target)
    assert list(found.targets) == ["animal rather than vehicle"]
    loaded = seewhy.load_explanation(found.save(tmp_path / "turn.json"))
    assert loaded["grad-cam"].targets == (target,)
    assert "Why “animal” rather than “vehicle”?" in (found.save(tmp_path / "turn.html")).read_text()
    with pytest.raises(TargetError, match="Use 'grad-cam'"):
        found["cam"]


def test_turns_are_refused_where_classes_share_no_softmax():
    multilabel = nn.Sequential(networks.cnn(), nn.Sigmoid())
    with pytest.raises(TargetError, match="exclude each other"):
        seewhy.attribute(
            seewhy.wrap(multilabel, output_kind="sigmoid"), inputs(1), "saliency", targets.Turn((0,), ((1,),))
        )
    with pytest.raises(TargetError, match="between 0 and 4"):
        seewhy.attribute(networks.cnn(), inputs(1), "saliency", targets.Turn((0,), ((5,),)))


@pytest.mark.parametrize(("kind", "rule"), VIEWS)
def test_the_network_is_left_as_it_was(kind, rule):
    network = networks.NormalisedCnn()
    network.train()
    network.conv.requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    view = kind(network, tree(), rule)
    assert view.network is network
    view.decisions(inputs(2))
    seewhy.attribute(view, inputs(1), "grad-cam")
    assert network.training
    assert network.norm.training
    assert not network.conv.weight.requires_grad
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert {name.removeprefix("network.") for name in view.state_dict()} == set(before)


def test_pictures_go_through_the_models_own_preprocessing(network):
    steps = lambda picture: torch.from_numpy(np.array(picture.resize((8, 8)))).permute(2, 0, 1) / 255  # noqa: E731
    model = seewhy.wrap(network, preprocess=steps, labels=[f"class {index}" for index in range(5)], value_range=(0, 1))
    soft = trees.SoftTree(model, tree())
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8))
    assert len(soft.decisions(picture)) == 1
    explained = seewhy.explain(soft, picture, ["grad-cam"])
    assert explained.prediction.top[0].label == soft.decisions(picture)[0][-1][0]
    assert "hierarchical read-out of the network's softmax" in explained.model
    with pytest.raises(SettingError, match="no preprocessing"):
        trees.SoftTree(network, tree()).decisions(picture)


def test_networks_that_answer_with_a_softmax_or_give_scores_only(network):
    x = inputs(3)
    ended = nn.Sequential(network, nn.Softmax(1))
    expected = trees.SoftTree(network, tree()).decisions(x)
    for other in (ended, lambda x: network(x).detach()):
        found = trees.SoftTree(other, tree()).decisions(x)
        for one, two in zip(found, expected, strict=True):
            assert [name for name, _ in one] == [name for name, _ in two]
            np.testing.assert_allclose([p for _, p in one], [p for _, p in two], rtol=1e-4)
    box = trees.SoftTree(lambda x: network(x).detach(), tree())
    found = seewhy.attribute(box, x[:1], "occlusion", target=box.turn(1))
    assert bool((found.values != 0).any())
    with pytest.raises(UnsupportedModelError, match="black box"):
        seewhy.attribute(box, x[:1], "grad-cam")
    with pytest.raises(UnsupportedModelError, match="rule='marginal'"):
        trees.SoftTree(lambda x: network(x), tree(), "embedded")


def test_what_cannot_be_read_along_a_tree_is_refused(network):
    with pytest.raises(SettingError, match=r"takes 'marginal' or 'embedded'.*Did you mean"):
        trees.SoftTree(network, tree(), "embeded")
    with pytest.raises(SettingError, match="tree takes"):
        trees.SoftTree(network, "wordnet")
    three = trees.from_nested([[0, 1], 2])
    with pytest.raises(OutputError, match=r"between 3 classes.*5"):
        trees.SoftTree(network, three).decisions(inputs(1))
    with pytest.raises(SettingError, match="3 classes, and the network's last linear layer 'head' 5"):
        trees.SoftTree(network, three, "embedded")
    with pytest.raises(OutputError, match=r"'sigmoid'.*logits"):
        trees.SoftTree(seewhy.wrap(network, output_kind="sigmoid"), tree()).decisions(inputs(1))
    one = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1))
    with pytest.raises(OutputError, match=r"between 5 classes.*\(3, 1\)"):
        trees.SoftTree(one, tree()).decisions(inputs(3))


def test_networks_that_answer_nan_are_refused(network):
    with torch.no_grad():
        network.head.weight[2, 0] = float("nan")
    with pytest.raises(NotFiniteError, match="row 0"):
        trees.SoftTree(network, tree()).decisions(inputs(2))


def test_a_tree_is_trained_through(network):
    soft, x = trees.SoftTree(network, tree(), "embedded"), inputs(6)
    soft.train()
    optimiser = torch.optim.Adam(soft.parameters(), 0.05)
    losses = []
    for _ in range(30):
        loss = nn.functional.nll_loss(soft(x), torch.tensor([0, 1, 2, 3, 4, 0]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
