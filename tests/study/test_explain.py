"""`seewhy.explain`: prediction, targets in words, isolated failures, findings, and the way back to the photograph."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from skimage.data import chelsea, coffee
from torch import nn

import seewhy
from seewhy.core.errors import InputError, InputTypeError, LayerError, SettingError, TargetError, UnknownNameError
from seewhy.core.targets import Contrast, Difference
from seewhy.engine import FlowDone, RoundStarted
from seewhy.study.explain import explain_many
from seewhy.study.plan import make_plan


@pytest.fixture(scope="module")
def model():
    return seewhy.load()


@pytest.fixture(scope="module")
def cat(model):
    return seewhy.explain(model, chelsea(), methods=["grad-cam", "saliency"], targets=[None, "tabby"])


def test_prediction_is_the_network_s_own(model, cat):
    x = model.preprocessing(seewhy.models.images.open_picture(chelsea()))
    with torch.no_grad():
        probabilities = model.module(x).softmax(1)[0]
    assert [answer.index for answer in cat.prediction.top] == probabilities.topk(5).indices.tolist()
    assert cat.prediction.top[0].label == "tiger cat"
    assert cat.prediction.top[0].score == pytest.approx(float(probabilities.max()), abs=1e-5)


def test_targets_are_named_in_words_and_give_the_maps_of_attribute(model, cat):
    assert list(cat.targets) == ["tiger cat", "tabby", "tiger cat rather than Egyptian cat"]
    x = model.preprocessing(seewhy.models.images.open_picture(chelsea()))
    alone = seewhy.attribute(model, x, "grad-cam", target=281)
    torch.testing.assert_close(cat["grad-cam", "tabby"].values, alone.values)
    torch.testing.assert_close(cat["grad-cam"].values, cat["grad-cam", "tiger cat"].values)
    assert not torch.allclose(cat["grad-cam"].values, alone.values)


def test_unknown_keys_offer_the_nearest(cat):
    with pytest.raises(UnknownNameError, match="saliency"):
        cat["salency"]
    with pytest.raises(UnknownNameError, match="tabby"):
        cat["grad-cam", "taby"]


def test_maps_come_back_onto_the_photograph(cat):
    photograph = cat["grad-cam"].heatmap(size="image")
    assert photograph.shape == (1, *chelsea().shape[:2])
    crop = cat["grad-cam"].heatmap()
    assert crop.shape == (1, 224, 224)
    inside = photograph[torch.isfinite(photograph)]
    assert float(inside.max()) == pytest.approx(float(crop.max()), rel=0.02)
    # 300 x 451 is resized to 256 x 385 and cropped to the middle 224: the margins were never seen
    assert torch.isnan(photograph[0, :, 0]).all()
    assert torch.isfinite(photograph[0, 150, 225])


def test_a_failing_method_is_reported_and_the_others_are_done():
    class Mlp(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3 * 8 * 8, 4)

        def forward(self, x):
            return self.head(x.flatten(1))

    e = seewhy.explain(Mlp(), torch.rand(3, 8, 8), methods=["grad-cam", "saliency"])
    assert [method for method, _ in e.errors] == ["grad-cam"]
    assert e["saliency"].values.shape == (1, 3, 8, 8)
    with pytest.raises(LayerError, match="layer"):
        e["grad-cam"]
    assert set(e.methods) == {"grad-cam", "saliency"}


def test_wrong_requests_are_refused_before_any_pass(model):
    calls = []
    handle = model.module.register_forward_hook(lambda *_: calls.append(1))
    try:
        with pytest.raises(UnknownNameError, match="grad-cam"):
            seewhy.explain(model, chelsea(), methods=["grad-kam"])
        with pytest.raises(TargetError, match="tabby"):
            seewhy.explain(model, chelsea(), targets="tabbi")
        with pytest.raises(LayerError, match="bn2"):
            seewhy.explain(model, chelsea(), methods="grad-cam", layer="bn3")
        with pytest.raises(SettingError, match="seed"):
            seewhy.explain(model, chelsea(), seed="x")
        with pytest.raises(TargetError, match="empty"):
            seewhy.explain(model, chelsea(), targets=[])
        with pytest.raises(InputTypeError, match="preprocess"):
            seewhy.explain(nn.Conv2d(3, 2, 3), chelsea())
        with pytest.raises(InputError, match="one picture"):
            seewhy.explain(nn.Conv2d(3, 2, 3), torch.rand(2, 3, 8, 8))
    finally:
        handle.remove()
    assert calls == []


def test_the_layer_goes_to_the_methods_that_have_one(model):
    e = seewhy.explain(model, chelsea(), methods=["grad-cam", "saliency"], layer="blocks.5")
    assert e["grad-cam"].layer == "blocks.5"
    assert e["saliency"].layer is None


class Negative(nn.Module):
    """A network whose every channel speaks against class 1."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        nn.init.constant_(self.conv.weight, 0.1)
        nn.init.constant_(self.conv.bias, 0.1)

    def forward(self, x):
        pooled = self.conv(x).relu().mean((2, 3)).sum(1)
        return torch.stack([pooled, -pooled], 1)


