"""Figures of trees and decisions: every node in its place, nothing cut off, what is drawn is what was found."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from tree_records import NAMES, large_tree, reading, small_tree

from seewhy.core.errors import SettingError, UnknownNameError
from seewhy.core.hierarchy import Tree
from seewhy.render.tree import plot_reading, plot_tree, save_reading, save_tree
from seewhy.render.tree_layout import Spot, opened, spots
from seewhy.render.tree_words import percent


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def inside(figure: Figure) -> bool:
    """Whether all texts lie within the figure and no two of them overlap."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in figure.texts if text.get_text()]
    whole = figure.bbox
    held = all(whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1 for box in boxes)
    clash = any(
        min(one.x1, two.x1) - max(one.x0, two.x0) > 1 and min(one.y1, two.y1) - max(one.y0, two.y0) > 2
        for place, one in enumerate(boxes)
        for two in boxes[:place]
    )
    return held and not clash


# -------------------------------------------------------------------------------------------------------- places


def test_small_tree_has_known_places():
    tree = small_tree()
    shown = opened(tree, 0, 60)
    assert shown == {0, 1, 3, 6}
    assert spots(tree, 0, shown) == {
        0: Spot(0, 2.125),
        1: Spot(1, 0.75),
        2: Spot(2, 0),
        3: Spot(2, 1.5),
        4: Spot(3, 1),
        5: Spot(3, 2),
        6: Spot(1, 3.5),
        7: Spot(2, 3),
        8: Spot(2, 4),
    }


@pytest.mark.parametrize("lines", [2, 5, 17, 60, 400, 1000])
def test_no_more_ends_than_asked_for_and_every_class_below_exactly_one(lines):
    tree = large_tree(400, branching=2)
    where = spots(tree, 0, opened(tree, 0, lines))
    ends = [node for node in where if not any(child in where for child in tree[node].children)]
    assert len(ends) == min(lines, 400)
    held = [leaf for node in ends for leaf in tree.classes_below(node)]
    assert sorted(held) == list(range(400))
    assert [where[node].line for node in sorted(ends)] == list(range(len(ends)))
    assert all(where[node].folded == bool(tree[node].children) for node in ends)


def test_the_largest_branches_are_unfolded_first():
    # 3 classes at the left, 10 at the right, each a chain of pairs
    parents: list[int | None] = [None, 0, 1, 1, 3, 3, 0]
    leaves = {2: 0, 4: 1, 5: 2}
    above = 6
    for leaf in range(3, 12):
        parents += [above, above]
        leaves[len(parents) - 2] = leaf
        above = len(parents) - 1
    leaves[above] = 12
    tree = Tree.of(parents, leaves)
    shown = opened(tree, 0, 6)
    right = [node for node in shown if node > tree[0].children[1] - 1]
    assert len(right) == 4
    assert tree[0].children[0] not in shown
    wanted = opened(tree, 0, 2, always=[tree.leaf(2).index])
    assert set(tree.path(tree.leaf(2).index)[:-1]) <= wanted


# -------------------------------------------------------------------------------------------------------- the tree


def test_the_tree_names_every_node_and_cuts_nothing_off():
    figure = plot_tree(small_tree())
    shown = texts(figure)
    assert set(NAMES) - {"all classes"} <= set(shown)
    assert "made by hand · 5 classes · 4 inner nodes · at most 3 turns" in shown
    assert inside(figure)
    long = plot_tree(small_tree([f"a name of {name} that is longer than any column" for name in NAMES]))
    assert inside(long)


def test_folded_branches_say_how_much_they_hold():
    figure = plot_tree(large_tree(1000), lines=30)
    counts = [int(found.group(1)) for text in texts(figure) if (found := re.search(r" · (\d+) classes$", text))]
    assert sum(counts) == 1000
    assert len(counts) <= 30
    assert inside(figure)


def test_one_can_look_into_a_branch():
    tree = small_tree()
    for root in ("cat", 3):
        shown = texts(plot_tree(tree, root=root))
        assert shown[0] == "cat"
        assert {"tabby", "lynx"} <= set(shown)
        assert "bird" not in shown
        assert shown[1].startswith("a branch with 2 classes")
    assert "tabby" in texts(tree.plot(root="tabby"))
    with pytest.raises(UnknownNameError, match="Did you mean 'cat'"):
        plot_tree(tree, root="cats")
    for wrong in (9, -1, True):
        with pytest.raises(UnknownNameError, match="0 to 8"):
            plot_tree(tree, root=wrong)
    for lines in (1, 1501, 2.5, True):
        with pytest.raises(SettingError, match="2 to 1500"):
            plot_tree(tree, lines=lines)


