"""Figures must show the record's numbers at the right place and hold whatever shape a map has."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.text import Text
from render_records import PHOTO, attribution, explanation, photo

from seewhy.core.errors import SettingError
from seewhy.core.evidence import Evidence, MapEvidence
from seewhy.core.explanation import Answer, Prediction
from seewhy.core.geometry import Geometry
from seewhy.core.metric import Measurement
from seewhy.core.targets import Difference
from seewhy.render import plot_attribution, plot_explanation
from seewhy.render.evidence import COLOURS
from seewhy.render.overlay import overlay
from seewhy.render.panels import explanation_panels, panel_scales
from seewhy.render.scales import scale_for
from seewhy.render.sheet import figure_png


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def images(figure: Any) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def test_the_explanation_shows_picture_prediction_maps_errors_and_findings() -> None:
    figure = plot_explanation(explanation())
    shown = texts(figure)
    for text in (
        "cat.png", "Why “tabby”?", "Why “Egyptian cat”?", "75.0%", "Grad-CAM", "Integrated gradients", "layer4",
        "there is no layer5", "No positive evidence at layer4.", "Grad-CAM: against",
    ):  # fmt: skip
        assert text in shown
    assert (images(figure)[0] == photo()).all()
    assert figure_png(figure)[:4] == b"\x89PNG"


def test_a_map_lies_where_the_crop_lay_in_the_photograph() -> None:
    panel = explanation_panels(explanation())[0]
    assert panel.drawn is not None
    assert panel.drawn.shape == PHOTO
    assert np.isnan(panel.drawn[:, :3]).all()  # 4 of 24 resized columns are 3 of 18 original ones
    assert np.isnan(panel.drawn[:, 15:]).all()
    assert np.isfinite(panel.drawn[:, 3:15]).all()
    expected = explanation()["grad-cam"].heatmap(size="image")[0].double().numpy()
    assert np.allclose(panel.drawn, expected, equal_nan=True, atol=1e-6)
    assert panel.values is not None
    assert panel.values.shape == (16, 16)


def test_a_large_photograph_is_shrunk_together_with_its_map() -> None:
    large = explanation(picture=np.kron(photo(), np.ones((100, 100, 1), np.uint8)))
    big = Geometry((1200, 1800), (16, 24), (0, 4, 16, 16))
    key = ("grad-cam", "tabby")
    large = replace(large, attributions={key: replace(large[key], geometry=(big,))}, errors={}, findings={})
    panel = explanation_panels(large, 360)[0]
    assert panel.drawn is not None
    assert panel.base is not None
    assert panel.drawn.shape == panel.base.shape[:2] == (240, 360)
    assert np.isnan(panel.drawn).any(0).sum() == 120  # 6 of 18 columns


def test_without_geometry_the_map_lies_on_what_the_model_saw() -> None:
    plain = explanation(attributions={("grad-cam", "tabby"): attribution(torch.ones(1, 4, 4))}, errors={}, findings={})
    panel = explanation_panels(plain)[0]
    assert panel.ground == "view"
    assert panel.base is not None
    assert panel.base.shape == (16, 16, 3)


def test_panels_come_by_target_then_method_in_the_order_asked_for() -> None:
    order = [(panel.target, panel.title) for panel in explanation_panels(explanation())]
    assert order == [
        ("tabby", "Grad-CAM"),
        ("tabby", "Integrated gradients"),
        ("Egyptian cat", "Grad-CAM"),
        ("Egyptian cat", "Grad-CAM: against"),
        ("Egyptian cat", "Integrated gradients"),
    ]


def test_an_empty_map_is_followed_by_the_evidence_against_drawn_below_zero() -> None:
    against = explanation_panels(explanation())[3]
    assert against.values is not None
    assert (against.values == -1).all()
    assert against.signed


def test_scales_are_shared_only_where_numbers_mean_the_same() -> None:
    panels = explanation_panels(explanation())
    own, shared = panel_scales(panels), panel_scales(panels, shared=True)
    assert own[0] is not None
    assert own[2] is not None
    assert own[0].high == 2.0
    assert own[2].high == 0.0
    assert shared[0] is shared[2]  # both unsigned, in units of the score
    assert shared[0] is not shared[1]  # one is signed
    assert shared[4] is None  # failed


def test_a_channel_rule_turns_signed_values_into_strength() -> None:
    values = torch.tensor([1.0, -4.0, 2.0]).reshape(1, 3, 1, 1).expand(1, 3, 16, 16)
    signed = attribution(values, signed=True, reduce="sum")
    figure = plot_attribution(signed, reduce="absmax")
    assert "4" in texts(figure)
    assert "−1" in texts(plot_attribution(signed))  # the sum, on a scale from -1 to 1


def test_the_drawn_pixels_are_the_overlay_of_the_map() -> None:
    one = attribution(torch.rand(1, 16, 16))
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    values = one.heatmap()[0].double().numpy()
    expected = overlay(picture, values, scale_for([values], signed=False))
    assert (images(plot_attribution(one, picture=picture))[0] == expected).all()


@pytest.mark.parametrize("shared", [False, True])
def test_rows_share_a_scale_on_request(shared: bool) -> None:
    two = attribution(torch.stack([torch.linspace(0, 1, 256), torch.linspace(0, 8, 256)]).reshape(2, 16, 16))
    shown = texts(plot_attribution(two, shared=shared))
    assert shown.count("8") == (2 if shared else 1)
    assert "Row 1 · class 281" in shown


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        (torch.zeros(1, 16, 16), (3, 16, 16)),
        (torch.full((1, 16, 16), float("nan")), (3, 16, 16)),
        (torch.full((1, 16, 16), 5.0), (3, 16, 16)),
        (torch.ones(1, 1, 1), (3, 1, 1)),
        (torch.rand(1, 2, 900), (3, 2, 900)),
        (torch.rand(1, 900, 2), (3, 900, 2)),
        (torch.rand(1, 40), (1, 40)),
        (torch.zeros(1, 40), (1, 40)),
        (torch.rand(1, 3, 8, 8), (1, 3, 8, 8)),
        (torch.rand(1), (3, 16, 16)),
        (torch.rand(0, 16, 16), (3, 16, 16)),
        (torch.rand(1, 16, 16, dtype=torch.bfloat16), (3, 16, 16)),
        (torch.rand(1, 16, 16, dtype=torch.float16), (3, 16, 16)),
        (torch.rand(1, 16, 16, requires_grad=True), (3, 16, 16)),
    ],
)
@pytest.mark.parametrize("signed", [False, True])
def test_every_shape_of_map_is_drawn_without_a_warning(
    values: torch.Tensor, shape: tuple[int, ...], signed: bool
) -> None:
    record = attribution(values, input_shapes=(shape,), signed=signed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png = figure_png(plot_attribution(record))
    assert png[:4] == b"\x89PNG"


def test_the_slice_of_a_volume_with_most_evidence_is_shown() -> None:
    volume = torch.zeros(1, 5, 8, 8)
    volume[0, 3] = 1.0
    shown = texts(plot_attribution(attribution(volume, input_shapes=((1, 5, 8, 8),))))
    assert "slice 4 of 5 (most evidence)" in shown


def test_several_inputs_get_a_panel_each() -> None:
    record = attribution(torch.ones(1, 4, 4))
    two = replace(record, values=(torch.ones(1, 4, 4), torch.ones(1, 6)), input_shapes=((3, 4, 4), (6,)))
    assert {"input 1 of 2", "input 2 of 2"} <= set(texts(plot_attribution(two)))


def test_wrong_rows_and_pictures_are_refused() -> None:
    one = attribution(torch.ones(1, 16, 16))
    with pytest.raises(SettingError, match="row must lie"):
        plot_attribution(one, row=1)
    with pytest.raises(SettingError, match="as large as the model's input"):
        plot_attribution(one, picture=photo())
    with pytest.raises(SettingError, match="uint8"):
        plot_attribution(one, picture=np.zeros((16, 16, 3)))
    with pytest.raises(SettingError, match="one picture for each"):
        plot_attribution(one, picture=[photo(), photo()])


def test_labels_are_no_formulas_and_need_no_particular_script() -> None:
    label = "$\\frac{1}$ 100% _{x} 猫 \udcff\x00\n<b>"
    odd = explanation(prediction=Prediction((Answer(0, label, 0.5),), "probability", 2), source=label * 40)
    figure = plot_explanation(odd)
    assert "$\\frac{1}$ 100% _{x} 猫 ? <b>" in texts(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("error")
        warnings.filterwarnings("ignore", message="Glyph")  # this machine may lack the script
        assert figure_png(figure)


def test_global_state_of_matplotlib_is_left_alone() -> None:
    import matplotlib.pyplot as plt

    before, figures = dict(matplotlib.rcParams), plt.get_fignums()
    with matplotlib.rc_context({"text.usetex": True, "axes.grid": True, "image.origin": "lower"}):
        styled = dict(matplotlib.rcParams)
        figure = plot_explanation(explanation())
        assert dict(matplotlib.rcParams) == styled
        assert not any(text.get_usetex() for text in figure.findobj(Text))
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == figures


def test_an_explanation_of_nothing_is_still_a_figure() -> None:
    bare = explanation(
        prediction=None, attributions={}, errors={}, findings={}, picture=None, view=None, targets={}, source=""
    )
    assert texts(plot_explanation(bare)) == ["Explanation", "net"]


def test_scores_that_are_no_probabilities_keep_their_numbers_and_lose_their_bars() -> None:
    scores = Prediction((Answer(0, "a", -1.25), Answer(1, "b", -3.0)), "score", 2)
    figure = plot_explanation(explanation(prediction=scores))
    assert "−1.25" in texts(figure)
    percent = plot_explanation(explanation())
    assert len(figure.artists) + len(figure.patches) < len(percent.artists) + len(percent.patches)


def test_the_sheet_orders_and_heads_panels_by_family() -> None:
    families = {"grad-cam": "gradient", "integrated-gradients": "class activation"}  # swapped: not the order asked for
    record = explanation(families=families)
    assert [panel.title for panel in explanation_panels(record)][:2] == ["Integrated gradients", "Grad-CAM"]
    shown = texts(plot_explanation(record))
    words = " ".join(shown)  # headings may take several lines
    first = words.index("Class activation maps: what a layer's channels contributed")
    assert first < words.index("Integrated gradients") < words.index("Gradients: what a small change") < len(words)
    assert words.count("Gradients: what a small change of each pixel would do") == 2  # for each of two targets
    assert shown.count("Why “tabby”?") == 1


def test_the_sheet_says_what_both_ends_speak_for() -> None:
    name = "tabby rather than lynx"
    signed = attribution(torch.linspace(-1, 1, 256).reshape(1, 16, 16), signed=True)
    record = explanation(
        targets={name: Difference(281, 287)},
        attributions={("grad-cam", name): signed},
        errors={},
        families={"grad-cam": "class activation"},
    )
    words = " ".join(texts(plot_explanation(record)))
    assert "Why “tabby” rather than “lynx”?" in words
    assert "Class activation maps: left end of the colour bars for “lynx”, right end for “tabby”" in words


def test_the_sheet_carries_the_verdicts_in_words_and_the_name_of_the_file() -> None:
    nothing = Measurement("insertion", 0.0, {})
    maps: dict[str, MapEvidence] = {
        "grad-cam": MapEvidence(-0.1, 0.0, "no better than chance", "", nothing, nothing),
        "integrated-gradients": MapEvidence(0.4, 1.0, "holds", "", nothing, nothing),
    }
    found = Evidence(maps, (0.0,), 0.1, None, None, {}, None, "", {}, 0, 0)
    given = explanation(source="/home/somebody/with/a/very/long/path/cat.png")
    bare = plot_explanation(given)
    assert "cat.png" in texts(bare)
    assert not any("somebody" in text for text in texts(bare))
    assert not {"holds", "no better than chance"} & set(texts(bare))
    figure = plot_explanation(replace(given, evidence={"tabby": found, "Egyptian cat": found}))
    shown = {text.get_text(): text for text in figure.findobj(Text)}
    assert shown["holds"].get_color() == COLOURS["holds"]
    assert shown["no better than chance"].get_color() == COLOURS["no better than chance"]
    # of the other target one map failed and one is empty: what shows the evidence against it has no verdict
    assert texts(figure).count("no better than chance") == 2
    assert texts(figure).count("holds") == 1
    # the badge stands between the title and the layer of its own map
    figure.canvas.draw()  # type: ignore[attr-defined]
    heights = [shown[name].get_window_extent() for name in ("no better than chance", "layer4")]
    assert heights[0].y0 > heights[1].y1
    assert figure.get_size_inches()[1] > bare.get_size_inches()[1]
