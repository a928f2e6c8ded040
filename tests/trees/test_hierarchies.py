"""Hierarchies: what a tree is and is not, induced, WordNet's, written by people, named, saved."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import seewhy
from seewhy import trees
from seewhy.core.errors import InputError, NotFiniteError, SettingError, UnknownNameError, UnsupportedModelError
from seewhy.core.hierarchy import Tree
from seewhy.models.labels import imagenet_labels
from seewhy.testing import networks
from seewhy.trees.lexicon import EMPTY_WORDS, imagenet_synsets, synsets_of
from seewhy.trees.taxonomy import wordnet

PETS = {"animal": {"pet": ["cat", "dog"], "bird": None}, "vehicle": ["car", "truck"]}
LABELS = ("truck", "cat", "bird", "car", "dog")


def shape(tree, index=0):
    """The tree as nested sets of class indices."""
    node = tree[index]
    return node.leaf if node.leaf is not None else frozenset(shape(tree, child) for child in node.children)


def test_a_tree_tells_what_hangs_where():
    tree = trees.from_nested(PETS, LABELS)
    assert shape(tree) == frozenset({frozenset({frozenset({1, 4}), 2}), frozenset({3, 0})})
    assert tree.labels == LABELS
    pet = tree.find("pet")
    assert [tree[place].name for place in tree.path(tree.leaf(4).index)] == ["all classes", "animal", "pet", "dog"]
    assert set(tree.classes_below(pet.index)) == {1, 4}
    assert [tree[place].name for place in tree.siblings(pet.index)] == ["bird"]
    assert tree[tree.parting(tree.leaf(1).index, tree.leaf(2).index)].name == "animal"
    assert tree.parting(pet.index, tree.leaf(1).index) == pet.index
    assert (tree.depth, tree.depth_of(pet.index)) == (3, 2)
    with pytest.raises(UnknownNameError, match="Did you mean 'animal'"):
        tree.find("animals")


@pytest.mark.parametrize(
    ("parents", "leaves", "message"),
    [
        ([], {}, "no nodes|one root"),
        ([None, 0, 0], {1: 0, 2: 0}, r"repeated: 0 .*2 times.*missing: 1"),
        ([None, 0, 0], {1: 0, 2: 2}, "missing: 1; unknown: 2"),
        ([None, 0], {1: 0}, "at least 2; given 1"),
        ([None], {0: 0}, "at least 2; given 1"),
        ([None, 0, 0, 1], {2: 0, 3: 1, 1: 2}, "leaf of its own"),
        ([None, 0, 0, 0], {1: 0, 2: 1}, "no class below it"),
        ([None, None, 0, 1], {2: 0, 3: 1}, "one root"),
        ([None, 2, 1, 0, 0], {3: 0, 4: 1}, "circle"),
        ([None, 7], {1: 0}, "0 to 1"),
    ],
)
def test_what_is_no_tree_is_refused(parents, leaves, message):
    with pytest.raises(SettingError, match=message):
        Tree.of(parents, leaves)


def test_a_tree_survives_as_plain_data_and_as_a_file(tmp_path):
    tree = trees.from_nested(PETS, LABELS)
    assert Tree.from_dict(json.loads(json.dumps(tree.to_dict()))) == tree
    assert trees.load_tree(tree.save(tmp_path / "tree.json"), LABELS) == tree
    assert [path.name for path in tmp_path.iterdir()] == ["tree.json"]


def test_files_that_cannot_be_read_say_why(tmp_path):
    path = trees.from_nested(PETS, LABELS).save(tmp_path / "tree.json")
    text = path.read_text()
    newer = tmp_path / "newer.json"
    newer.write_text(text.replace('"schema": 1', '"schema": 2'))
    with pytest.raises(SettingError, match=r"schema version 2.*reads version 1"):
        trees.load_tree(newer)
    path.write_text(text[: len(text) // 2])
    with pytest.raises(SettingError, match="not a whole JSON file"):
        trees.load_tree(path)
    path.write_text(text.replace('"class": 4', '"class": 1'))
    with pytest.raises(SettingError, match=r"damaged.*repeated: 1"):
        trees.load_tree(path)
    path.write_text("[" * 100_000)
    with pytest.raises(SettingError, match="JSON"):
        trees.load_tree(path)
    with pytest.raises(SettingError, match="cannot be read"):
        trees.load_tree(tmp_path / "none.json")
    newer.write_text(text)
    with pytest.raises(SettingError, match="another order: class 0"):
        trees.load_tree(newer, LABELS[::-1])
    with pytest.raises(SettingError, match="5 classes and the model 2"):
        trees.load_tree(newer, ("a", "b"))


def test_hierarchies_that_people_write(tmp_path):
    expected = trees.from_nested(PETS, LABELS)
    drawn = {
        "name": "all classes",
        "children": [
            {"name": "animal", "children": [{"name": "pet", "children": [{"name": "cat"}, "dog"]}, {"name": "bird"}]},
            {"name": "vehicle", "children": ["car", "truck"]},
        ],
    }
    assert trees.from_nested(drawn, LABELS).nodes == expected.nodes
    (tmp_path / "own.json").write_text(json.dumps(PETS))
    assert trees.load_tree(tmp_path / "own.json", LABELS).nodes == expected.nodes
    assert trees.from_nested([["0", 1], 2]).labels == ("0", "1", "2")
    assert trees.from_nested([["tabby", "Persian cat"], "robin"]).nodes[1].name == "domestic cat"
    assert shape(trees.from_nested([[0, 3], [2, 1]])) == frozenset({frozenset({0, 3}), frozenset({1, 2})})
    assert trees.from_nested([["b", "c"], "a"]).labels == ("b", "c", "a")
    by_index = trees.from_nested({"a": [1, 4], "b": [0, 2, 3]}, LABELS)
    assert by_index.labels == LABELS
    graph = SimpleNamespace()
    edges = {"top": ["animal", "vehicle"], "animal": ["cat", "dog", "bird"], "vehicle": ["car", "truck"]}
    graph.nodes = {name: {} for name in ("cat", "dog", "bird", "car", "truck", *edges)}
    graph.successors = lambda node: edges.get(node, [])
    graph.predecessors = lambda node: [up for up, below in edges.items() if node in below]
    assert shape(trees.from_networkx(graph, LABELS)) == frozenset({frozenset({1, 4, 2}), frozenset({3, 0})})
    edges["vehicle"].append("dog")
    with pytest.raises(SettingError, match="'dog' has 2"):
        trees.from_networkx(graph, LABELS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": ["cat", "dog"], "b": ["car", "truck"]}, r"missing: 2 \('bird'\)"),
        ({"a": ["cat", "dog", "cat"], "b": ["car", "truck", "bird"]}, r"repeated: 1 \('cat', 2 times\)"),
        ({"a": ["cat", "dgo"], "b": ["car", "truck", "bird"]}, r"'dgo' is none of the 5.*'dog'"),
        ({"a": ["cat", "dog"], "b": [3, 0, 9]}, "missing: 2.*unknown: 9"),
        ({"a": "cat", "b": ["dog"]}, "has a dict, a list"),
        ([None], "holds classes, lists or dicts"),
        ({}, "."),
    ],
)
def test_hierarchies_that_miss_or_repeat_a_class_are_refused(content, message):
    with pytest.raises(SettingError, match=message):
        trees.from_nested(content, LABELS)


def test_a_leaf_must_be_a_label_and_not_merely_part_of_one():
    with pytest.raises(SettingError, match="'dog' is none"):
        trees.from_nested([["dog"], ["pizza"]], ["hot dog", "pizza"])


def corners() -> np.ndarray:
    """Two pairs of near rows, far from each other, and one alone; lengths differ, which must not matter."""
    return np.array([[1, 0.1, 0], [0, 1, 0.2], [10, 0, 0], [0, 0.1, 0.1], [-1, -1, -5]], dtype=np.float64)


@pytest.mark.parametrize("linkage", ["ward", "average", "complete", "single", "weighted", "centroid", "median"])
def test_classes_with_like_weights_hang_together(linkage):
    tree = trees.induce(W=corners(), linkage=linkage)
    below = {frozenset(tree.classes_below(node.index)) for node in tree.inner}
    assert {frozenset({0, 2}), frozenset({1, 3})} <= below
    assert all(len(node.children) == 2 for node in tree.inner)
    assert trees.induce(W=torch.tensor(corners()), linkage=linkage) == tree


def test_branching_opens_the_last_merges():
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((40, 6))
    binary = trees.induce(W=vectors)
    wide = trees.induce(W=vectors, branching=4)
    assert max(len(node.children) for node in wide.inner) == 4
    clusters = {frozenset(binary.classes_below(node.index)) for node in binary}
    assert {frozenset(wide.classes_below(node.index)) for node in wide} <= clusters
    assert wide.depth < binary.depth
    flat = trees.induce(W=vectors, branching=40)
    assert len(flat.root.children) == 40
    assert list(flat.labels) == [f"class {index}" for index in range(40)]


def test_two_classes_and_equal_rows_are_fine_and_one_class_is_not():
    assert shape(trees.induce(W=[[1.0, 0.0], [0.0, 1.0]])) == frozenset({0, 1})
    twins = trees.induce(W=[[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 0.0]])
    assert frozenset({0, 2}) in {frozenset(twins.classes_below(node.index)) for node in twins.inner}
    assert sorted(trees.induce(W=np.ones((6, 3))).classes_below(0)) == list(range(6))
    with pytest.raises(SettingError, match="at least 2; given 1"):
        trees.induce(W=[[1.0, 2.0]])


def test_weights_that_are_no_numbers_are_named():
    weights = corners()
    weights[3, 1] = np.nan
    with pytest.raises(NotFiniteError, match="classes 3 hold NaN"):
        trees.induce(W=weights)
    with pytest.raises(InputError, match=r"\(5,\)"):
        trees.induce(W=weights[:, 0])
    with pytest.raises(SettingError, match="Did you mean 'ward'"):
        trees.induce(W=corners(), linkage="wards")
    with pytest.raises(SettingError, match=r"2 .binary. or more"):
        trees.induce(W=corners(), branching=1)
    with pytest.raises(SettingError, match="neither"):
        trees.induce()
    with pytest.raises(SettingError, match="each of the 5 classes; given 1"):
        trees.induce(W=corners(), labels=["a"])


def test_the_weights_of_the_last_linear_layer_are_found():
    network = networks.cnn()
    tree = trees.induce(network)
    assert tree.nodes == trees.induce(W=network.head.weight).nodes
    assert tree.settings["layer"] == "head"
    steps = seewhy.wrap(
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    )
    assert trees.induce(steps).settings["layer"] == "4"
    convolution = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 6, 1), nn.Flatten())
    assert trees.induce(convolution).nodes == trees.induce(W=convolution[2].weight.flatten(1)).nodes


def test_the_layer_that_speaks_last_counts_and_not_the_last_one_registered():
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 4)
            self.auxiliary = nn.Linear(3, 4)

        def forward(self, x):
            pooled = x.mean((2, 3))
            self.auxiliary(pooled)
            return self.head(pooled)

    network = Auxiliary().eval()
    model = seewhy.wrap(network, preprocess="torchvision:resnet18", labels=["a", "b", "c", "d"])
    assert trees.induce(model).nodes == trees.induce(W=network.head.weight, labels=model.labels).nodes


def test_networks_without_a_linear_head_are_refused_with_a_way_out():
    headless = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(UnsupportedModelError, match=r"no linear layer.*marginal"):
        trees.induce(headless)
    with pytest.raises(UnsupportedModelError, match=r"(?s)scores only.*W="):
        trees.induce(lambda x: x.mean((2, 3)))


def test_imagenets_synsets_are_in_the_order_of_its_classes():
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    assert list(imagenet_synsets()) == [info.index_to_label_name(index) for index in range(1000)]
    assert synsets_of(imagenet_labels()) == imagenet_synsets()


def test_a_persian_cat_is_what_wordnet_says():
    known = trees.word_net()
    assert known.name("n02123394") == "Persian cat"
    above = [known.name(synset) for synset in known.hypernyms("n02123394")]
    assert [name for name in above if name in {"carnivore", "placental", "mammal", "chordate", "animal"}] == [
        "carnivore",
        "placental",
        "mammal",
        "chordate",
        "animal",
    ]
    assert known.find("Persian cat") == "n02123394"
    assert known.name(known.lowest_common(["n02123394", "n02099712"])) == "carnivore"
    with pytest.raises(UnknownNameError, match="2 meanings"):
        known.find("crane")
    with pytest.raises(UnknownNameError, match="Did you mean"):
        known.find("Persian cta")


def test_wordnets_tree_over_imagenet():
    tree = wordnet(imagenet_labels())
    assert tree.classes == 1000
    assert tree.labels == imagenet_labels()
    way = [tree[place].name for place in tree.path(tree.leaf(283).index)]
    assert way[1:6] == ["living thing", "animal", "chordate", "mammal", "placental"]
    assert way[6:] == ["carnivore", "feline", "cat", "domestic cat", "Persian cat"]
    known = trees.word_net()
    for node in tree.inner:
        assert len(node.children) > 1, node.name
        for child in node.children:
            assert node.index == 0 or node.synset in known.above(tree[child].synset)
    assert not EMPTY_WORDS & {node.synset for node in tree.nodes[1:]}


def test_wordnets_tree_over_other_labels():
    tree = wordnet(["cat", "corgi", "n02119789", "airliner", "dog"])
    carnivore = tree[tree.root.children[0]]
    assert set(tree.classes_below(carnivore.index)) == {0, 1, 2, 4}
    dog = tree[tree.leaf(4).index].parent
    assert (tree[dog].name, set(tree.classes_below(dog))) == ("dog", {1, 4})
    with pytest.raises(SettingError, match="'crane', 'blorp'"):
        wordnet(["crane", "tabby", "blorp"])
    with pytest.raises(SettingError, match="no labels"):
        wordnet(networks.cnn())
    assert [node.name for node in wordnet(["tabby", "Persian cat"])] == ["domestic cat", "tabby", "Persian cat"]


def node_names(nested, labels):
    tree = trees.named(trees.from_nested(nested, labels))
    return {frozenset(tree.classes_below(node.index)): node.name for node in tree.inner}


def test_nodes_are_called_by_what_is_below_and_not_beside():
    labels = ["tabby", "beagle", "robin", "sports car", "airliner", "mug"]
    names = node_names([[["tabby", "beagle"], "robin"], [["sports car", "airliner"], "mug"]], labels)
    assert names[frozenset({0, 1, 2})] == "vertebrate"  # the lowest that all three are
    assert names[frozenset({3, 4, 5})] == "instrumentality"
    assert names[frozenset({0, 1})] == "carnivore"
    assert names[frozenset(range(6))] == "all classes"


def test_nodes_that_no_single_word_fits():
    labels = ["tabby", "Persian cat", "beagle", "sports car", "robin", "jay", "7", "8", "9", "10"]
    names = node_names(
        [["tabby", "robin"], ["Persian cat", "jay"], ["beagle", "sports car", "7", "8", "9", "10"]], labels
    )
    assert names[frozenset({0, 4})] == "tabby and robin"
    assert re.fullmatch(r".+, .+ and 4 more", names[frozenset({2, 3, 6, 7, 8, 9})])
    mixed = node_names(
        [["tabby", "Persian cat", "robin", "jay"], ["sports car", "beagle", "7", "8", "9", "10"]], labels
    )
    assert mixed[frozenset({0, 1, 4, 5})] == "domestic cat and oscine"


def test_names_without_words_name_the_classes():
    tree = trees.induce(W=corners(), labels=list("02468"))
    assert {node.name for node in tree.inner} >= {"0 and 4", "2 and 6", "all classes"}


def test_names_of_an_induced_tree_keep_what_they_promise():
    """Exact names fit all classes below a node and none of its siblings'."""
    labels = imagenet_labels()
    vectors = np.random.default_rng(0).standard_normal((1000, 8))
    vectors[:400] += 4  # mostly animals
    tree = trees.induce(W=vectors, labels=labels, branching=3)
    known, synsets, exact = trees.word_net(), imagenet_synsets(), 0
    for node in tree.inner[1:]:
        assert node.name
        if node.synset is None or node.name.startswith("mostly "):
            continue
        exact += 1
        beside = set(tree.classes_below(node.parent)) - set(tree.classes_below(node.index))
        assert all(node.synset in known.above(synsets[leaf]) for leaf in tree.classes_below(node.index))
        assert not any(node.synset in known.above(synsets[leaf]) for leaf in beside)
    assert exact > 10
