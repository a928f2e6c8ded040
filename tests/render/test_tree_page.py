"""The page of a tree: its data are the record's, its names are text, and it loads nothing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tree_records import NAMES, large_tree, odds, reading, small_tree

from seewhy.core.decisions import TreeReading
from seewhy.core.errors import SettingError
from seewhy.core.hierarchy import Tree
from seewhy.render.pages import script_hash
from seewhy.render.tree import reading_html, save_reading, save_readings, save_tree
from seewhy.render.tree_page import tree_page

HOSTILE = "</script><script>alert(1)</script><!-- \" ' & \u202e\ud800"


def page(*readings: TreeReading, **options: Any) -> str:
    return tree_page(readings[0].tree, readings, **options)


def data(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found.group(1))


def parted() -> TreeReading:
    return reading(scores=(3.0, -1.0, 0.0, 2.5, 2.2), ends=(0, 3, 4))


class Tags(HTMLParser):
    """Collects elements and checks that they are closed in order."""

    VOID = frozenset({"meta", "img", "input", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def classes(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for _, attrs in self.found if name in (attrs.get("class") or "").split()]


# -------------------------------------------------------------------------------------------------------- what it says


def test_the_data_are_the_records():
    one = parted()
    found = data(page(one))
    assert found["nodes"] == [
        ["all classes", -1, -1, ""],
        ["animal", 0, -1, "n00015388"],
        ["bird", 1, 0, ""],
        ["cat", 1, -1, ""],
        ["tabby", 3, 3, ""],
        ["lynx", 3, 4, ""],
        ["vehicle", 0, -1, ""],
        ["car", 6, 1, ""],
        ["truck", 6, 2, ""],
    ]
    turns, reach = odds(small_tree(), np.array([3.0, -1.0, 0.0, 2.5, 2.2]))
    (given,) = found["readings"]
    assert given["turns"] == pytest.approx(turns.tolist(), rel=1e-3)
    assert given["reach"] == pytest.approx(reach.tolist(), rel=1e-3)
    assert given["paths"] == {"soft": [0, 1, 2], "hard": [0, 1, 3, 4], "network": [0, 1, 3, 5]}


def test_the_path_stands_in_the_page_with_its_probabilities_and_maps():
    one = reading()
    text = page(one)
    steps = text[text.index('<ol class="steps') : text.index("</ol>", text.index('<ol class="steps'))]
    assert re.findall(r"<b>(.*?)</b></button>", steps) == ["animal", "cat", "tabby"]
    shares = [step.probability for step in one.path.steps]
    assert re.findall(r'class="odds">(.*?)<', steps) == [f"{share:.2%}" for share in shares]
    assert re.findall(r'class="rest">(.*?)<', steps) == ["rather than vehicle", "rather than bird", "rather than lynx"]
    assert steps.count('<img alt="" src="data:image/png;base64,') == 2
    assert steps.count("No map") == 1
    assert "This turn has no positive evidence." in steps
    assert 'aria-label="Why animal rather than vehicle"' in steps
    assert text.count("background-image: url(data:image/png") == 1  # the photograph, once for all maps
    assert "Grad-CAM of this turn rather than its siblings" in text


def test_where_all_agree_it_says_so():
    text = page(reading())
    assert "Soft tree, hard tree and network all say &#39;tabby&#39;." in text
    assert "Show the node" not in text
    assert 'class="elsewhere' not in text


def test_where_they_part_it_says_so_and_at_which_node():
    one = parted()
    text = page(one)
    assert "do not name the same class" in text
    lines = re.findall(r"<li>(.*?) <button[^>]*data-node=\"(\d+)\">Show the node", text)
    assert [int(node) for _, node in lines] == [3, 1, 1]
    assert lines[0][0].startswith("The hard tree and the network part at &#39;cat&#39;")
    assert re.findall(r'class="elsewhere (\w+)">(.*?)<', text) == [
        ("hard", "hard tree: tabby"),
        ("network", "network: lynx"),
    ]
    walks = re.findall(r'class="badge (\w+)">[^<]*</span> (\w+)</span><span class="score">([\d.]+)%', text)
    product = one.turns[1] * one.turns[2]
    assert walks[0] == ("soft", "bird", f"{100 * product:.2f}")
    assert [walk[:2] for walk in walks[1:]] == [("hard", "tabby"), ("network", "lynx")]


@pytest.mark.parametrize(
    ("rule", "words", "not_words"),
    [
        ("marginal", "hierarchical read-out of the network&#39;s softmax", "embedded decision rules"),
        ("embedded", "embedded decision rules", "hierarchical read-out"),
    ],
)
def test_it_names_the_rule_that_spoke(rule, words, not_words):
    text = page(reading(rule=rule))
    assert f"Probabilities: {words}." in text
    assert not_words not in text


def test_a_reading_without_pictures():
    bare = page(reading(picture=None, view=None, maps={}, reasons={}, notes=(), provenance={}))
    assert not Tags(bare).classes("photo")
    assert not Tags(bare).classes("stack")
    assert "Made with" not in bare
    assert "A map</b>" not in bare


def test_chains_are_called_the_only_way_on():
    chain = Tree.of([None, 0, 1, 1, 0], {2: 0, 3: 1, 4: 2}, names=["all", "one", "a", "b", "c"])
    lone = Tree.of([None, 0, 0, 2, 3, 3], {1: 0, 4: 1, 5: 2}, names=["all", "a", "b", "c", "d", "e"])
    assert "the only way on" not in page(reading((1, 0, 2), (0, 0, 0), chain, maps={}, reasons={}))
    assert "the only way on" in page(reading((1, 0, 2), (2, 2, 2), lone, maps={}, reasons={}))


# -------------------------------------------------------------------------------------------------- several, and none


def test_several_pictures_share_one_tree(tmp_path):
    text = save_readings([reading(), parted()], tmp_path / "two.html").read_text(encoding="utf-8")
    assert len(data(text)["readings"]) == 2
    assert len(data(text)["nodes"]) == 9
    options = re.findall(r"<option value=\"(\d)\">(.*?)</option>", text)
    assert options == [("0", "cat.png: tabby"), ("1", "cat.png: bird (they part)")]
    assert len(Tags(text).classes("decision")) == 2
    other = reading(tree=small_tree([*NAMES[:-1], "ounce"]))
    with pytest.raises(SettingError, match=r"share one tree; that of 'cat\.png' is another"):
        save_readings([reading(), other], tmp_path / "no.html")
    with pytest.raises(SettingError, match="at least one reading"):
        save_readings([], tmp_path / "no.html")
    with pytest.raises(SettingError, match=r"one \.html; given"):
        save_readings([reading()], tmp_path / "no.png")


def test_a_tree_alone_has_a_page_too(tmp_path):
    text = save_tree(small_tree(), tmp_path / "tree.html").read_text(encoding="utf-8")
    assert data(text)["readings"] == []
    assert not Tags(text).classes("decision")
    assert "made by hand · 5 classes · 4 inner nodes · at most 3 turns" in text
    assert "Only the path" not in text


def test_a_thousand_classes_are_a_small_page():
    tree = large_tree(1000)
    scores = np.random.default_rng(0).normal(size=1000)
    text = page(reading(scores, (281, 281, 281), tree, maps={}, reasons={}))
    assert len(data(text)["nodes"]) == len(tree)
    assert len(text) < 200_000
    # nodes are made when they are unfolded, not before
    assert len(Tags(text).found) < 300


# ------------------------------------------------------------------------------------------------ safe and reachable


def test_the_page_loads_nothing_and_only_its_own_script_runs():
    text = page(reading(), parted())
    tags = Tags(text)
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", text)
    assert not re.search(r"url\(\s*[\"']?(https?:)?//", text)
    assert "@import" not in text
    policy = next(attrs["content"] for tag, attrs in tags.found if tag == "meta" and "http-equiv" in attrs)
    script = text[text.rindex("<script>") + len("<script>") : text.rindex("</script>")]
    assert policy is not None
    assert f"script-src 'sha256-{script_hash(script)}'" in policy
    assert "default-src 'none'" in policy


def test_hostile_names_are_text():
    tree = small_tree([f"{name} {HOSTILE}" for name in NAMES])
    one = reading(
        tree=tree,
        ends=(3, 0, 4),
        model=HOSTILE,
        source=HOSTILE,
        notes=(HOSTILE,),
        provenance={HOSTILE: HOSTILE},
        reasons={4: HOSTILE},
    )
    text = page(one)
    assert "<script>alert" not in text
    assert text.count("<script") == 2
    assert "\ud800" not in text
    Tags(text)
    assert data(text)["nodes"][1][0].startswith("animal </script><script>")
    text.encode()


def test_everything_can_be_reached_by_keyboard():
    tags = Tags(page(parted(), reading()))
    for tag, attrs in tags.found:
        if "data-node" in attrs:
            assert tag == "button"
            assert attrs.get("type") == "button"
        assert "onclick" not in attrs
        assert int(attrs.get("tabindex") or 0) <= 0
    labelled = [attrs for tag, attrs in tags.found if attrs.get("role") == "tree"]
    assert [attrs["aria-label"] for attrs in labelled] == ["Tree of classes"]
    assert any(tag == "input" and attrs.get("type") == "search" for tag, attrs in tags.found)


def test_notebooks_get_a_frame():
    text = reading_html(reading())
    assert text.startswith('<iframe title="Decision tree" sandbox="allow-scripts" srcdoc="&lt;!DOCTYPE html&gt;')
    assert "<script" not in text
    assert reading()._repr_html_() == text


@pytest.mark.parametrize("save", [save_reading, save_tree])
def test_other_forms_are_refused(tmp_path: Path, save: Any):
    record = reading() if save is save_reading else small_tree()
    with pytest.raises(SettingError, match=r"saved as \.html, \.svg or \.png; given '.*x\.bmp'"):
        save(record, tmp_path / "x.bmp")
    with pytest.raises(SettingError, match="does not exist"):
        save(record, tmp_path / "no" / "x.html")
    assert list(tmp_path.iterdir()) == []
