"""`seewhy text` and `seewhy generate`: what is printed and written, and what is refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from seewhy.apps.cli import main
from seewhy.apps.text_lines import coloured, lines_of
from seewhy.render.text_runs import Run, Shades

pytest.importorskip("transformers")
SMALL = Path(__file__).parents[1] / "text"


@pytest.fixture(scope="module")
def small() -> Any:
    import importlib.util

    spec = importlib.util.spec_from_file_location("small_text_models", SMALL / "small.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def folders(small: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    made = {
        "classifier": (small.classifier().network, small.word_tokenizer()),
        "gpt": (small.gpt(), small.plain_tokenizer()),
    }
    found = {}
    for name, (network, tokenizer) in made.items():
        folder = tmp_path_factory.mktemp(name)
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        found[name] = f"hf:{folder}"
    return found


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    caught = capsys.readouterr()
    return int(stop.value.code or 0), caught.out, caught.err


def test_text_prints_words_and_writes_files(
    folders: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, data = tmp_path / "t.html", tmp_path / "t.json"
    code, out, _ = run(
        capsys, "text", "the <i> film was not good", "--model", folders["classifier"], "-m", "occlusion",
        "-m", "saliency", "--target", "positive", "--evidence", "-o", str(page), "-o", str(data), "--device", "cpu",
    )  # fmt: skip
    assert code == 0
    assert "occlusion for positive (score)" in out
    assert "strongest: " in out
    assert "Evidence for positive" in out
    html = page.read_text()
    assert "&lt;" in html
    assert "<i>" not in html
    assert html.count('class="method"') == 2
    assert "Comprehensiveness" in html
    assert data.stat().st_size > 500


def test_generate_prints_what_each_token_owes(
    folders: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(
        capsys, "generate", "the cat sat on", "--continuation", "the mat", "--rather-than", "the rug",
        "--model", folders["gpt"], "-m", "saliency", "-o", str(tmp_path / "g.png"), "--device", "cpu",
    )  # fmt: skip
    assert code == 0
    assert "the cat sat on the mat" in out
    assert "mat rather than rug" in out
    assert (tmp_path / "g.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["text", "cat", "-o", "t.pdf"], "-o takes a file"),
        (["text", "cat", "--pieces", "letters"], "pieces takes"),
        (["text", "cat", "-m", "salience"], "Did you mean 'saliency'"),
        (["text", "cat", "--rather-than", "dog"], "--rather-than needs one --target"),
        (["generate", "cat", "--length", "0", "--model", "hf:nowhere"], "--length must be 1 or more"),
        (["generate", "cat", "--of", "chance", "--model", "hf:nowhere"], "of takes"),
        (["generate", "cat"], "--model is required: expected hf:FOLDER_OR_NAME of a causal language model"),
        (["generate", "cat", "--model", "hf:nofolder"], "for texts a model"),
        (["text", "cat", "--model", "hf:nofolder"], "for texts a model"),
        (["text", "cat", "--device", "gpuu"], "expected one that is there"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_loaded(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


def test_words_against_the_target_are_underlined_and_special_tokens_wait(small: Any) -> None:
    import seewhy

    line = coloured([Run("good", 1.0), Run(" "), Run("bad", -1.0), Run("so", 0.01)], Shades(1.0, True))
    assert line.plain == "good bad" + "so"
    styles = {line.plain[span.start : span.end]: span.style for span in line.spans if str(span.style)}
    assert styles["bad"].underline
    assert not styles["good"].underline
    assert styles["good"].bgcolor.name == "rgb(240,160,40)"
    assert "so" not in styles or styles["so"].bgcolor is None
    t = seewhy.explain_text(small.classifier(), "the cat", methods="saliency")
    printed = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for row in lines_of(t, "token", True):
        printed.print(row)
    assert "[CLS]" in printed.export_text()
    hidden = "".join(row.plain for row in lines_of(t, "word", False))
    assert "[CLS]" not in hidden
