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
from seewhy.core.targets import Class, Contrast, Difference, Target
from seewhy.render import explanation_html, report_html
from seewhy.render.families import question
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
        families={EVIL: EVIL},
        diagnosis={EVIL: (EVIL,)},
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


FAMILIES = {"grad-cam": "class activation", "integrated-gradients": "gradient", "wave": "odd waves"}


class Outline(Page):
    """Keeps, in the order of the page, the texts of elements with the wanted classes."""

    def __init__(self, page: str, *wanted: str) -> None:
        self.wanted = wanted
        self.found: list[tuple[str, str]] = []
        self.depth: list[tuple[int, int]] = []
        super().__init__(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        super().handle_starttag(tag, attrs)
        kinds = (dict(attrs).get("class") or "").split()
        for kind in self.wanted:
            if kind in kinds:
                self.found.append((kind, ""))
                self.depth.append((len(self.found) - 1, len(self.open)))

    def handle_endtag(self, tag: str) -> None:
        super().handle_endtag(tag)
        self.depth = [(index, depth) for index, depth in self.depth if depth <= len(self.open)]

    def handle_data(self, data: str) -> None:
        super().handle_data(data)
        for index, _ in self.depth:
            kind, text = self.found[index]
            self.found[index] = kind, " ".join(f"{text} {data}".split())

    def texts(self, kind: str) -> list[str]:
        return [text for name, text in self.found if name == kind]


def grouped(**changes: Any) -> Explanation:
    """Maps of three families for one target, asked for in another order than that of the page."""
    ramp = torch.linspace(0, 2, 256).reshape(1, 16, 16)
    maps = {
        ("wave", "tabby"): attribution(ramp, method="wave", title="Wave"),
        ("integrated-gradients", "tabby"): attribution(ramp - 1, method="integrated-gradients", signed=True),
        ("grad-cam", "tabby"): attribution(ramp),
    }
    facts = {"attributions": maps, "targets": {"tabby": Class(281)}, "errors": {}, "findings": {}, "families": FAMILIES}
    return explanation(**(facts | changes))


def test_maps_are_grouped_by_family_under_headings_in_plain_words() -> None:
    page = Outline(report_html([grouped()]), "family-name", "whole")
    assert page.found == [
        ("family-name", "Class activation maps : what a layer's channels contributed"),
        ("whole", "100% = 2"),
        ("family-name", "Gradients : what a small change of each pixel would do"),
        ("whole", "100% = 1"),
        ("family-name", "Odd waves"),
        ("whole", "100% = 2"),
    ]
    assert Outline(report_html([grouped(families={})]), "family-name").found == []  # a file of an older seewhy


def test_a_family_has_one_colour_bar_for_each_kind_of_map_it_holds() -> None:
    both = dict.fromkeys(FAMILIES, "gradient")
    page = Outline(report_html([grouped(families=both)]), "family", "common-bar")
    assert page.texts("common-bar") == ["0% 50% 100%", "−100% 0% 100% against for"]
    assert len(page.texts("family")) == 1
    assert page.texts("family")[0].count("Colours are shares of each map's own largest magnitude") == 1
    assert Outline(report_html([grouped()]), "common-bar").texts("common-bar") == [
        "0% 50% 100%", "−100% 0% 100% against for", "0% 50% 100%"
    ]  # fmt: skip


def test_what_100_percent_stands_for_keeps_the_facts_of_clipping() -> None:
    spiky = torch.linspace(0, 1, 256).reshape(1, 16, 16).clone()
    spiky[0, -1, -1] = 500.0
    page = Outline(report_html([grouped(attributions={("grad-cam", "tabby"): attribution(spiky)})]), "whole", "clipped")
    [whole], [clipped] = page.texts("whole"), page.texts("clipped")
    assert whole.startswith("100% ≥ ")
    assert clipped.endswith("of pixels clipped; full range 0 to 500")


@pytest.mark.parametrize(
    ("values", "whole", "apart"),
    [
        (torch.linspace(0.1, 1, 256), ["100% = 1"], False),  # close to zero: drawn from zero
        (torch.linspace(0.9, 1, 256), [], True),  # from zero nothing would be seen: a bar of its own
        (torch.linspace(-1, 1, 256), [], True),  # negative although unsigned: not a share of anything
        (torch.zeros(256), ["Zero everywhere"], False),
    ],
)
def test_maps_that_are_no_shares_have_a_bar_of_their_own(values: torch.Tensor, whole: list[str], apart: bool) -> None:
    one = {("grad-cam", "tabby"): attribution(values.reshape(1, 16, 16))}
    page = Outline(report_html([grouped(attributions=one)]), "whole", "apart", "common")
    assert page.texts("whole") == whole
    assert bool(page.texts("apart")) == bool(not page.texts("common")) == apart


@pytest.mark.parametrize("count", [1, 2, 6])
def test_each_target_has_a_tab_that_the_keyboard_reaches(count: int) -> None:
    names = [f"target {index}" for index in range(count)]
    ramp = torch.linspace(0, 2, 256).reshape(1, 16, 16)
    record = grouped(
        targets={name: Class(index) for index, name in enumerate(names)},
        attributions={("grad-cam", name): attribution(ramp) for name in names},
    )
    page = Outline(report_html([record]), "why")
    tabs = page.all("button", role="tab")
    assert len(tabs) == (count if count > 1 else 0)
    assert [tab["tabindex"] for tab in tabs] == (["0"] + ["-1"] * (count - 1) if count > 1 else [])
    panels = [attrs for attrs in page.all("div") if attrs.get("class") == "target"]
    assert len(panels) == count
    assert not any("hidden" in panel for panel in panels)  # without script, and on paper, all are there
    assert page.texts("why") == ([f"Why “{name}”?" for name in names] if count > 1 else [])
    assert page.text.count("Why “target 0”?") == (1 if count > 1 else 2)  # else as the title of window and page


@pytest.mark.parametrize("target", [Difference(281, 285), Contrast(281, (285,))])
def test_why_this_rather_than_that_says_which_colour_speaks_for_which(target: Target) -> None:
    ramp = torch.linspace(-1, 2, 256).reshape(1, 16, 16)
    name = "tabby rather than Egyptian cat"
    record = grouped(
        targets={"tabby": Class(281), name: target},
        attributions={("grad-cam", name): attribution(ramp, signed=True)},
    )
    page = Outline(report_html([record]), "why", "ends")
    assert page.texts("why") == ["Why “tabby” rather than “Egyptian cat”?"]
    assert page.texts("ends") == ["for “Egyptian cat” for “tabby”"]  # from the blue end to the amber one


@pytest.mark.parametrize(
    ("name", "target", "heading", "contra"),
    [
        ("a rather than b (probability)", Difference(0, 1), "Why “a” rather than “b”? (probability)", "for “b”"),
        (
            "a rather than b, c (times 2)",
            Contrast(0, (1, 2), 2.0),
            "Why “a” rather than “b, c”? (times 2)",
            "for “b, c”",
        ),
        ("a rather than crane (bird)", Difference(0, 1), "Why “a” rather than “crane (bird)”?", "for “crane (bird)”"),
        ("tea rather than coffee", Class(3), "Why “tea rather than coffee”?", "against"),  # a label, not a difference
    ],
)
def test_questions_are_read_from_the_target_and_not_from_its_label(
    name: str, target: Target, heading: str, contra: str
) -> None:
    asked = question(name, target)
    assert (asked.heading, asked.contra) == (heading, contra)


def test_the_diagnosis_stands_above_the_maps_of_its_target() -> None:
    record = grouped(diagnosis={"tabby": ("The model is sure.", "Maps <agree>.")})
    page = Outline(report_html([record]), "diagnosis", "family-name")
    assert page.found[0] == ("diagnosis", "The model is sure. Maps <agree>.")
    assert "diagnosis" not in [attrs.get("class") for attrs in Page(report_html([grouped()])).all("ul")]
    assert "Agreement is no proof" in page.text
