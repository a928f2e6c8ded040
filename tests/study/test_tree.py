"""`seewhy.tree`: what a reading holds, under either rule, with and without maps, and where answers part."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import seewhy
from seewhy import trees
from seewhy.core.errors import NotFiniteError, OutputError, SettingError
from seewhy.study.tree import read_many, reading_plan
from seewhy.testing import networks
from seewhy.trees.rules import Rules

NESTED = {"left": [0, 3], "right": {"upper": [1, 4], "lower": [2]}}


class Fixed(nn.Module):
    """Answers with these logits, whatever it is given, through a layer with places."""

    def __init__(self, logits):
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 1)
        self.head = nn.Linear(2, len(logits))
        with torch.no_grad():
            self.head.bias.copy_(torch.tensor(logits))
            self.head.weight.mul_(1e-3)

    def forward(self, x):
        return self.head(self.layer(x).mean((2, 3)))


def picture(seed=0):
    return torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rule", ["marginal", "embedded"])
def test_a_reading_holds_the_tree_the_ways_and_a_map_for_each_turn(rule):
    network, x = networks.cnn(), picture()
    found = seewhy.tree(network, x, NESTED, rule=rule)
    hierarchy = found.tree
    with torch.no_grad():
        scores = network(x[None]).double()
    rules = Rules(hierarchy)
    turns = rules.turns(scores, rule)
    np.testing.assert_allclose(found.turns, turns[0].exp().numpy(), rtol=1e-5)
    np.testing.assert_allclose(found.reach, rules.reach(turns)[0].exp().numpy(), rtol=1e-5)
    assert found["network"].index == found.prediction.top[0].index == int(scores.argmax())
    assert found["soft"].index == int(rules.leaves(turns).argmax())
    assert found["hard"].index == int(rules.greedy(turns))
    assert found.path.probability == pytest.approx(float(rules.leaves(turns).max().exp()), rel=1e-4)
    assert set(found.maps) | set(found.reasons) == {step.child for step in found.path.steps}
    for node, made in found.maps.items():
        target = trees.turn(hierarchy, node, rule)
        alone = seewhy.attribute(network, x[None], seewhy.methods.GradCam(relu=False), target=target)
        torch.testing.assert_close(made.values, alone.values, atol=1e-6, rtol=1e-4)
        assert made.targets == (target,)
    assert found.rule == rule
    assert found.provenance["rule"] == found.rule_words
    assert any("fine-tuned" in note for note in found.notes) == (rule == "embedded")


def test_where_the_greedy_walk_and_the_network_part():
    """Class 0 has the most of all, and its side less than the other: 0.35 + 0.05 against 0.3 + 0.3."""
    chances = torch.tensor([0.35, 0.30, 0.30, 0.05])
    found = seewhy.tree(Fixed(chances.log().tolist()), picture(), {"a": [0, 3], "b": [1, 2]})
    assert (found["soft"].index, found["network"].index, found["hard"].index) == (0, 0, 1)
    assert not found.agree
    assert [(parting.one, parting.other) for parting in found.partings] == [("hard", "network"), ("hard", "soft")]
    parting = found.partings[0]
    assert (parting.name, parting.to_name, parting.toward_name) == ("all classes", "b", "a")
    np.testing.assert_allclose(parting.odds, [0.6, 0.4], atol=0.01)
    assert "The hard tree and the network part at 'all classes'" in str(parting)
    flat = seewhy.tree(Fixed(chances.log().tolist()), picture(), [0, 1, 2, 3])
    assert flat.agree
    assert flat.partings == ()


def test_only_children_and_failing_methods_leave_a_reason():
    found = seewhy.tree(Fixed([0.0, 0.0, 9.0, 0.0, 0.0]), picture(), NESTED)
    last = found.path.steps[-1]
    assert (last.probability, last.alternatives) == (pytest.approx(1.0), ())
    assert "no other way" in found.reasons[last.child]
    found = seewhy.tree(Fixed([0.0, 9.0, 0.0, 0.0, 0.0]), picture(), NESTED, method="cam")
    assert not found.maps
    assert all("grad-cam" in why for why in found.reasons.values())
    assert not seewhy.tree(networks.cnn(), picture(), NESTED, method=None).reasons


def test_a_soft_tree_brings_its_tree_and_its_rule():
    soft = trees.SoftTree(networks.cnn(), trees.from_nested(NESTED), "embedded")
    found = seewhy.tree(soft, picture(), method=None)
    assert (found.tree, found.rule) == (soft.tree, "embedded")
    assert found.path.index == soft.paths(picture()[None])[0].index
    assert seewhy.tree(soft, picture(), method=None, rule="marginal").rule == "marginal"


def test_black_boxes_have_ways_and_no_maps_of_layers():
    network = networks.cnn()
    found = seewhy.tree(lambda x: network(x).detach(), picture(), NESTED)
    assert found.path.index == seewhy.tree(network, picture(), NESTED).path.index
    assert not found.maps
    assert all("scores only" in why for why in found.reasons.values())
    assert seewhy.tree(lambda x: network(x).detach(), picture(), NESTED, method="occlusion").maps


def test_the_hierarchy_that_is_taken_if_none_is_named():
    words = seewhy.wrap(networks.cnn(), labels=["tabby", "beagle", "robin", "airliner", "mug"])
    assert seewhy.tree(words, picture(), method=None).tree.origin == "WordNet 3.0"
    numbers = seewhy.wrap(networks.cnn(), labels=list("abcde"))
    assert "induced from 'head'" in seewhy.tree(numbers, picture(), method=None).tree.origin
    with pytest.raises(SettingError, match="'wordnet', 'induced' or the path"):
        seewhy.tree(numbers, picture(), "wordnets")
    with pytest.raises(SettingError, match="nested dicts"):
        seewhy.tree(numbers, picture(), 7)


def test_what_is_no_classification_is_refused():
    with pytest.raises(OutputError, match="divides a probability of 1"):
        seewhy.tree(seewhy.wrap(networks.cnn(), output_kind="multilabel-logits"), picture(), NESTED)
    broken = Fixed([0.0, float("nan"), 0.0, 0.0, 0.0])
    with pytest.raises(NotFiniteError):
        seewhy.tree(broken, picture(), NESTED)


def test_one_bad_picture_leaves_the_others_alone():
    plan = reading_plan(networks.cnn(), NESTED, method=None)
    found = dict(read_many(plan, [picture(1), "missing.png", picture(2)][::2]))
    assert len(found) == 2
    done = [item for _, item in read_many(plan, [picture(1), "missing.png", picture(2)])]
    assert [type(item).__name__ for item in done] == ["TreeReading", type(done[1]).__name__, "TreeReading"]
    assert isinstance(done[1], seewhy.SeewhyError)