def test_all_negative_evidence_is_said_and_shown():
    e = seewhy.explain(Negative(), torch.rand(1, 1, 6, 6), methods="grad-cam", targets=1)
    (finding,) = [f for f in e.findings["grad-cam", "class 1"] if f.code == "empty"]
    assert finding.level == "warning"
    assert "No positive evidence" in finding.text
    assert float(e["grad-cam"].values.abs().max()) == 0
    assert float(e["grad-cam"].counter.min()) > 0


def test_a_saturated_probability_and_a_remaining_gap_are_said(model):
    steep = nn.Sequential(nn.Conv2d(1, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.constant_(steep[0].weight, 30.0)
    steep[0].weight.data[1] *= -1
    sure = seewhy.explain(
        steep, torch.ones(1, 1, 4, 4), methods="saliency", targets=seewhy.targets.Class(0, of="probability")
    )
    assert [f.code for f in sure.findings["saliency", "class 0 (probability)"]].count("saturated") == 1
    coarse = seewhy.methods.IntegratedGradients(steps=1, rule="left")
    gap = seewhy.explain(model, chelsea(), methods=coarse)
    (finding,) = [f for f in gap.findings["integrated-gradients", "tiger cat"] if f.code == "gap"]
    assert finding.level == "warning"
    shares = seewhy.methods.KernelShap(segments=14, samples=20, tolerance=1e-9, max_samples=20)
    (held,) = [f for f in seewhy.explain(model, chelsea(), methods=shares).findings.popitem()[1] if f.code == "gap"]
    assert (held.level, held.text) == ("note", "The attributions add up to the score difference within 0.00%.")


def test_many_pictures_with_one_bad_among_them(model, tmp_path):
    good, other, bad = tmp_path / "cat.png", tmp_path / "cup.png", tmp_path / "bad.png"
    Image.fromarray(chelsea()).save(good)
    Image.fromarray(coffee()).save(other)
    bad.write_bytes(b"no picture")
    plan = make_plan(model, ["grad-cam"])
    results = dict(explain_many(plan, [good, bad, other]))
    assert results[good].prediction.top[0].label == "tiger cat"
    assert results[other].prediction.top[0].label == "espresso"
    assert isinstance(results[bad], seewhy.SeewhyError)
    assert "bad.png" in str(results[bad])
    alone = seewhy.explain(model, other, methods="grad-cam")
    torch.testing.assert_close(results[other]["grad-cam"].values, alone["grad-cam"].values, rtol=1e-4, atol=1e-6)


def test_events_are_emitted_only_to_a_listener(model, capsys):
    events = []
    seewhy.explain(model, chelsea(), methods="grad-cam", options=seewhy.Options(on_event=events.append))
    assert any(isinstance(event, RoundStarted) for event in events)
    assert sum(isinstance(event, FlowDone) for event in events) == 3  # the prediction, the map, the contrast
    seewhy.explain(model, chelsea(), methods="grad-cam")
    assert capsys.readouterr() == ("", "")


def rows_of(model, **asked):
    """Returns the explanation and how many rows the network's first layer has seen for it."""
    seen = []
    first = next(module for module in model.module.modules() if isinstance(module, nn.Conv2d))
    handle = first.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    try:
        return seewhy.explain(model, chelsea(), **asked), sum(seen)
    finally:
        handle.remove()


@pytest.mark.parametrize(
    ("targets", "words", "record"),
    [
        (None, "tiger cat rather than Egyptian cat", Contrast(282, (285,))),
        ("tiger cat", "tiger cat rather than Egyptian cat", Contrast(282, (285,))),
        (["tabby", "lynx"], "tabby rather than lynx", Difference(281, 287)),
        (["tabby", "lynx", "tiger cat"], "tabby rather than lynx", Difference(281, 287)),
        ([None, seewhy.targets.Top(rank=1)], "tiger cat rather than Egyptian cat", Contrast(282, (285,))),
    ],
)
def test_why_this_rather_than_that_comes_last_and_costs_no_forward_pass(model, targets, words, record):
    e, rows = rows_of(model, methods=["grad-cam", "saliency"], targets=targets)
    without, fewer = rows_of(model, methods=["grad-cam", "saliency"], targets=targets, contrast=False)
    assert rows == fewer
    assert list(e.targets) == [*without.targets, words]
    assert e.targets[words] == record
    assert list(e.attributions) == [*without.attributions, ("grad-cam", words)]
    # By definition: the channels weighted by the mean gradient of the difference of the two scores.
    alone = seewhy.attribute(
        model,
        model.preprocessing(seewhy.models.images.open_picture(chelsea())),
        seewhy.methods.GradCam(relu=False),
        target=seewhy.targets.Function(
            lambda row: row[record.index] - row[record.others[0] if isinstance(record, Contrast) else record.other]
        ),
    )
    torch.testing.assert_close(e["grad-cam", words].values, alone.values)
    assert e["grad-cam", words].signed


@pytest.mark.parametrize(
    "asked",
    [
        {"methods": "saliency"},  # no class activation map was asked for
        {"methods": "grad-cam", "targets": lambda row: row.sum()},
        {"methods": "grad-cam", "targets": ["tabby", lambda row: row.sum()]},
        {"methods": "grad-cam", "targets": Difference(281, 285)},
        {"methods": "grad-cam", "targets": Contrast(281, (285,))},
        {"methods": "grad-cam", "targets": ["tabby", "tabby"]},
        {"methods": "grad-cam", "contrast": False},
    ],
)
def test_no_contrast_where_none_is_asked_about(model, asked):
    e = seewhy.explain(model, chelsea(), **asked)
    assert {key for key in e.attributions if key[1] == list(e.targets)[-1]} == {(asked["methods"], list(e.targets)[-1])}
    assert len(e.targets) == len({*make_plan(model, **asked).targets})
    assert not e.errors


def test_a_contrast_that_cannot_be_had_leaves_no_trace():
    single = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1))
    e = seewhy.explain(single, torch.rand(1, 1, 8, 8), methods=["layer-cam", "saliency"])
    assert not e.errors
    assert len(e.targets) == 1
    assert set(e.titles) == set(e.families) == {"layer-cam", "saliency"}
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    e = seewhy.explain(flat, torch.rand(1, 1, 8, 8), methods=["grad-cam", "saliency"])
    assert [key[0] for key in e.errors] == ["grad-cam"]
    assert len(e.targets) == 1


