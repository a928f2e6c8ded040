"""Texts drawn: every letter of the text is there once, colours follow values, pages are closed to the network."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from seewhy.core.errors import SettingError
from seewhy.core.evidence import Evidence
from seewhy.core.explanation import Answer, Prediction
from seewhy.core.text import TextAttribution, TextExplanation
from seewhy.core.tokens import TokenizedText, Word
from seewhy.render.text_figure import flowed, plot_text
from seewhy.render.text_files import load_text, save_text
from seewhy.render.text_page import proof_protocol, text_page
from seewhy.render.text_runs import FOR, Run, Shades, runs, shades

FIRST, SECOND = "Cats  sat, <i>", "猫 &\nso"


def record(values: list[float] | None = None, signed: bool = True) -> TextExplanation:
    text = TokenizedText(
        texts=(FIRST, SECOND),
        ids=tuple(range(12)),
        tokens=("[CLS]", "cat", "##s", "sat", ",", "<i>", "[SEP]", "猫", "&", "\n", "so", "[SEP]"),
        special=(True, *[False] * 5, True, *[False] * 4, True),
        segments=(None, 0, 0, 0, 0, 0, None, 1, 1, 1, 1, None),
        spans=(None, (0, 3), (3, 4), (6, 9), (9, 10), (11, 14), None, (0, 1), (2, 3), (3, 4), (4, 6), None),
        words=(
            Word("Cats", 0, 0, 4), Word("sat", 0, 6, 9), Word(",", 0, 9, 10), Word("<i>", 0, 11, 14),
            Word("猫", 1, 0, 1), Word("&", 1, 2, 3), Word("\n", 1, 3, 4), Word("so", 1, 4, 6),
        ),
        word_index=(None, 0, 0, 1, 2, 3, None, 4, 5, 6, 7, None),
    )  # fmt: skip
    made = torch.tensor(values or [9.0, 0.5, 0.25, -0.5, 0, 1, 9, 0.1, 0.2, 0, -1, 9], dtype=torch.float64)
    own = TextAttribution("saliency", "Saliency", "yes", text, made, 0.7, "score", signed, True)
    return TextExplanation(
        text=text, model="model <x>", task="classifier", targets=("yes",),
        prediction=Prediction((Answer(0, "yes", 0.7),), "probability", 2), attributions={("saliency", "yes"): own},
        errors={("lime", "yes"): SettingError("no <b>luck</b>")}, titles={"saliency": "Saliency", "lime": "LIME"},
    )  # fmt: skip


def own_of(found: TextExplanation) -> TextAttribution:
    return found["saliency"]


@pytest.mark.parametrize("unit", ["word", "token"])
def test_every_letter_of_both_texts_is_drawn_once(unit: str) -> None:
    lines = runs(own_of(record()), unit)
    assert ["".join(run.text for run in line) for line in lines] == [FIRST, SECOND]
    valued = [run.value for line in lines for run in line if run.value is not None]
    assert valued == [part.value for part in own_of(record()).parts(unit)]


def test_special_tokens_stand_where_they_stood() -> None:
    lines = runs(own_of(record()), special=True)
    assert [run.text for run in lines[0] if run.special] == ["[CLS]", "[SEP]"]
    assert lines[0][0].special
    assert [run.text for run in lines[1] if run.special] == ["[SEP]"]
    assert lines[1][-1].special


def test_shades_follow_what_is_shown() -> None:
    found = own_of(record())
    assert shades(found).most == 1  # the special tokens' 9 is not shown
    assert shades(found, special=True).most == 9
    scale = Shades(2.0, True)
    assert scale.rgb(0) == (255, 255, 255)
    assert scale.rgb(2) == FOR
    assert scale.rgb(-2)[2] > scale.rgb(-2)[0]
    assert scale.strength(-1) == -0.5
    assert Shades(0.0, True).rgb(0.0) == (255, 255, 255)


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, str | None] | None = None
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        known = dict(attrs)
        self.inside = known if tag == "span" and (known.get("class") or "").startswith("w ") else None

    def handle_endtag(self, tag: str) -> None:
        self.inside = None

    def handle_data(self, data: str) -> None:
        if self.inside is not None:
            self.words.append((data, self.inside))


def test_the_page_says_what_the_record_says() -> None:
    page = text_page(record())
    reader = Reader()
    reader.feed(page)
    shown = [(word, known) for word, known in reader.words if "sp" not in (known["class"] or "").split()]
    assert [word for word, _ in shown] == ["Cats", "sat", ",", "<i>", "猫", "&", "\n", "so"]
    strengths = [float((known["style"] or "--s:0").split(":")[1]) for _, known in shown]
    assert strengths == pytest.approx([0.75, 0.5, 0, 1, 0.1, 0.2, 0, 1])
    sides = ["against" in (known["class"] or "") for _, known in shown]
    assert sides == [False, True, False, False, False, False, False, True]
    assert "i" not in reader.tags
    assert "script" not in reader.tags
    assert "no &lt;b&gt;luck" in page
    assert "default-src 'none'" in page
    assert "yes 70.0%" in page


def test_the_figure_has_a_box_in_the_words_colour() -> None:
    figure = plot_text(record())
    colours = {tuple(np.round(to_rgb(patch.get_facecolor()), 2)) for patch in figure.findobj(Rectangle)}
    assert tuple(np.round(np.array(FOR) / 255, 2)) in colours
    texts = [text.get_text() for text in figure.texts]
    assert "Cats" in texts
    assert "猫" in texts
    assert any("no <b>luck</b>" in text for text in texts)


def test_long_words_and_lines_break() -> None:
    placed = flowed([Run("x" * 300, 1.0), Run(" "), Run("end", 1.0), Run("\n\n"), Run("new", 1.0)], 3.0)
    assert all(item.left + item.width <= 3.0 + 1e-6 for item in placed)
    assert "".join(item.run.text for item in placed) == "x" * 300 + "endnew"
    assert placed[-1].line == placed[-2].line + 2
    assert placed[-1].left == 0


def test_files_load_again(tmp_path: Path) -> None:
    found = record()
    for suffix in (".json", ".npz"):
        again = load_text(save_text(found, tmp_path / f"t{suffix}"))
        assert again.text == found.text
        assert torch.equal(again["saliency"].values, found["saliency"].values)
        assert again["saliency"].tokens == found["saliency"].tokens
    with pytest.raises(SettingError, match=r"saved as \.html"):
        save_text(found, tmp_path / "t.gif")
    assert save_text(found, tmp_path / "t.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("of", "words"), [("score", "the target's score"), ("probability", "the target's probability")]
)
def test_the_test_of_a_text_is_told_in_words(of: str, words: str) -> None:
    how = {"removed": "words, replaced by mask", "score": of, "orders": 40, "control": "long words first", "own": 3}
    found = Evidence({}, (), 0.0, None, None, {}, None, "", how, 0, 0)
    assert proof_protocol(found) == (
        f"Removed: words, replaced by mask; measured: the target's {of}; 40 random orders; control: long words first; "
        "own 3"
    )
