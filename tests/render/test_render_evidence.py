"""Evidence on the page, in the figure and in files: what was found is shown, and comes back as it was."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from render_records import explanation

from seewhy.core.errors import SettingError
from seewhy.core.evidence import Evidence, MapEvidence, Randomization, Verdict
from seewhy.core.explanation import Explanation
from seewhy.core.metric import Curve, Measurement
from seewhy.render import load_explanation, plot_evidence, save_report
from seewhy.render.evidence import block, checks, protocol

SHARES = torch.linspace(0, 1, 5, dtype=torch.float64)
HOSTILE = '<script>alert("x")</script> & $x^2$'


def curve(*scores: float) -> Curve:
    return Curve(SHARES, torch.tensor(scores, dtype=torch.float64))


def judged(score: float, verdict: Verdict, check: Randomization | None = None, high: float = 0.9) -> MapEvidence:
    return MapEvidence(
        score,
        0.5,
        verdict,
        f"It {verdict}: <b>because</b>.",
        Measurement("insertion", 0.6, {"steps": 4}, curve(0.1, 0.3, high, 0.7, 0.75), {"start": 0.1}),
        Measurement("deletion", 0.6 - score, {"steps": 4}, curve(0.75, 0.2, 0.1, 0.05, 0.0)),
        check or Randomization({"classifier": 0.1, "last block": -0.001}),
    )


def evidence(**changes: object) -> Evidence:
    facts: dict[str, object] = {
        "maps": {
            "integrated-gradients": judged(0.1, "no better than chance", Randomization(skipped="it is too dear")),
            "grad-cam": judged(0.5, "holds"),
            "saliency": judged(
                0.3, "weak", Randomization({"classifier": 0.95, "last block": 0.92}, ("classifier", "last block"))
            ),
        },
        "chance": tuple(float(value) for value in np.linspace(-0.1, 0.2, 39)),
        "edges": 0.25,
        "chance_insertion": curve(0.1, 0.2, 0.3, 0.4, 0.75),
        "chance_deletion": curve(0.75, 0.5, 0.3, 0.1, 0.0),
        "agreement": {("integrated-gradients", "grad-cam"): 0.123, ("grad-cam", "saliency"): -0.456},
        "trusted": "grad-cam",
        "summary": "1 of 3 maps holds. Trust Grad-CAM most.",
        "protocol": {"steps": 4, "score": "probability", "chance": 39, "chance_spread": 0.09},
        "rows": 2842,
        "budget": 4000,
        "notes": ("One was left out.",),
    }
    return Evidence(**(facts | changes))  # type: ignore[arg-type]


def explained(found: Evidence | None = None, **changes: object) -> Explanation:
    return explanation(evidence={"tabby": found or evidence()}, **changes)


def page(one: Explanation, tmp_path: Path) -> str:
    return one.save(tmp_path / "out.html").read_text(encoding="utf-8")


def section(text: str) -> str:
    return text[text.index('<section class="evidence"') : text.index("</section>", text.index('class="evidence"'))]


# -------------------------------------------------------------------------------------------------------- page


def test_the_page_has_the_verdicts_the_best_first_and_how_it_was_tested(tmp_path):
    shown = section(page(explained(), tmp_path))
    verdicts = re.findall(r'class="verdict (\w+)"[^>]*>([^<]+)<', shown)
    assert verdicts == [("holds", "holds"), ("weak", "weak"), ("chance", "no better than chance")]
    assert re.findall(r'<th scope="row">([^<]+)<', shown)[:3] == ["Grad-CAM", "Saliency", "Integrated gradients"]
    for words in (
        "1 of 3 maps holds. Trust Grad-CAM most.",
        '<div title="it is too dear">not checked</div>',
        '<div class="alarm">classifier 0.95: <b>unchanged</b></div>',
        "<div>classifier 0.10</div><div>last block −0.0010</div>",
        "the area under the target&#39;s probability",
        "2,842 forward passes of at most 4,000",
        "One was left out.",
        "0.12",
        "−0.46",
        "the map to trust",
        '<span class="key edges"></span>edges, which never saw the network (0.25)</span>',
    ):
        assert words in shown, words
    assert shown.count('class="random"') == 39 * 3
    assert shown.count('class="curve best"') == 2


def test_cards_carry_the_verdict_on_their_map(tmp_path):
    text = page(explained(), tmp_path)
    cards = re.findall(r'class="verdict (\w+)"', text.replace(section(text), ""))
    assert cards[:2] == ["holds", "chance"]


def test_the_page_loads_nothing_and_is_whole(tmp_path):
    text = page(explained(), tmp_path)
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", text)
    assert not re.search(r"url\(\s*[\"']?(https?:)?//", text)
    assert "@import" not in text
    for svg in re.findall(r"<svg.*?</svg>", section(text), re.DOTALL):
        ET.fromstring(svg)
        assert "nan" not in svg
    assert section(text).count("<table") == section(text).count("</table>") == 2


def test_hostile_names_are_text(tmp_path):
    found = evidence(
        summary=HOSTILE, notes=(HOSTILE,), maps={"grad-cam": replace(judged(0.5, "holds"), why=f'"{HOSTILE}')}
    )
    titles = {"grad-cam": HOSTILE, "integrated-gradients": "IG"}
    text = page(explained(found, titles=titles), tmp_path)
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in section(text)
    assert 'title="&#34;&lt;script' in section(text)
    found.plot(titles=titles).canvas.draw()


def test_without_a_map_to_trust_none_is_marked(tmp_path):
    shown = section(page(explained(evidence(trusted=None)), tmp_path))
    assert "the map to trust" not in shown
    assert 'class="curve best"' not in shown
    assert 'class="best"' not in shown


def test_several_targets_have_their_own(tmp_path):
    other = evidence(summary="Of the other.", trusted=None)
    one = explanation(evidence={"tabby": evidence(), "Egyptian cat": other})
    text = page(one, tmp_path)
    assert text.count('<section class="evidence"') == 2
    assert text.index("Trust Grad-CAM most") < text.index("Of the other.")
    assert page(explanation(), tmp_path).count('<section class="evidence"') == 0
    assert save_report([one, explanation()], tmp_path / "two.html").exists()


def heights(path: str) -> list[float]:
    return [float(pair.split(",")[1]) for pair in path.removeprefix("M").split(" L")]


def test_curves_go_from_0_to_1_or_as_far_as_the_scores():
    plain = block(evidence(), {})
    assert plain.ticks == ("0.00", "0.50", "1.00")
    assert heights(plain.lines[0].paths[1]) == pytest.approx([108, 84, 12, 36, 30])
    logits = evidence(maps={"grad-cam": judged(0.5, "holds", high=9.0)})
    shown = block(logits, {})
    assert shown.ticks == ("0.00", "4.50", "9.00")
    assert min(heights(shown.lines[0].paths[1])) == 0
    assert len(set(heights(shown.lines[0].paths[1]))) == 5
    flat = curve(*[7.0] * 5)
    one = Measurement("insertion", 7.0, {}, flat)
    same = evidence(
        maps={"a": replace(judged(0, "weak"), insertion=one, deletion=one)}, chance_insertion=flat, chance_deletion=None
    )
    assert block(same, {}).ticks == ("7.00", "7.50", "8.00")
    assert block(same, {}).chance[0] == ""


@pytest.mark.parametrize(
    ("most", "ticks"),
    [
        (0.5, ("0.00", "0.50", "1.00")),
        (0.499, ("0.00", "0.25", "0.50")),
        (0.0021, ("0.00", "0.0015", "0.0030")),
        (0.001, ("0.00", "0.0010", "0.0020")),
        (0.00095, ("0.00", "0.00050", "0.0010")),
        (2.2e-5, ("0.00", "1.5e−5", "3.0e−5")),
        (0.0, ("0.00", "0.50", "1.00")),
    ],
)
def test_small_probabilities_fill_the_chart(most, ticks):
    low = curve(0.0, most / 4, most / 2, most, most / 2)
    one = Measurement("insertion", most, {}, low)
    found = evidence(
        maps={"a": replace(judged(0, "weak"), insertion=one, deletion=one)}, chance_insertion=low, chance_deletion=low
    )
    shown = block(found, {})
    assert shown.ticks == ticks
    top = {"1.00": 1.0, "0.50": 0.5, "0.0030": 0.003, "0.0020": 0.002, "0.0010": 0.001, "3.0e−5": 3e-5}[ticks[2]]
    expected = [120 * (1 - share * most / top) for share in (0, 0.25, 0.5, 1, 0.5)]
    assert heights(shown.lines[0].paths[1]) == pytest.approx(expected, abs=0.06)


def test_places_on_the_strip_keep_the_order_and_stay_inside():
    shown = block(evidence(), {})
    places = [*shown.chance_at, shown.edges_at, *(line.at for line in shown.lines)]
    assert 0 <= min(places) < max(places) <= shown.strip
    assert shown.lines[0].at > shown.lines[1].at > shown.edges_at > max(shown.chance_at) > shown.lines[2].at
    constant = evidence(chance=(0.0,) * 39, edges=0.0, maps={"a": judged(0.0, "no better than chance")})
    assert np.isfinite([*block(constant, {}).chance_at]).all()


def test_numbers_and_words():
    partly = Randomization({"classifier": 0.97, "last block": 0.5}, ("classifier",), "it fails")
    assert checks(partly) == (("classifier 0.97", True), ("last block 0.50", False))
    assert "the area under the target's score." in protocol(evidence(protocol={"steps": 4, "score": "score"}))


# ------------------------------------------------------------------------------------------------------ figure


def test_the_figure_has_scores_and_both_curves():
    figure = evidence().plot(titles={"grad-cam": "Grad-CAM"})
    assert isinstance(figure, Figure)
    scores, insertion, deletion = figure.axes
    assert [label.get_text() for label in scores.get_yticklabels()] == ["Grad-CAM", "Saliency", "Integrated gradients"]
    assert (insertion.get_title(loc="left"), deletion.get_title(loc="left")) == ("Insertion", "Deletion")
    assert len(insertion.lines) == len(deletion.lines) == 4
    np.testing.assert_allclose(insertion.lines[-1].get_ydata(), [0.1, 0.2, 0.3, 0.4, 0.75])
    np.testing.assert_allclose(insertion.lines[-2].get_linewidth(), 2.2)  # the map to trust lies on top of the others
    dots = [line.get_xdata()[0] for line in scores.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert dots == [0.5, 0.3, 0.1]
    titled = replace(evidence(), maps={"grad-cam": replace(judged(0.5, "holds"), title="Grad-CAM by name")})
    assert [label.get_text() for label in titled.plot().axes[0].get_yticklabels()] == ["Grad-CAM by name"]
    assert figure.get_suptitle() == "1 of 3 maps holds. Trust Grad-CAM most."


def test_nothing_in_the_figure_is_cut_off():
    summary = "9 of 9 maps hold. Trust A method with a name longer than any most: insertion minus deletion 0.60. " * 3
    maps = {f"method-number-{n}-with-a-long-name": judged(n / 10, "no better than chance") for n in range(9)}
    figure = plot_evidence(evidence(summary=summary, maps=maps, trusted=None))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    whole = figure.bbox
    texts = [*figure.texts, *(text for axes in figure.axes for text in (*axes.texts, *axes.get_yticklabels()))]
    texts += [axes.title for axes in figure.axes]
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
    assert len(boxes) > 18
    for box in boxes:
        assert whole.x0 <= box.x0
        assert box.x1 <= whole.x1
        assert whole.y0 <= box.y0
        assert box.y1 <= whole.y1
    top = figure._suptitle.get_window_extent(renderer)
    assert all(axes.get_tightbbox(renderer).y1 <= top.y0 + 1 for axes in figure.axes)
    # the verdicts beside the scores end before the curves begin
    left = figure.axes[1].get_tightbbox(renderer).x0
    assert all(text.get_window_extent(renderer).x1 <= left for text in figure.axes[0].texts)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_figures_are_written(tmp_path, suffix):
    path = evidence().save(tmp_path / f"out.{suffix}")
    assert path.stat().st_size > 1000
    if suffix == "png":
        assert Image.open(path).size[0] == 1650


def test_other_forms_are_refused(tmp_path):
    with pytest.raises(SettingError, match=r"\.png, \.svg, \.pdf; given '.*x\.bmp'.*save\('cat\.json'\)"):
        evidence().save(tmp_path / "x.bmp")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("suffix", ["npz", "json"])
def test_evidence_comes_back_as_it_was(tmp_path, suffix):
    first = explained(errors={})
    again = load_explanation(first.save(tmp_path / f"out.{suffix}"))
    one, other = first.evidence["tabby"], again.evidence["tabby"]
    assert isinstance(other, Evidence)
    bare = {"chance_insertion": None, "chance_deletion": None, "maps": {}}
    assert replace(one, **bare) == replace(other, **bare)
    assert list(one.maps) == list(other.maps)
    curves = [(one.chance_insertion, other.chance_insertion), (one.chance_deletion, other.chance_deletion)]
    for name, mine in one.maps.items():
        theirs = other.maps[name]
        for kind in ("insertion", "deletion"):
            left, right = getattr(mine, kind), getattr(theirs, kind)
            curves.append((left.curve, right.curve))
            assert replace(left, curve=None) == replace(right, curve=None)
        assert (mine.score, mine.percentile, mine.verdict, mine.why) == (
            *(theirs.score, theirs.percentile),
            *(theirs.verdict, theirs.why),
        )
        assert mine.randomization == theirs.randomization
    for left, right in curves:
        assert torch.equal(left.fractions, right.fractions)
        assert torch.equal(left.scores, right.scores)
        assert left.scores.dtype == right.scores.dtype
    assert other.ranked == one.ranked
    assert page(again, tmp_path) == page(first, tmp_path)