# ---------------------------------------------------------------------------------------------------- the decision


def test_the_path_has_every_turn_its_siblings_and_its_odds():
    one = reading()
    figure = plot_reading(one)
    shown = texts(figure)
    for step in one.path.steps:
        assert step.name in shown
        assert percent(step.probability) in shown
        for other in step.alternatives:
            assert other.name in shown
            assert percent(other.probability) in shown
    assert "tabby: 3 turns down the tree" in shown
    assert "Soft tree, hard tree and network all say 'tabby'." in shown
    assert any("hierarchical read-out of the network's softmax" in text for text in shown)
    assert "This turn has no positive" in shown
    assert inside(figure)


def test_bars_are_as_long_as_the_odds():
    one = reading()
    figure = plot_reading(one)
    width = figure.get_size_inches()[0]
    lengths = [patch.get_width() * width for patch in figure.artists if patch.get_facecolor()[:3] != (1, 1, 1)]
    for step in one.path.steps:
        for share in (step.probability, *(other.probability for other in step.alternatives)):
            assert any(abs(length - 0.9 * share) < 1e-6 for length in lengths)


def test_maps_are_drawn_once_each():
    def pictures(figure: Figure) -> int:
        return sum(len(axes.images) for axes in figure.axes)

    assert pictures(plot_reading(reading())) == 3  # the photograph and two maps
    assert pictures(plot_reading(reading(maps={}, reasons={}))) == 1
    bare = plot_reading(reading(maps={}, reasons={}, picture=None, view=None))
    assert pictures(bare) == 0
    assert inside(bare)


def test_where_they_part_it_says_so_at_the_node():
    figure = plot_reading(reading(scores=(3.0, -1.0, 0.0, 2.5, 2.2), ends=(0, 3, 4)))
    shown = texts(figure)
    assert "Soft tree, hard tree and network do not name the same class." in shown
    assert sum(text.startswith("The hard tree and the network part at 'cat'") for text in shown) == 1
    assert any(text.startswith("cat: hard tree and network, on to tabby") for text in shown)
    assert {"soft tree: bird", "hard tree: tabby", "network: lynx"} <= set(shown)
    assert inside(figure)


def test_many_siblings_are_summed_up_but_not_the_one_that_matters():
    names = ["all", *(f"kind {n}" for n in range(30))]
    tree = Tree.of([None, *[0] * 30], {n + 1: n for n in range(30)}, names=names)
    scores = np.linspace(3, 0, 30)
    one = reading(scores, (0, 0, 25), tree, maps={}, reasons={})
    shown = texts(plot_reading(one))
    assert {"kind 0", "kind 1", "kind 2", "kind 3"} <= set(shown)
    assert "kind 25: network" in shown
    assert "and 25 more" in shown
    rest = 1 - sum(float(one.turns[n + 1]) for n in (0, 1, 2, 3, 25))
    assert percent(rest) in shown


def test_a_thousand_classes_and_hostile_names():
    tree = large_tree(1000)
    scores = np.random.default_rng(0).normal(size=1000)
    assert inside(plot_reading(reading(scores, (281, 281, 300), tree)))
    odd = small_tree([f"$x^2$ <b>{name}</b>\n_{{" for name in NAMES])
    for figure in (plot_reading(reading(tree=odd, ends=(3, 0, 4))), plot_tree(odd)):
        figure.canvas.draw()
        assert any("$x^2$" in text for text in texts(figure))


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_figures_are_written_the_same_each_time(tmp_path, suffix):
    for save, record in ((save_reading, reading()), (save_tree, small_tree())):
        one, two = (save(record, tmp_path / f"{name}.{suffix}") for name in "ab")
        if suffix == "png":
            assert min(Image.open(one).size) > 200
            assert one.read_bytes() == two.read_bytes()
        else:
            root = ElementTree.fromstring(one.read_bytes())
            assert root.tag.endswith("svg")
            assert len(list(root.iter())) > 50


def test_percent_never_says_all_or_nothing_for_what_is_neither():
    cases = {0: "0%", 1: "100%", 0.5: "50.00%", 0.99996: ">99.99%", 0.00001: "<0.01%", 0.9934: "99.34%"}
    assert {share: percent(share) for share in cases} == cases
