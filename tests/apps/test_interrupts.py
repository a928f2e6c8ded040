"""Ctrl-C on the command line: what is finished by then is written, and the rest is named."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest
from PIL import Image

from seewhy.apps.cli import main
from seewhy.render import load_explanation

OCCLUSION = "occlusion(window=4, stride=4)"  # sixteen windows
NETWORK = """
    import torch
    from torch import nn

    class Tired(nn.Module):
        rows = 0

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 3)

        def forward(self, x):
            Tired.rows += len(x)
            if Tired.rows > {rows}:
                raise KeyboardInterrupt
            return self.head(self.conv(x).relu().mean((2, 3)))

    def make():
        def prepare(picture):
            return torch.tensor(__import__("numpy").asarray(picture)).permute(2, 0, 1)[None].float() / 255

        return {{"model": Tired(), "preprocess": prepare}}
"""


@pytest.fixture
def interrupted(tmp_path, capsys):
    """Gives a function: explains pictures with a network that is interrupted, and returns code, output and errors."""
    pictures = []
    for number in range(3):
        path = tmp_path / f"picture {number}.png"
        pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        pictures.append(str(path))

    def run(rows, *arguments, command="explain", count=3):
        file = tmp_path / "net.py"
        file.write_text(textwrap.dedent(NETWORK.format(rows=rows)))
        with pytest.raises(SystemExit) as ended:
            main([command, *pictures[:count], "--model", f"{file}:make", *arguments])
        out = capsys.readouterr()
        return ended.value.code, " ".join(out.out.split()), " ".join(out.err.split())

    return run


def test_finished_pictures_are_written_one_by_one(interrupted, tmp_path):
    code, _, err = interrupted(45, "-m", OCCLUSION, "--no-contrast", "-o", str(tmp_path / "out"))
    assert code == 130
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files
    assert set(files) < {"picture 0.html", "picture 1.html", "picture 2.html"}
    assert f"interrupted; of 3 pictures, what was finished of {len(files)} is kept" in err


def test_a_report_holds_what_was_finished(interrupted, tmp_path):
    code, out, _ = interrupted(45, "-m", OCCLUSION, "--no-contrast", "-o", str(tmp_path / "out.html"))
    assert code == 130
    assert "Wrote" in out
    page = (tmp_path / "out.html").read_text()
    assert "picture 0.png" in page
    assert "picture 2.png" not in page


def test_of_a_picture_that_is_half_done_the_finished_maps_are_kept(interrupted, tmp_path):
    code, out, err = interrupted(
        9, "-m", OCCLUSION, "-m", "saliency", "--no-contrast", "-o", str(tmp_path / "out.json"), count=1
    )
    assert code == 130
    assert "occlusion for class" in out
    assert "was interrupted before it was finished" in out
    assert "what was finished of 1 is kept" in err
    kept = load_explanation(tmp_path / "out.json")
    assert [name for name, _ in kept.attributions] == ["saliency"]
    assert [name for name, _ in kept.errors] == ["occlusion"]


def test_nothing_finished_is_nothing_written(interrupted, tmp_path):
    code, _, err = interrupted(0, "-m", "saliency", "-o", str(tmp_path / "out.html"))
    assert code == 130
    assert "what was finished of 0 is kept" in err
    assert not (tmp_path / "out.html").exists()


def test_other_commands_say_that_they_were_interrupted(interrupted):
    code, _, err = interrupted(0, "--no-maps", command="tree", count=1)
    assert code == 130
    assert err.startswith("seewhy: interrupted")
