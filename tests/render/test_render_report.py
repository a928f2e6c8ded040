"""The report must need nothing but itself, show the numbers of the record, and run nobody else's script."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from render_records import attribution, explanation, photo

from seewhy.core.errors import LayerError, SettingError
from seewhy.core.explanation import Answer, Explanation, Finding, Prediction
from seewhy.core.targets import Class
from seewhy.render import explanation_html, report_html
from seewhy.render.panels import explanation_panels, panel_scales

EVIL = "</style></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`{{ 7*7 }}"


class Page(HTMLParser):
    """Collects elements, their attributes and the text, as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [
            attrs
            for name, attrs in self.elements
            if name == tag and all(attrs.get(key.rstrip("_")) == value for key, value in wanted.items())
        ]


def evil() -> Explanation:
    one = attribution(torch.rand(1, 16, 16), layer=EVIL, units=EVIL, settings={EVIL: EVIL}, diagnostics={EVIL: EVIL})
    return explanation(
        source=EVIL,
        model=EVIL,
        prediction=Prediction((Answer(0, EVIL, 0.5),), "probability", 2),
        targets={EVIL: Class(0)},
        attributions={(EVIL, EVIL): one},
        errors={("bad", EVIL): LayerError(EVIL), ("worse", EVIL): RuntimeError(EVIL)},
        findings={(EVIL, EVIL): (Finding("x", EVIL, "warning"),)},
        notes=(EVIL,),
        provenance={EVIL: EVIL},
    )


def pixels(uri: str) -> np.ndarray:
    head, data = uri.split(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))


def test_the_page_is_well_formed_and_closed() -> None:
    page = Page(report_html([explanation(), explanation(source="dog.png")]))
    assert page.open == []
    identities = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(identities) == len(set(identities))
    for _, attrs in page.elements:  # what refers to an element of the page finds it
        for name in ("aria-controls", "aria-labelledby"):
            assert name not in attrs or attrs[name] in identities
        if attrs.get("href", "").startswith("#"):
            assert attrs["href"][1:] in identities


