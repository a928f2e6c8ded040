"""The atlas must need nothing but itself, hold every channel and class, and run nobody else's script."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from seewhy.core.errors import SettingError, UnknownNameError
from seewhy.core.explanation import Answer
from seewhy.core.filters import Example, Excerpt, Field, Filter, Filters, Ranked, Speech, Statistics
from seewhy.render import filter_sheet, filters_html, plot_filters, save_filters
from seewhy.render import filters as atlas
from seewhy.render.filter_sheet import channel_scale, colour_words, map_picture
from seewhy.render.filters import atlas_data, filters_page
from seewhy.render.pages import source

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`{{ 7*7 }} http://example.org/x"
RNG = np.random.default_rng(0)


def picture(height=40, width=60):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def excerpts(name, crop, count=3):
    return tuple(
        Excerpt(f"{name}{at}.png", 0.1 * at, 1.0 - 0.1 * at, (0, at), (0, 0, 40, 60), crop, (0.25, 0.5, 0.75, 1.0))
        for at in range(count)
    )


def record(count=5, *, classes=4, name="cat", signed=False, label="label", crops=None):
    """Filters 10, 11, ... whose crops are shared by all, or one of `crops` each."""
    maps = RNG.random((count, 3, 4)).astype(np.float32) - (0.5 if signed else 0)
    filters = []
    for place in range(count):
        crop = (crops or [SHARED])[place % len(crops or [SHARED])]
        ranked = Ranked(excerpts(f"{name}-most", crop), excerpts(f"{name}-least", crop))
        numbers = Statistics(0.5, 0.9, -1.0 if signed else 0.0, float(place), 0.25)
        filters.append(Filter(10 + place, numbers, "dead" if place == 1 else "", ranked, ranked))
    weights = RNG.normal(size=(classes, count)).astype(np.float32)
    pooled = np.full(count, 0.5, np.float32)
    labels = tuple(f"{label} {index}" for index in range(classes))
    mean, most = maps.mean((1, 2)), maps.max((1, 2))
    answer = Answer(2, labels[2], 3.0)
    return Filters(
        name,
        name,
        (count, 3, 4),
        2000,
        True,
        tuple(filters),
        Example(f"{name}.png", picture(), maps, mean, most, answer, weights[2] * mean, 0.5),
        7,
        Field((0, 0), (9, 9), (4, 4), (2, 2), (5, 5), (False, False)),
        "A unit sees 9 x 9 pixels.",
        Speech("head", "average", weights, np.zeros(classes, np.float32), pooled, labels),
        failures=((f"{name}-bad.png", name),),
        notes=(name,),
        provenance={"model": name},
    )


SHARED = np.stack(np.broadcast_arrays(*np.ogrid[:160:4, :240:4], np.uint8(90)), -1).astype(np.uint8)


def data_of(page):
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(text)


def test_the_page_needs_no_network_and_only_its_own_script():
    page = filters_page(record())
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1)
    assert policy.startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}'" in policy
    assert "img-src data:" in policy
    assert not re.findall(r"https?://|src=\"(?!data:)|url\(|@import|fetch\(|XMLHttpRequest", page)


def test_what_files_and_models_name_is_text_and_no_markup():
    found = record(name=EVIL, label=EVIL)
    page = filters_page(found)
    assert page.count("<script") == 2
    assert "<img src=x" not in page
    assert "{{ 7*7 }}" in data_of(page)["classes"][0][0]  # as it was, and not 49
    assert data_of(page)["classes"][0][0].endswith("http://example.org/x 0")
    assert page.count("</script>") == 2


def test_every_channel_and_every_class_can_be_found():
    found = record(count=30, classes=50)
    data = data_of(filters_page(found))
    assert [one["channel"] for one in data["filters"]] == [one.index for one in found.filters]
    assert [label for label, _ in data["classes"]] == list(found.speech.labels)
    for row, (_, channels) in enumerate(data["classes"]):
        weights = found.speech.weights[row]
        assert [place for place, _ in channels] == np.argsort(-weights, kind="stable")[:16].tolist()
        assert [weight for _, weight in channels] == pytest.approx([float(weights[at]) for at, _ in channels], rel=1e-3)
    for place, one in enumerate(data["filters"]):
        assert one["full"] == f"{float(found.example.maps[place].max()):.3g}"
        best = int(found.speech.weights[:, place].argmax())
        assert one["voices"][0][0] == best
        assert one["state"] == found.filters[place].state


def test_pictures_are_those_of_the_record_and_stand_in_the_page_once():
    found = record(count=20)
    data = data_of(filters_page(found))
    assert len(set(data["pictures"])) == len(data["pictures"]) == 20 + 1  # a map each, and the crop that all share
    crop, name, value, mark, box = data["filters"][3]["lists"]["max-most"][1]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data["pictures"][crop].split(",")[1]))).convert("RGB"))
    assert np.abs(shown.astype(float) - SHARED).mean() < 4  # it is a JPEG
    assert (data["names"][name], value, mark, box) == ("cat-most1.png", "0.9", [0.25, 0.5, 0.75, 1.0], [0, 0, 40, 60])
    drawn = base64.b64decode(data["pictures"][data["filters"][3]["map"]].split(",")[1])
    exact = channel_scale(found, 3).colours(found.example.maps[3])[..., :3]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB")), exact)


def test_a_map_shows_its_cells_in_the_colours_of_its_scale():
    found = record(signed=True)
    drawn = map_picture(found, 2, 80)
    assert drawn.shape == (60, 80, 3)
    wanted = channel_scale(found, 2).colours(found.example.maps[2])[..., :3]
    np.testing.assert_array_equal(drawn[10::20, 10::20], wanted)
    assert channel_scale(found, 2).high == pytest.approx(float(np.abs(found.example.maps[2]).max()))
    assert "blue: below 0" in colour_words(found)
    assert "black: 0" in colour_words(record())


def test_pictures_beyond_the_room_are_left_out_and_said_so(monkeypatch):
    found = record(count=12, crops=[picture() for _ in range(12)])
    whole, none = atlas_data(found)
    assert none == 0
    room = sum(len(uri) for uri in whole["pictures"][:20])
    monkeypatch.setattr(atlas, "MOST_BYTES", room)
    page = filters_page(found)
    assert sum(map(len, data_of(page)["pictures"])) <= room
    assert "pictures are left out, so that the page stays below 20 MB" in page
    assert all(one["map"] >= 0 for one in data_of(page)["filters"])  # maps come before crops


def test_a_layer_without_a_head_has_no_classes_and_says_why():
    found = record()
    silent = Filters(
        *(found.model, found.layer, found.size, found.channels, True, found.filters, found.example, 7),
        silence="Not last.",
    )
    page = filters_page(silent)
    assert data_of(page)["classes"] == []
    assert "Not last." in page
    assert '<option value="class"' not in page


def test_files_are_written_by_suffix(tmp_path):
    found = record()
    assert save_filters(found, tmp_path / "atlas.html").read_text().startswith("<!DOCTYPE html>")
    assert Image.open(found.save(tmp_path / "sheet.png")).format == "PNG"
    with pytest.raises(SettingError, match=r"\.html, \.png, \.csv, \.npz, \.json"):
        save_filters(found, tmp_path / "atlas.pdf")
    assert 'sandbox="allow-scripts"' in filters_html(found)


def words(figure):
    return [text.get_text() for text in figure.texts]


def test_the_sheet_names_every_channel_and_its_scale(monkeypatch):
    found = record(count=12)
    shown = words(plot_filters(found))
    for place, one in enumerate(found.filters):
        assert str(one.index) in shown
        if not one.state:
            assert f"{found.example.maps[place].max():.3g}" in shown
    assert "dead" in shown
    assert any("Each map on its own scale" in line for line in shown)
    monkeypatch.setattr(filter_sheet, "MOST_PANELS", 10)
    shown = words(plot_filters(found))
    weakest = np.argsort(found.example.maps.max((1, 2)))[:2]
    assert not any(str(10 + place) in shown for place in weakest)
    assert any("the 10 that answer most" in line for line in shown)


def test_few_channels_stand_with_their_pictures():
    shown = words(plot_filters(record(), channels=[12, 11]))
    assert shown.index("Channel 12") < shown.index("Channel 11, dead")
    assert shown.count("cat-most0.png") == 2
    with pytest.raises(UnknownNameError, match="given 3"):
        plot_filters(record(), channels=[3])


@pytest.mark.skipif(shutil.which("node") is None, reason="the page's script needs something that runs it")
def test_the_order_by_channel_number_is_one(tmp_path):
    """Channels stand in the record as they were asked for; the page says that it orders them by number."""
    found = record(4)
    mixed = tuple(replace(one, index=index) for one, index in zip(found.filters, (281, 3, 1000, 30), strict=True))
    data, _ = atlas_data(replace(found, filters=mixed))
    made = re.search(r"function sorted\(.*?\n}", source("filters.js"), re.S).group(0)
    script = (
        f"const data = {json.dumps(data)}; const order = {{value: 'channel'}}; const weights = new Map();\n{made}\n"
        "console.log(sorted([0, 1, 2, 3]).map((place) => data.filters[place].channel).join());"
    )
    path = tmp_path / "order.js"
    path.write_text(script, encoding="utf-8")
    done = subprocess.run(["node", str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3,30,281,1000"
