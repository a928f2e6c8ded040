"""`seewhy filters` and `seewhy dream` as a stranger uses them: exit codes, files, and clear words."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import seewhy
from seewhy.apps import dreaming
from seewhy.apps.cli import main
from seewhy.features import dream as flow
from seewhy.features import work
from seewhy.study import filter_sweep, filters

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
    done = True

    def save(self, path):
        Image.new("RGB", (4, 4)).save(path)
        return path


def test_dream_hands_its_options_on_and_writes(capsys, place, monkeypatch):
    asked = {}

    def dream(model, image, layers=None, octaves=4, steps=10, guide=None, seed=0, on_frame=None):
        asked.update(image=image, layers=layers, octaves=octaves, steps=steps, guide=guide, seed=seed, name=model.name)
        on_frame(SimpleNamespace())
        return Dreamed()

    monkeypatch.setattr(dreaming, "dream", dream)
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


def test_wrong_dreams_are_refused_before_the_model_is_loaded(capsys, place):
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


def test_an_interrupted_dream_leaves_the_size_that_was_done(capsys, place, monkeypatch):
    steps = []
    slope = flow._slope

    def interrupted(*given):
        steps.append(given)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return slope(*given)

    monkeypatch.setattr(flow, "_slope", interrupted)
    code, out, err = run(
        capsys, "dream", "pictures/0.png", "--layer", "1", "--octaves", "3", "--steps", "2", "-o", "left.png"
    )
    assert code == 130
    assert "Wrote left.png" in out
    assert "size 1 of 3" in err
    assert Image.open(place / "left.png").size == (round(240 / 1.4**2), round(230 / 1.4**2))


def test_an_interrupted_survey_leaves_the_pictures_so_far(capsys, place, monkeypatch):
    reader, opened = filters.subject_of, []

    def interrupted(model, image, seed):
        opened.append(image)
        if len(opened) == 4:  # the first picture is opened once more, to see what the layer gives
            raise KeyboardInterrupt
        return reader(model, image, seed)

    monkeypatch.setattr(filters, "subject_of", interrupted)
    monkeypatch.setattr(filters, "TOGETHER", 1)
    code, _, err = run(capsys, "filters", "pictures", "--layer", "1", "--top", "2", "-o", "left.json")
    assert (code, "interrupted" in err) == (130, True)
    found = seewhy.load_filters(place / "left.json")
    assert found.pictures == 2
    assert "the first 2 of 4 pictures" in found.notes[0]
    monkeypatch.undo()
    monkeypatch.chdir(place)
    passes = []
    monkeypatch.setattr(filters, "summarised", lambda *given: passes.append(given) or filter_sweep.summarised(*given))
    assert run(capsys, "filters", "pictures", "--layer", "1", "--top", "2", "-o", "left.json")[0] == 0
    assert len(passes) == 2  # the other two pictures
    whole = seewhy.filters(seewhy.load("net.py:build", preprocess="torchvision:resnet18"), "pictures", "1", top=2)
    after = seewhy.load_filters(place / "left.json")
    assert [one.statistics for one in after.filters] == [one.statistics for one in whole.filters]
    assert [[item.picture for item in one.by_mean.least] for one in after.filters] == [
        [item.picture for item in one.by_mean.least] for one in whole.filters
    ]
    assert not list(place.glob(".*unfinished*"))


def test_an_unfinished_sweep_of_other_settings_or_damaged_is_begun_anew(place, monkeypatch):
    model = seewhy.load("net.py:build", preprocess="torchvision:resnet18")
    left = place / "left"
    wanted = seewhy.filters(model, "pictures", "1", top=2)

    def stopped(top):
        def on_event(event):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            seewhy.filters(model, "pictures", "1", top=top, resume=left, options=seewhy.Options(on_event=on_event))

    for spoil in (lambda: stopped(1), lambda: left.write_bytes(b"PK torn"), lambda: stopped(2)):
        spoil()
        assert left.exists()
        found = seewhy.filters(model, "pictures", "1", top=2, resume=left)
        assert [one.statistics for one in found.filters] == [one.statistics for one in wanted.filters]
        assert found.pictures == 4
        assert not left.exists()


def test_interrupted_images_are_as_they_were_by_then(capsys, place, monkeypatch):
    looked, looks = work.Work.looked, []

    def interrupted(self, *given):
        looks.append(given[0])
        if len(looks) == 7:  # of 4 channels: all have begun, three have been looked at once more
            raise KeyboardInterrupt
        return looked(self, *given)

    monkeypatch.setattr(work.Work, "looked", interrupted)
    code, _, err = run(capsys, "filters", "pictures/0.png", "--layer", "1", "--visualize", "-o", "left.npz")
    assert (code, "interrupted" in err) == (130, True)
    found = seewhy.load_filters(place / "left.npz")
    assert all(one.image is not None for one in found.filters)
    assert "interrupted after 0 steps" in found.notes[0]


def test_tables_and_data_are_written_beside_the_atlas(capsys, place):
    names = ["atlas.html", "table.csv", "all.json", "all.npz"]
    code, out, _ = run(
        capsys, "filters", "pictures", "--layer", "1", *[part for name in names for part in ("-o", name)]
    )
    assert code == 0
    assert all(f"Wrote {name}" in out for name in names)
    with open(place / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = seewhy.load_filters(place / "all.npz")
    assert [int(row["channel"]) for row in rows] == [0, 1, 2, 3]
    assert [float(row["high"]) for row in rows] == [one.statistics.high for one in found.filters]
    assert rows[1]["highest_mean"] == found[1].by_mean.most[0].picture
    same = seewhy.load_filters(place / "all.json")
    assert np.array_equal(same[2].by_maximum.most[0].crop, found[2].by_maximum.most[0].crop)
    assert np.array_equal(same.example.maps, found.example.maps)
