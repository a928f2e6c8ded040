"""`seewhy filters` and `seewhy dream` as a stranger uses them: exit codes, files, and clear words."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import seewhy
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
    (tmp_path / "pictures").mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((240, 230)).save(tmp_path / "pictures" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *arguments):
    """Returns (exit code, stdout, stderr)."""
    model = ["--model", "net.py:build", "--preprocess", "torchvision:resnet18"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, *model])
    out = capsys.readouterr()
    return ended.value.code or 0, out.out, out.err


def test_a_folder_gives_a_table_an_atlas_and_a_sheet(capsys, place):
    code, out, err = run(
        capsys, "filters", "pictures", "--layer", "1", "--top", "2", "--sheet", "sheet.png", "-o", "atlas.html"
    )
    assert (code, err) == (0, "")
    assert "4 of 4 channels over 4 pictures" in out
    assert "speaks for" in out
    assert Image.open(place / "sheet.png").format == "PNG"
    assert "Filters of 1" in (place / "atlas.html").read_text()
    assert not (place / "filters.html").exists()


def test_channels_are_chosen_and_the_atlas_is_the_default(capsys, place):
    code, out, _ = run(capsys, "filters", "pictures/0.png", "--layer", "1", "--channel", "3", "--channel", "0")
    assert code == 0
    assert "2 of 4 channels over 1 pictures" in out
    assert (place / "filters.html").exists()


def test_a_bad_file_is_exit_code_1_and_wrong_usage_2(capsys, place):
    (place / "pictures" / "bad.png").write_text("no picture")
    code, _, err = run(capsys, "filters", "pictures", "--layer", "1")
    assert (code, err.count("bad.png")) == (1, 1)
    for wrong, words in (
        (["--layer", "7"], "must name a layer"),
        (["--layer", "1", "--channel", "9"], "4 channels, 0 to 3"),
        (["--layer", "1", "--top", "0"], "--top"),
        (["--layer", "1", "-o", "atlas.png"], ".html"),
        (["--layer", "1", "--sheet", "no/sheet.png"], "does not exist"),
    ):
        code, _, err = run(capsys, "filters", "pictures", *wrong)
        assert code == 2
        assert words in err


class Dreamed:
    def save(self, path):
        Image.new("RGB", (4, 4)).save(path)
        return path


def test_dream_hands_its_options_on_and_writes(capsys, place, monkeypatch):
    asked = {}

    def dream(model, image, layers=None, octaves=4, steps=10, guide=None, seed=0, on_frame=None):
        asked.update(image=image, layers=layers, octaves=octaves, steps=steps, guide=guide, seed=seed, name=model.name)
        on_frame(SimpleNamespace())
        return Dreamed()

    monkeypatch.setattr(seewhy, "dream", dream, raising=False)
    code, out, _ = run(
        capsys,
        "dream",
        "pictures/0.png",
        "--layer",
        "1",
        "--octaves",
        "2",
        "--steps",
        "3",
        "--seed",
        "5",
        "-o",
        "out.png",
    )
    assert code == 0
    assert "Wrote out.png" in out
    assert Image.open(place / "out.png").size == (4, 4)
    wanted = {"image": "pictures/0.png", "layers": "1", "octaves": 2, "steps": 3, "guide": None, "seed": 5}
    assert {name: asked[name] for name in wanted} == wanted
    run(capsys, "dream", "pictures/0.png", "--layer", "1", "--channel", "2")
    assert (asked["layers"].layer, asked["layers"].channel, asked["octaves"]) == ("1", 2, 4)


def test_wrong_dreams_are_refused_before_the_model_is_loaded(capsys, place, monkeypatch):
    for wrong, words in (
        (["--octaves", "0"], "--octaves"),
        (["--steps", "0"], "--steps"),
        (["--channel", "1"], "--channel needs --layer"),
        (["--layer", "1", "--channel", "1", "--guide", "pictures/1.png"], "--guide"),
        (["-o", "dream.txt"], ".png"),
    ):
        code, _, err = run(capsys, "dream", "pictures/0.png", *wrong)
        assert code == 2
        assert words in err
    monkeypatch.delattr(seewhy, "dream", raising=False)
    assert "cannot dream yet" in run(capsys, "dream", "pictures/0.png")[2]
