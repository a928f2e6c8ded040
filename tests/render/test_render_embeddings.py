"""Figures, pages and files of embeddings and of words in context, from records made by hand."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import font_manager

import seewhy
from seewhy.core.embeddings import Embeddings, Level, Point, Stage
from seewhy.core.errors import InputError, LayerError, SettingError, UnknownNameError
from seewhy.core.words import Separation, Use, WordInContext
from seewhy.render import embeddings as page
from seewhy.render import fonts
from seewhy.render import words as words_page
from seewhy.render.embedding_files import load_embeddings, load_word_in_context
from seewhy.render.embeddings_figure import label_texts, plot_embeddings
from seewhy.render.labels import placed, width_of, wrapped
from seewhy.render.words_figure import coloured, plot_words, summary

CONTEXT = "The cat </script> sat & slept."


def points_of(context: str) -> tuple[Point, ...]:
    own = [Point("where", "question", segment=0, start=0, end=5), Point("?", "question", segment=0, start=5, end=6)]
    for found in re.finditer(r"\w+|[^\w\s]", context):
        role = "answer" if found.group() in ("cat", "苹") else "context"
        own.append(Point(found.group(), role, found.group() != "slept", True, 1, *found.span()))
    return tuple(own)


def record(context: str = CONTEXT, layers: int = 3, **more) -> Embeddings:
    points = points_of(context)
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(layers, len(points), 6)).astype(np.float32)
    levels = tuple(Level(layer, 0.4 + 0.1 * layer, 0.5, 0.4, 0.6, 0.2 / layer**2) for layer in range(1, layers + 1))
    stages = (
        Stage("meaning", "similar words cluster", "How often.", "places", levels, 2, 0.03, shown=True, verdict="Seen."),
        Stage("answer", "the answer stands apart", "How far.", verdict="Not measured: no answer is marked."),
    )
    given = {
        "model": "tiny",
        "texts": ("where?", context),
        "points": points,
        "layers": tuple(range(1, layers + 1)),
        "coordinates": vectors[..., :2].astype(float),
        "vectors": vectors,
        "explained": np.tile([0.5, 0.25], (layers, 1)),
        "stages": stages,
        "answer": "cat",
        "answer_source": "model",
        "notes": ("A note with <b>.",),
    }
    return Embeddings(**{**given, **more})


def uses_record(sentences: int = 6, labelled: bool = True, layers: int = 3) -> WordInContext:
    generator = np.random.default_rng(1)
    texts = [f"Sentence {number} has an apple <{number}> in it." for number in range(sentences)]
    uses = tuple(
        Use(text, (start := text.index("apple")), start + 5, ("apple",), "ab"[place % 2] if labelled else "")
        for place, text in enumerate(texts)
    )
    vectors = generator.normal(size=(layers, sentences, 5)).astype(np.float32)
    distance = np.linalg.norm(vectors[:, :, None] - vectors[:, None], axis=3).astype(float)
    similarity = np.clip(1 - distance / 10, -1, 1)
    rows = tuple(Separation(layer, 0.8, 0.7, 0.1, 0.2, 0.0, -0.05, 0.06, 0.01) for layer in range(layers))
    orders = np.tile(np.arange(sentences)[::-1], (layers, 1))
    return WordInContext(
        "tiny", "apple", uses, tuple(range(layers)), vectors, distance, similarity, orders, rows if labelled else ()
    )


def texts_in(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text"))]


def boxes(figure, axes):
    figure.canvas.draw()
    return [text.get_window_extent() for text in axes.texts]


def test_no_two_words_of_a_panel_lie_on_each_other():
    generator = np.random.default_rng(2)
    many = tuple(Point(f"word{place}", "context", segment=1, start=0, end=4) for place in range(60))
    crowded = generator.normal(size=(1, 60, 2)) * 0.2
    crowded[0, :3] = [[4, 3], [-4, -3], [4, -3]]
    found = Embeddings(
        "tiny", ("a", "b"), many, (1,), crowded, np.zeros((1, 60, 4), np.float32), np.array([[0.5, 0.2]])
    )
    figure = plot_embeddings(found)
    axes = next(one for one in figure.axes if len(one.texts) > 20)
    drawn = boxes(figure, axes)
    assert len(drawn) > 45
    frame = axes.get_window_extent()
    for place, one in enumerate(drawn):
        assert frame.x0 - 1 <= one.x0
        assert one.x1 <= frame.x1 + 1
        for other in drawn[place + 1 :]:
            assert (
                min(one.x1, other.x1) - max(one.x0, other.x0) < 1 or min(one.y1, other.y1) - max(one.y0, other.y0) < 2
            )


def test_labels_go_to_the_nearest_free_place_and_nowhere_else():
    points = np.array([[1.0, 1.0], [1.02, 1.0], [5.0, 5.0]])
    sizes = np.full((3, 2), (0.5, 0.1))
    one, two, outside = placed(points, sizes, (3.0, 3.0), [0, 1, 2])
    assert one is not None
    assert two is not None
    assert outside is None  # its point lies beyond the edges
    assert one[0] + 0.5 <= two[0] or two[0] + 0.5 <= one[0] or one[1] + 0.1 <= two[1] or two[1] + 0.1 <= one[1]
    assert np.hypot(one[0] - 1.0, one[1] - 1.0) < 0.7


def test_texts_are_wrapped_by_their_drawn_width():
    lines = wrapped("a word and another word and some more of them", 9, 1.2, 3)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert all(width_of(line.rstrip("…"), 9) <= 1.3 for line in lines)
    assert wrapped("short", 9, 5, 3) == ["short"]
    assert len(wrapped("字" * 40, 9, 1.2, 2)) == 2


def test_panels_say_what_they_show_and_stages_what_was_found():
    texts = texts_in(plot_embeddings(record()))
    assert {"Layer 1", "Layer 2", "Layer 3", "75% of the variance (50% + 25%)"} <= set(texts)
    assert "Similar words cluster" in texts
    assert any("1 of 1 measurable stages are seen" in text for text in texts)
    assert any("Not measured" in text for text in texts)
    assert "cat (found by the model)" in texts
    assert any("hollow" in text for text in texts)
    only = texts_in(plot_embeddings(record(), layers=[2], words=False))
    assert "Layer 1" not in only
    assert "slept" not in only
    with pytest.raises(LayerError, match="1, 2, 3"):
        plot_embeddings(record(), layers=[7])


def test_points_stand_where_the_record_says_on_one_scale():
    found = record(coordinates=np.tile(np.linspace([0, 0], [8, 2], len(points_of(CONTEXT))), (3, 1, 1)))
    axes = next(one for one in plot_embeddings(found).axes if len(one.texts) > 3)
    drawn = np.concatenate([np.stack(line.get_data(), 1) for line in axes.lines if line.get_linestyle() == "None"])
    drawn = drawn[np.argsort(drawn[:, 0])]
    across, down = np.diff(drawn[[0, -1]], axis=0)[0]
    assert across / -down == pytest.approx(4, rel=1e-6)
    low, high = axes.get_xlim()
    assert low < drawn[0, 0]
    assert drawn[-1, 0] < high


def test_flat_layers_are_said_and_not_drawn():
    texts = texts_in(plot_embeddings(record(flat=(2,))))
    assert texts.count("All points are the same.") == 1
    assert '"flat":true' in page.embeddings_page(record(flat=(2,)))


def test_words_that_no_font_has_are_numbers_and_the_figure_says_so(monkeypatch):
    own = [font for font in font_manager.fontManager.ttflist if font.name.startswith(("DejaVu", "STIX", "cm"))]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    monkeypatch.setattr(fonts, "_add_new_fonts", lambda: None)
    for function in (fonts._covering, fonts._candidates):
        function.cache_clear()
    found = record("苹 果 is red")
    labels, missing = label_texts(found)
    assert labels[2:] == ["#3", "#4", "is", "red"]
    assert set(missing) == {"苹", "果"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of each letter it draws as a box
        figure = plot_embeddings(found)
        figure.canvas.draw()
        words = replace(uses_record(2), word="苹果", uses=(Use("吃苹果", 1, 3, ("苹", "果"), "水"),) * 2)
        plot_words(words).canvas.draw()
    texts = " ".join(texts_in(figure))
    assert "苹" not in texts
    assert "fonts-wqy-microhei" in texts
    assert "苹" in page.embeddings_page(found)
    for function in (fonts._covering, fonts._candidates):
        function.cache_clear()


def test_the_page_needs_no_network_escapes_names_and_holds_every_token():
    html = page.embeddings_page(record())
    assert "</script> sat" not in html
    assert "A note with &lt;b&gt;." in html
    assert not re.search(r"(src|href)=", html)
    assert html.count('class="token ') == len(points_of(CONTEXT))
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.S)[1])
    assert [layer["name"] for layer in data["layers"]] == ["Layer 1", "Layer 2", "Layer 3"]
    assert data["layers"][0]["about"].startswith("75%")
    shown, true = np.array(data["layers"][0]["points"]), record().coordinates[0]
    scale = np.ptp(shown[:, 0]) / np.ptp(true[:, 0])
    np.testing.assert_allclose(shown - shown[0], scale * (true - true[0]), atol=3)  # the same scale on both axes
    near = np.linalg.norm(record().vectors[0][:, None] - record().vectors[0][None], axis=2)
    np.fill_diagonal(near, np.inf)
    assert [row[0] for row in data["layers"][0]["near"]] == near.argmin(1).tolist()
    assert "iframe" in record()._repr_html_()


def test_the_text_on_the_page_is_the_text():
    html = page.embeddings_page(record())
    own = re.search(r"<dt>context</dt><dd[^>]*>(.*?)</dd>", html, re.S)[1]
    assert re.sub(r"<[^>]*>", "", own).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == CONTEXT


@pytest.mark.parametrize("suffix", [".html", ".png", ".svg", ".npz", ".json"])
def test_both_records_are_saved_in_every_form_the_same_each_time(tmp_path, suffix):
    for name, found in (("e", record()), ("w", uses_record())):
        path = found.save(tmp_path / f"{name}{suffix}")
        content = path.read_bytes()
        assert len(content) > 1000
        if suffix != ".npz":  # holds the time
            assert found.save(tmp_path / f"{name}2{suffix}").read_bytes() == content


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_data_load_again(tmp_path, suffix):
    found = record()
    back = load_embeddings(found.save(tmp_path / f"e{suffix}"))
    np.testing.assert_array_equal(back.vectors, found.vectors)
    np.testing.assert_array_equal(back.coordinates, found.coordinates)
    assert (back.points, back.stages, back.layers, back.notes) == (
        found.points,
        found.stages,
        found.layers,
        found.notes,
    )
    words = replace(uses_record(), separation=(Separation(0, *[np.nan] * 8),))
    again = seewhy.load_word_in_context(words.save(tmp_path / f"w{suffix}"))
    np.testing.assert_array_equal(again.similarity, words.similarity)
    assert again.uses == words.uses
    assert np.isnan(again.separation[0].p)
    with pytest.raises(SettingError):
        load_word_in_context(tmp_path / f"e{suffix}")


def test_other_suffixes_and_folders_are_refused(tmp_path):
    for found in (record(), uses_record()):
        with pytest.raises(SettingError, match=r"\.svg"):
            found.save(tmp_path / "x.txt")
        with pytest.raises(SettingError, match="does not exist"):
            found.save(tmp_path / "no" / "x.png")


def test_heat_maps_show_the_numbers_in_the_trees_order():
    found = uses_record()
    texts = texts_in(plot_words(found, layer=1))
    assert "“apple” in 6 sentences" in texts
    for pair in ((0, 1), (4, 2)):
        assert f"{found.distance[1][pair]:.2f}".lstrip("0") in texts
        assert f"{found.similarity[1][pair]:.2f}".lstrip("0") in texts
    assert {"Margin", "Silhouette", "embeddings", "layer 2"} <= set(texts)
    assert any("margin of 0.100" in text for text in texts)
    with pytest.raises(LayerError, match="0, 1, 2"):
        found.plot(layer=5)
    unlabelled = texts_in(plot_words(uses_record(labelled=False)))
    assert "Margin" not in unlabelled


def test_colours_are_lighter_where_uses_are_more_alike():
    values = np.array([[0.0, 1.0], [5.0, np.nan]])
    weights = np.array([0.299, 0.587, 0.114])
    for nearer in ("low", "high"):
        light = coloured(values, (0.0, 5.0), nearer) @ weights
        assert (light[0, 0] > light[0, 1] > light[1, 0]) == (nearer == "low")
        assert (coloured(values, (0.0, 5.0), nearer)[1, 1] == 200).all()


@pytest.mark.parametrize("sentences", [2, 30, 80])
def test_few_and_many_sentences_are_drawn(sentences):
    figure = plot_words(uses_record(sentences))
    figure.canvas.draw()
    texts = texts_in(figure)
    assert any("written in the .html page only" in text for text in texts) == (sentences > 60)


def test_the_words_page_escapes_names_and_shows_the_first_of_very_many(monkeypatch):
    html = words_page.words_page(uses_record())
    assert "<0> in it" not in html
    assert not re.search(r"(src|href)=", html)
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.S)[1])
    assert data["uses"][3][1] == "apple"
    assert data["layers"][2]["order"] == [5, 4, 3, 2, 1, 0]
    assert data["layers"][1]["distance"][0][1] == pytest.approx(uses_record().distance[1, 0, 1], rel=1e-3)
    monkeypatch.setattr(words_page, "MOST", 4)
    few = words_page.words_page(uses_record())
    assert "first 4 of 6 sentences" in few
    assert len(json.loads(re.search(r'id="data">(.*?)</script>', few, re.S)[1])["uses"]) == 4
    holed = replace(uses_record(), similarity=np.full((3, 6, 6), np.nan))
    assert "null" in words_page.words_page(holed)
    plot_words(holed).canvas.draw()


def test_words_say_whether_the_margin_is_more_than_chance():
    found = uses_record()
    assert "more than shuffled" in summary(found, 0)
    weak = replace(found, separation=tuple(replace(one, p=0.4) for one in found.separation))
    assert "no more than shuffled" in summary(weak, 0)
    none = replace(found, separation=tuple(replace(one, margin=np.nan) for one in found.separation))
    assert "no margin" in summary(none, 0)


def test_records_that_do_not_fit_together_are_refused():
    with pytest.raises(InputError, match="coordinates"):
        record(layers=3, coordinates=np.zeros((2, 3, 2)))
    with pytest.raises(InputError, match="squares"):
        replace(uses_record(), distance=np.zeros((3, 5, 5)))
    with pytest.raises(UnknownNameError, match="meaning, answer"):
        record()["matching"]
    assert record()["meaning"].best == 2
