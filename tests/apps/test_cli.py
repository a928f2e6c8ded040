"""The command line as a stranger uses it: exit codes, messages, files written."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from skimage.data import chelsea, coffee

from seewhy.apps.cli import main
from seewhy.core.errors import ModelFileError
from seewhy.render import load_explanation


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


def test_version_and_methods_and_unknown_command(capsys):
    assert run(capsys, "--version")[1].startswith("seewhy 0.")
    code, out, _ = run(capsys, "methods")
    assert code == 0
    assert all(name in out for name in ("grad-cam++", "integrated-gradients", "guided-backprop", "cam"))
    assert run(capsys, "explian")[0] == 2


def test_explain_writes_a_report_that_names_the_prediction(capsys, cat, tmp_path):
    out_file = tmp_path / "out.html"
    code, out, err = run(capsys, "explain", cat, "-m", "grad-cam", "-m", "saliency", "-o", str(out_file))
    assert (code, err) == (0, "")
    assert "tiger cat" in out
    page = out_file.read_text(encoding="utf-8")
    assert "tiger cat" in page
    assert "Grad-CAM" in page


def test_several_outputs_are_all_written(capsys, cat, tmp_path):
    files = [tmp_path / name for name in ("one.html", "one.png", "one.json")]
    outputs = [part for file in files for part in ("-o", str(file))]
    code, out, _ = run(capsys, "explain", cat, "-m", "grad-cam", "--no-contrast", *outputs)
    assert code == 0
    assert [file.stat().st_size > 1000 for file in files] == [True] * 3
    assert out.count("Wrote") == 3


def test_one_bad_file_is_reported_and_the_others_are_done(capsys, cat, tmp_path):
    cup = tmp_path / "cup.jpg"
    Image.fromarray(coffee()).save(cup)
    empty = tmp_path / "empty.jpg"
    empty.touch()
    folder = tmp_path / "out"
    code, out, err = run(capsys, "explain", cat, str(empty), str(cup), "-m", "grad-cam", "-o", str(folder))
    assert code == 1
    assert "empty.jpg" in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["cat.html", "cup.html"]
    assert "espresso" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-m", "grad-kam"], ["grad-kam", "Did you mean 'grad-cam'"]),
        (["-m", "grad-cam", "--layer", "bn3"], ["bn3", "bn2"]),
        (["-m", "saliency", "--layer", "bn2"], ["layer", "saliency"]),
        (["--target", "tabbi"], ["tabbi", "tabby"]),
        (["--target", "1000"], ["1000", "999"]),
        (["--model", "efficientnet-lite9"], ["efficientnet-lite9"]),
        (["--rather-than", "tabby"], ["--rather-than", "--target"]),
        (["-o", "out.bmp"], [".html", "out.bmp"]),
    ],
)
def test_wrong_usage_is_exit_code_2_and_one_line(capsys, cat, arguments, words):
    code, _, err = run(capsys, "explain", cat, *arguments)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert all(word in err for word in words)


def test_why_this_rather_than_that(capsys, cat, tmp_path):
    path = tmp_path / "out.json"
    arguments = ["-m", "grad-cam", "--target", "tabby", "--rather-than", "tiger cat", "-o", str(path)]
    assert run(capsys, "explain", cat, *arguments)[0] == 0
    assert json.loads(path.read_text(encoding="utf-8"))
    loaded = load_explanation(path)
    assert list(loaded.targets) == ["tabby rather than tiger cat"]
    assert np.isfinite(loaded["grad-cam"].values.numpy()).all()


def test_the_contrast_is_explained_unless_it_is_not_wanted(capsys, cat, tmp_path):
    path = tmp_path / "out.json"
    code, out, _ = run(capsys, "explain", cat, "-m", "grad-cam", "-o", str(path))
    assert code == 0
    assert "The model is unsure: its answer is “tiger cat”" in " ".join(out.split())
    assert list(load_explanation(path).targets) == ["tiger cat", "tiger cat rather than Egyptian cat"]
    assert run(capsys, "explain", cat, "-m", "grad-cam", "--no-contrast", "-o", str(path))[0] == 0
    assert list(load_explanation(path).targets) == ["tiger cat"]


def test_layers_marks_the_default_layer(capsys):
    code, out, _ = run(capsys, "layers")
    assert code == 0
    (marked,) = [line for line in out.splitlines() if line.startswith("*") and "1280" in line]
    assert "bn2" in marked
    assert "1280 x 7 x 7" in marked


def test_a_method_that_fails_when_asked_for_by_name_is_exit_code_1(capsys, cat, tmp_path):
    net = tmp_path / "net.py"
    net.write_text(
        "import torch\n"
        "def build():\n"
        "    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))\n"
        "    return {'model': net, 'preprocess': prepare}\n"
        "def prepare(image):\n"
        "    import numpy as np\n"
        "    return torch.tensor(np.asarray(image.resize((8, 8))) / 255).permute(2, 0, 1).float()\n"
    )
    out_file = str(tmp_path / "out.html")
    both = ["explain", cat, "--model", f"{net}:build", "-m", "saliency", "-m", "grad-cam", "-o", out_file]
    code, out, _ = run(capsys, *both)
    assert code == 1
    assert "saliency for class" in out
    assert "grad-cam for class" in out
    assert "failed" in out


def test_a_factory_that_raises_and_a_device_that_is_not_there_are_one_line(capsys, cat, tmp_path):
    net = tmp_path / "net.py"
    net.write_text("def build():\n    raise RuntimeError('no weights here')\n")
    code, _, err = run(capsys, "explain", cat, "--model", f"{net}:build")
    assert code == 2
    assert f"{net}:build" in err
    assert "RuntimeError: no weights here" in err
    assert err.count("\n") == 1
    code, _, err = run(capsys, "explain", cat, "--device", "gpuu")
    assert code == 2
    assert "'gpuu'" in err
    assert "cpu" in err
    assert err.count("\n") == 1
    with pytest.raises(ModelFileError) as caught:
        main(["explain", cat, "--model", f"{net}:build", "--debug"])
    assert type(caught.value.__cause__) is RuntimeError


@pytest.mark.parametrize("other", ["zebra", "340"])
def test_a_class_is_not_explained_rather_than_itself(capsys, cat, other):
    code, _, err = run(capsys, "explain", cat, "--target", "zebra", "--rather-than", other)
    assert code == 2
    assert "class 340 twice" in err
    assert err.count("\n") == 1


def test_debug_shows_the_traceback_and_nothing_else_does(cat):
    command = [sys.executable, "-m", "seewhy", "explain", cat, "-m", "nonsense"]
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    debug = subprocess.run([*command, "--debug"], capture_output=True, text=True, check=False)
    assert plain.returncode == 2
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr
