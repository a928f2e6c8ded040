"""`seewhy evaluate` as a stranger uses it: exit codes, the table, the folder, and going on after Ctrl-C."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from seewhy.apps.cli import main
from seewhy.metrics import Increase
from seewhy.study import evaluate as running

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
def place(tmp_path):
    (tmp_path / "net.py").write_text(NETWORK)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((240, 230)).save(folder / f"{number}.png")
    return tmp_path


def run(capsys, place, *arguments, metric="increase"):
    """Returns (exit code, stdout, stderr) of one evaluation of saliency."""
    model = ["--model", f"{place / 'net.py'}:build", "--preprocess", "torchvision:resnet18"]
    fixed = ["-m", "saliency", "--metric", metric, "-o", str(place / "out"), *model]
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *fixed, *arguments])
    out = capsys.readouterr()
    return ended.value.code or 0, out.out, out.err


def test_a_folder_gives_a_table_and_files(capsys, place):
    code, out, err = run(capsys, place, str(place / "pictures"))
    assert (code, err) == (0, "")
    assert all(word in out for word in ("saliency", "random", "centre", "edges", "higher is better"))
    assert {path.name for path in (place / "out").iterdir()} == {
        "leaderboard.csv",
        "leaderboard.html",
        "leaderboard.json",
        "results",
    }


def test_a_bad_file_is_exit_code_1_and_wrong_usage_2(capsys, place):
    (place / "pictures" / "bad.png").write_text("no picture")
    code, out, err = run(capsys, place, str(place / "pictures"))
    assert code == 1
    assert err.count("bad.png") == 1
    assert "saliency" in out
    code, _, err = run(capsys, place, str(place / "pictures"), metric="increaze")
    assert code == 2
    assert "increase" in err
    assert run(capsys, place, str(place / "pictures"), metric="pointing-game")[0] == 2
    assert run(capsys, place, str(place / "nothing"))[0] == 1


def test_interrupted_it_says_how_to_go_on_and_goes_on(capsys, place, monkeypatch):
    measure, calls = running.measure, []

    def interrupted(contest, jobs, *rest):
        calls.append(sum(map(len, (job.missing for job in jobs))))
        if len(calls) == 2:
            raise KeyboardInterrupt
        measure(contest, jobs, *rest)

    monkeypatch.setattr(running, "measure", interrupted)
    code, _, err = run(capsys, place, str(place / "pictures"))
    assert code == 130
    assert "4 of 6 pictures" in err
    assert "16 results" in err
    code, out, _ = run(capsys, place, str(place / "pictures"))
    assert code == 0
    assert "saliency" in out
    assert calls == [16, 8, 0, 8]  # the network and its factory were loaded anew, and known again


def test_what_failed_and_why_nothing_ranks_is_said(capsys, place, monkeypatch):
    fits = Increase.flow

    def flow(self, case, target, claim):
        if claim.method.info.name != "centre":
            raise RuntimeError("no")
        return (yield from fits(self, case, target, claim))

    monkeypatch.setattr(Increase, "flow", flow)
    code, out, _ = run(capsys, place, str(place / "pictures" / "0.png"))
    assert code == 1
    rows = {line.split()[1]: line.split() for line in out.splitlines() if line.split()[1:2] and "failed" in line}
    assert " ".join(rows["saliency"]).startswith("– saliency – – – 0, 1 failed")
    assert "fewer than six pictures never rank" in " ".join(out.split())
    assert "same" not in out  # than random maps: they were not measured
    page = (place / "out" / "leaderboard.html").read_text(encoding="utf-8")
    assert "Only centre could be measured." in page
    assert "no different" not in page


def test_controls_take_no_part_where_they_cannot(capsys, place):
    code, out, err = run(
        capsys,
        place,
        str(place / "pictures"),
        "-m",
        "integrated-gradients",
        "--metric",
        "increase",
        metric="completeness",
    )
    assert code == 1  # saliency was asked for, and does not add up
    assert "saliency" in err
    assert not any(name in err for name in ("random", "centre", "edges"))
    assert "random, centre, edges have not" in " ".join(out.split())


def test_completeness_alone_succeeds(capsys, place):
    model = ["--model", f"{place / 'net.py'}:build", "--preprocess", "torchvision:resnet18"]
    fixed = ["-m", "integrated-gradients", "--metric", "completeness", "-o", str(place / "out"), *model]
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(place / "pictures" / "0.png"), *fixed])
    out = capsys.readouterr()
    assert (ended.value.code or 0, out.err) == (0, "")
    found = json.loads((place / "out" / "leaderboard.json").read_text(encoding="utf-8"))["leaderboard"]
    assert found["failures"] == []
    assert [line["entrant"] for line in found["standings"]] == ["integrated-gradients"]


def test_boxes_from_a_file(capsys, place):
    boxes = place / "boxes.json"
    boxes.write_text(json.dumps({f"{number}.png": [[20, 20, 200, 200]] for number in range(6)}))
    code, out, _ = run(capsys, place, str(place / "pictures"), "--truth", str(boxes), metric="pointing-game")
    assert code == 0
    assert "centre" in out
    boxes.write_text(json.dumps({"0.png": [[20, 20, 200, 200]]}))
    code, _, err = run(capsys, place, str(place / "pictures"), "--truth", str(boxes), metric="pointing-game")
    assert code == 2
    assert "1.png" in err