def test_the_contrast_looks_at_the_user_s_layer(model):
    e = seewhy.explain(model, chelsea(), methods=["layer-cam", "saliency"], layer="blocks.5")
    assert e["grad-cam", "tiger cat rather than Egyptian cat"].layer == "blocks.5"
    assert e.families == {"layer-cam": "class activation", "saliency": "gradient", "grad-cam": "class activation"}


def test_plot_save_and_notebook(cat, tmp_path):
    figure = cat.plot()
    assert isinstance(figure, Figure)
    for suffix in (".html", ".png", ".npz", ".json"):
        assert cat.save(tmp_path / f"cat{suffix}").stat().st_size > 1000
    loaded = seewhy.load_explanation(tmp_path / "cat.npz")
    torch.testing.assert_close(loaded["grad-cam"].values, cat["grad-cam"].values, rtol=0, atol=0)
    assert loaded.prediction == cat.prediction
    assert (loaded.families, loaded.diagnosis) == (cat.families, cat.diagnosis)
    np.testing.assert_array_equal(loaded.picture, cat.picture)
    assert "tiger cat" in cat._repr_html_()


class Means(nn.Module):
    """Four scores: the mean of the picture, times 1 to 4."""

    def forward(self, x):
        return x.mean((1, 2, 3))[:, None] * torch.arange(1.0, 5.0, device=x.device)


def test_a_float_array_of_four_axes_is_model_input():
    x = np.random.default_rng(0).random((1, 3, 6, 5)).astype(np.float32)
    array = seewhy.explain(Means(), x, "saliency", 2)
    tensor = seewhy.explain(Means(), torch.from_numpy(x), "saliency", 2)
    torch.testing.assert_close(array["saliency"].values, tensor["saliency"].values, rtol=0, atol=0)
    assert (array.source, array.picture) == ("array", None)
    with pytest.raises(InputError, match="one picture"):
        seewhy.explain(Means(), np.concatenate([x, x]), "saliency")
    with pytest.raises(InputError, match=r"a\[0\]; model input is a float array"):
        seewhy.explain(seewhy.wrap(Means(), preprocess="timm:resnet18"), np.zeros((1, 6, 5, 3), np.uint8), "saliency")
    with pytest.raises(InputTypeError, match="preprocessing"):
        seewhy.explain(Means(), np.zeros((6, 5, 3), np.uint8), "saliency")  # still a picture


def test_a_class_is_not_explained_rather_than_itself():
    with pytest.raises(SettingError, match="class 3 twice"):
        Difference(3, 3)
    with pytest.raises(SettingError, match="class 3 twice"):
        Difference(3, 3, of="probability")


@pytest.mark.parametrize(("count", "words"), [(2, "2 labels for 4 outputs"), (5, "5 labels for 4 outputs"), (4, None)])
def test_labels_that_are_not_one_for_each_output_are_noted(count, words):
    model = seewhy.wrap(Means(), labels=list("abcde")[:count])
    notes = [note for note in seewhy.explain(model, torch.rand(3, 6, 5), "saliency").notes if "labels for" in note]
    assert len(notes) == (words is not None)
    assert all(note.startswith(words) for note in notes)


@pytest.mark.parametrize("target", [1000, [4, 1000], Difference(0, 4), Contrast(0, (1, 7))])
def test_targets_that_are_all_impossible_are_raised(target):
    with pytest.raises(TargetError, match="between 0 and 3"):
        seewhy.explain(Means(), torch.rand(3, 6, 5), ["saliency", "occlusion"], target)


def test_an_impossible_target_beside_others_is_reported_alone():
    e = seewhy.explain(Means(), torch.rand(3, 6, 5), "saliency", [1, 1000])
    assert list(e.attributions) == [("saliency", "class 1")]
    (key,) = e.errors
    assert key == ("saliency", "class 1000")
    assert isinstance(e.errors[key], TargetError)
