"""`seewhy tree` as a stranger uses it: the printed line, files, exit codes, and clear words."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from seewhy.apps.cli import main

NETWORK = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 7, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    ).eval()
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "own.json").write_text(json.dumps({"animal": {"pet": ["0", "1"]}, "thing": ["2", "3", "4"]}))
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((240, 230)).save(tmp_path / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *arguments):
    """Returns (exit code, stdout, stderr). The preprocessing brings a thousand labels, which this network has not."""
    with pytest.raises(SystemExit) as ended:
        main(["tree", *arguments, "--model", "net.py:build"])
    out = capsys.readouterr()
    return ended.value.code or 0, out.out, out.err


@pytest.fixture(autouse=True)
def labels(monkeypatch):
    """A network file says neither labels nor preprocessing; here it gets both."""
    from seewhy.models import wrapping

    load = wrapping.load

    def labelled(*arguments, preprocess=None, **settings):
        return load(*arguments, preprocess="torchvision:resnet18", labels=list("01234"), **settings)

    monkeypatch.setattr(wrapping, "load", labelled)


def test_the_line_of_the_tutorial_is_printed_and_a_page_written(capsys, place):
    code, out, err = run(capsys, "0.png", "--hierarchy", "own.json")
    assert (code, err) == (0, "")
    first = out.splitlines()[0]
    assert re.fullmatch(r"Prediction: [0-4] // Decisions: (\w+ \(\d+\.\d\d%\)(, )?){2,3}", first)
    assert "hierarchical read-out of the network's softmax" in out
    assert "hierarchy that is given: own.json" in out
    assert "agree" in out or "part at" in out
    assert (place / "tree.html").read_text().count("<html") == 1


def test_several_pictures_share_a_page_or_get_a_folder(capsys, place):
    code, out, _ = run(capsys, "0.png", "1.png", "--hierarchy", "induced", "--no-maps", "-o", "both.html")
    assert code == 0
    assert out.count("Prediction: ") == 2
    assert "0.png" in out
    assert "induced from '4'" in out
    assert (place / "both.html").exists()
    code, out, _ = run(capsys, "0.png", "1.png", "--hierarchy", "induced", "--rule", "embedded", "-o", "pages")
    assert code == 0
    assert sorted(path.name for path in (place / "pages").iterdir()) == ["0.html", "1.html"]
    assert "embedded decision rules" in out
    assert "fine-tuned" in out


def test_a_picture_that_fails_is_named_and_the_others_are_done(capsys, place):
    code, out, err = run(capsys, "none.png", "1.png", "--no-maps", "-o", "way.html")
    assert code == 1
    assert "none.png" in err
    assert out.count("Prediction: ") == 1
    assert (place / "way.html").exists()


def test_figures(capsys, place):
    assert run(capsys, "0.png", "--hierarchy", "own.json", "-o", "way.png", "-o", "way.svg")[0] == 0
    assert Image.open(place / "way.png").format == "PNG"
    assert "<svg" in (place / "way.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rule", "marginl"], "Did you mean 'marginal'"),
        (["--hierarchy", "missing.json"], "no file"),
        (["--hierarchy", "wordnet"], "nouns with one meaning"),
        (["-o", "tree.txt"], ".html, .svg, .png, or a folder"),
        (["-o", "nowhere/tree.html"], "nowhere"),
        (["-m", "grad-camm"], "Did you mean 'grad-cam'"),
        (["--no-maps", "--layer", "0"], "--no-maps"),
        (["1.png", "-o", "way.png"], "one picture; given 2"),
    ],
)
def test_wrong_usage_is_one_line(capsys, place, arguments, words):
    code, out, err = run(capsys, "0.png", *arguments)
    assert code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err + out


def test_a_hierarchy_that_misses_a_class_names_it(capsys, place):
    (place / "short.json").write_text(json.dumps({"animal": ["0", "1"], "thing": ["2", "3"]}))
    code, _, err = run(capsys, "0.png", "--hierarchy", "short.json")
    assert code == 2
    assert "missing: 4 ('4')" in err
