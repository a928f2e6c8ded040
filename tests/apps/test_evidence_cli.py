"""Evidence on the command line: verdicts on the screen and in the report, budgets, `best`, and layers ranked."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image
from skimage.data import chelsea

from seewhy.apps.cli import main
from seewhy.render import load_explanation

NET = """
import numpy as np
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )
    with torch.no_grad():
        for weights in net.parameters():
            weights.mul_(3)

    def steps(picture):
        pixels = torch.from_numpy(np.array(picture.convert("RGB").resize((32, 32))))
        return pixels.permute(2, 0, 1) / 255

    return {"model": net.eval(), "preprocess": steps, "labels": ["[a]", "b", "c"]}
"""


def run(capsys, *arguments):
    """Returns (exit code, stdout, stderr) of one call."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    out = capsys.readouterr()
    code = ended.value.code
    return (0 if code is None else code), out.out, out.err


@pytest.fixture
def cat(tmp_path):
    path = tmp_path / "cat.png"
    Image.fromarray(chelsea()).save(path)
    return str(path)


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(NET, encoding="utf-8")
    return ["--model", f"{path}:build"]


def test_verdicts_are_printed_and_in_the_report(capsys, cat, net, tmp_path):
    out_file = tmp_path / "out.html"
    code, out, err = run(
        capsys, "explain", cat, *net, "--evidence", "-m", "grad-cam", "-m", "saliency", "-o", str(out_file)
    )
    assert (code, err) == (0, "")
    assert re.search(r"Evidence for (\[a\]|b|c): .*\.", out)
    verdicts = dict(
        re.findall(r"^    (grad-cam|saliency) (holds|weak|no better than chance): Insertion minus", out, re.M)
    )
    assert set(verdicts) == {"grad-cam", "saliency"}
    page = out_file.read_text(encoding="utf-8")
    shown = re.findall(r'class="verdict \w+"[^>]*>(holds|weak|no better than chance)<', page)
    assert sorted(shown[:2]) == sorted(verdicts.values())


@pytest.mark.parametrize("budget", ["10", "0", "737"])
def test_too_small_a_budget_is_one_line_and_exit_code_2(capsys, cat, net, budget):
    code, out, err = run(capsys, "explain", cat, *net, "-m", "saliency", "--budget", budget)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("seewhy: budget must be")
    assert f"given {budget}" in err
    assert "Traceback" not in err
    assert out == ""


def test_a_budget_alone_asks_for_evidence(capsys, cat, net, tmp_path):
    path = tmp_path / "out.json"
    code, _, err = run(capsys, "explain", cat, *net, "-m", "saliency", "--budget", "738", "-o", str(path))
    assert (code, err) == (0, "")
    (evidence,) = load_explanation(path).evidence.values()
    assert evidence.budget == 738
    assert evidence.rows <= 738
    assert np.isfinite(evidence.chance).all()


def test_best_shows_one_map(capsys, cat, net, tmp_path):
    path = tmp_path / "out.json"
    code, out, err = run(
        capsys, "explain", cat, *net, "-m", "best", "--no-contrast", "--budget", "1100", "-o", str(path)
    )
    assert (code, err) == (0, "")
    loaded = load_explanation(path)
    (evidence,) = loaded.evidence.values()
    assert len(evidence.maps) == 9
    ((method, _),) = loaded.attributions
    assert method == (evidence.trusted or evidence.ranked[0])
    assert ("can be trusted; the one with the highest score is shown" in out) == (evidence.trusted is None)


def test_best_beside_a_method_that_does_not_exist(capsys, cat, net):
    code, _, err = run(capsys, "explain", cat, *net, "-m", "best", "-m", "grad-kam")
    assert code == 2
    assert "grad-kam" in err


def test_layers_are_ranked(capsys, cat, net):
    code, out, err = run(capsys, "layers", *net, "--rank", cat)
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines() if re.match(r"^\*?\s+\d ", line) or re.match(r"^\* *\d", line)]
    names = [row[1] if row[0] == "*" else row[0] for row in rows]
    assert sorted(names) == ["0", "1", "2", "3"]
    assert [row[0] for row in rows].count("*") == 1
    scores = [
        float(re.search(r"8 x \d+ x \d+\s+(-?\d\.\d\d)", line).group(1)) for line in out.splitlines() if " x " in line
    ]
    assert scores == sorted(scores, reverse=True)
    assert "not told apart" in out
    assert "Fewer than six pictures tell no layers apart: name more with --rank." in " ".join(out.split())
    code, out, _ = run(capsys, "layers", *net, *[part for _ in range(6) for part in ("--rank", cat)])
    assert code == 0
    assert "Fewer than six" not in out


def test_ranking_without_places_is_an_error(capsys, cat, tmp_path):
    path = tmp_path / "flat.py"
    path.write_text(
        NET.replace("nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(),", "").replace(
            "nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)", "nn.Flatten(), nn.Linear(3072, 3)"
        ),
        encoding="utf-8",
    )
    code, _, err = run(capsys, "layers", "--model", f"{path}:build", "--rank", cat)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "No layer of this network can be ranked" in err


def test_ranking_of_a_picture_that_is_not_there(capsys, net):
    code, _, err = run(capsys, "layers", *net, "--rank", "nowhere.png")
    assert code == 2
    assert "nowhere.png" in err
    assert len(err.strip().splitlines()) == 1