@pytest.mark.parametrize("make", [explanation, evil])
def test_nothing_is_fetched(make: Any) -> None:
    source = report_html([make(), make()])
    page = Page(source)
    for tag, attrs in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "video", "audio")
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            assert name not in attrs or attrs[name].startswith(("data:image/", "#"))
    style = source[source.index("<style>") : source.index("</style>")]
    assert not re.search(r"@import|url\((?!data:image/)", style)
    [policy] = [attrs for attrs in page.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy["content"].startswith("default-src 'none'; img-src data:;")
    assert "unsafe-inline" not in policy["content"].split("script-src")[1]


def test_the_policy_lets_exactly_the_pages_own_script_run() -> None:
    source = report_html([explanation()])
    [script] = re.findall(r"<script>(.*?)</script>", source, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in source


def test_whatever_users_name_is_text_and_nothing_else() -> None:
    source = report_html([evil(), evil()])
    page = Page(source)
    assert len(page.all("script")) == 1
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    assert not any(attrs.get("src") == "x" for attrs in page.all("img"))
    assert page.text.count("alert(1)") > 10  # shown, as what it is
    assert "49" not in re.sub(r"\d{3,}|[\d.]*49[\d.]+|[\d.]+49", "", page.text)  # no template inside the template


def test_surrogates_in_file_names_can_be_written() -> None:
    assert report_html([explanation(source="caf\udce9.png")]).encode("utf-8")


def test_map_layers_hold_the_scale_colours_of_the_records_numbers() -> None:
    record = explanation()
    panels = explanation_panels(record, 480)
    scales = panel_scales(panels)
    layers = Page(report_html([record])).all("img", class_="map")
    drawn = [(panel, scale) for panel, scale in zip(panels, scales, strict=True) if scale is not None]
    assert len(layers) == len(drawn) == 4
    for layer, (panel, scale) in zip(layers, drawn, strict=True):
        assert panel.drawn is not None
        assert scale is not None
        expected = scale.colours(panel.drawn, solid=False)
        assert (pixels(layer["src"]) == expected).all()
        own = json.loads(layer["data-own"])
        assert (own["low"], own["high"]) == (scale.low, scale.high)


def test_the_shared_scale_spans_all_pictures_of_the_page() -> None:
    def one(top: float) -> Explanation:
        values = torch.linspace(0, top, 256).reshape(1, 16, 16)
        return explanation(attributions={("grad-cam", "tabby"): attribution(values)}, errors={}, findings={})

    layers = Page(report_html([one(1.0), one(4.0)])).all("img", class_="map")
    assert [json.loads(layer["data-own"])["high"] for layer in layers] == [1.0, 4.0]
    assert [json.loads(layer["data-shared"])["high"] for layer in layers] == [4.0, 4.0]


def test_a_map_can_be_recoloured_by_its_palette_alone() -> None:
    # What the page's script relies on: one PLTE of 256 colours, one tRNS of 256 opacities, both before IDAT.
    layer = Page(report_html([explanation()])).all("img", class_="map")[0]
    png = base64.b64decode(layer["src"].split(",")[1])
    at, chunks = 8, []
    while at < len(png):
        size = int.from_bytes(png[at : at + 4], "big")
        chunks.append((png[at + 4 : at + 8], size))
        at += 12 + size
    assert chunks[1:3] == [(b"PLTE", 768), (b"tRNS", 256)]
    assert chunks[3][0] == b"IDAT"


def test_the_reader_finds_numbers_findings_facts_and_provenance() -> None:
    record = explanation()
    text = " ".join(Page(report_html([record])).text.split())
    for words in (
        "Why “tabby”?", "75.0%", "Grad-CAM", "layer4", "No positive evidence at layer4.", "there is no layer5",
        "The picture was cropped.", "sum over the channels", "Made with", "Seed7", "How to read this",
    ):  # fmt: skip
        assert words in text


def test_several_pictures_have_an_index() -> None:
    source = report_html([explanation(), explanation(source="dir/dog.png")])
    links = Page(source).all("a")
    assert [link["href"] for link in links] == ["#s0", "#s1"]
    assert "2 pictures explained" in source
    assert Page(report_html([explanation()])).all("a") == []
    with pytest.raises(SettingError, match="at least one"):
        report_html([])


def test_the_crop_is_framed_where_it_lay() -> None:
    frame = Page(report_html([explanation()])).all("span", class_="seen")[0]
    numbers = [float(number) for number in re.findall(r"([\d.]+)%", frame["style"])]
    assert numbers == pytest.approx([0, 100 * 3 / 18, 0, 100 * 3 / 18], abs=0.01)  # top left bottom right


def test_twelve_noisy_maps_of_a_large_photograph_stay_below_five_megabytes() -> None:
    generator = np.random.default_rng(0)
    names = [f"method-{index}" for index in range(12)]
    noise = torch.as_tensor(generator.normal(size=(1, 224, 224)))
    large = explanation(
        picture=generator.integers(0, 256, (1500, 2000, 3), dtype=np.uint8),
        view=generator.integers(0, 256, (224, 224, 3), dtype=np.uint8),
        targets={"tabby": Class(281)},
        attributions={
            (name, "tabby"): attribution(noise, method=name, signed=True, input_shapes=((3, 224, 224),))
            for name in names
        },
        errors={},
        findings={},
    )
    assert len(report_html([large]).encode()) < 5e6


def test_the_notebook_fragment_is_one_sandboxed_frame() -> None:
    fragment = Page(explanation_html(evil()))
    assert [name for name, _ in fragment.elements] == ["iframe"]
    [frame] = fragment.all("iframe")
    assert frame["sandbox"] == "allow-scripts"  # neither same-origin nor navigation of the notebook
    inner = Page(frame["srcdoc"])
    assert inner.open == []
    assert len(inner.all("img", class_="map")) == 1
    assert html.escape(EVIL) in frame["srcdoc"] or "&lt;script&gt;" in frame["srcdoc"]


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        (torch.zeros(1, 16, 16), (3, 16, 16)),
        (torch.full((1, 16, 16), float("nan")), (3, 16, 16)),
        (torch.ones(1, 1, 1), (3, 1, 1)),
        (torch.rand(1, 2, 900), (3, 2, 900)),
        (torch.rand(1, 40) - 0.5, (1, 40)),
        (torch.zeros(1, 40), (1, 40)),
        (torch.rand(0, 16, 16), (3, 16, 16)),
        (torch.rand(1), (3, 16, 16)),
        (torch.rand(1, 3, 16, 16), (3, 16, 16)),  # channels without a rule: cannot be reduced
    ],
)
def test_every_shape_of_map_leaves_a_whole_page(values: torch.Tensor, shape: tuple[int, ...]) -> None:
    for pictures in ({}, {"picture": None, "view": None}, {"picture": photo(), "view": None}):
        one = attribution(values, input_shapes=(shape,), signed=True)
        record = explanation(attributions={("rise", "tabby"): one}, errors={}, findings={}, **pictures)
        assert Page(report_html([record])).open == []


def test_a_signal_is_a_bar_chart_of_its_numbers() -> None:
    one = attribution(torch.tensor([[2.0, -1.0, 0.0]]), input_shapes=((1, 3),), signed=True)
    record = explanation(attributions={("rise", "tabby"): one}, errors={}, findings={})
    chart = pixels(Page(report_html([record])).all("img", class_="map")[0]["src"])
    assert chart.shape == (160, 480, 4)
    heights = (chart[..., 3] > 0).sum(0)
    assert heights[80] == pytest.approx(160 / 2, abs=1)
    assert heights[240] == pytest.approx(160 / 4, abs=1)
    assert heights[400] == 0
    assert chart[0, 80, 0] > chart[0, 80, 2]  # for: amber
    assert chart[90, 240, 2] > chart[90, 240, 0]  # against: blue
