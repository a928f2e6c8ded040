"""transformers' classifiers: the processor's own pixels, the configuration's labels, gradients and maps of autograd."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from skimage.data import chelsea
from torch import Tensor
from transformers import ConvNextImageProcessor, ViTImageProcessor

import seewhy
from seewhy.core.errors import MissingExtraError, ModelFileError
from seewhy.models.images import open_picture
from seewhy.models.preprocess import Preprocessing
from seewhy.models.transformers_models import processor_steps

LABELS = {0: "ant", 1: "bee", 2: "cow", 3: "dog", 4: "eel"}


def vit() -> Any:
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8,
        id2label=LABELS,
    )  # fmt: skip
    return transformers.ViTForImageClassification(config), ViTImageProcessor(size={"height": 32, "width": 32})


def swin() -> Any:
    config = transformers.SwinConfig(
        image_size=64, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4, id2label=LABELS
    )
    processor = ViTImageProcessor(size={"height": 64, "width": 64}, resample=3, image_mean=[0.4, 0.5, 0.6])
    return transformers.SwinForImageClassification(config), processor


def resnet() -> Any:
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", id2label=LABELS
    )
    processor = ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.875)
    return transformers.ResNetForImageClassification(config), processor


def logits(network: Any, x: Tensor) -> Tensor:
    scores: Tensor = network(pixel_values=x).logits
    return scores


@pytest.fixture(params=[vit, swin, resnet], ids=lambda make: make.__name__)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    network, processor = request.param()
    network.eval().save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    return tmp_path, network, processor


def test_a_folder_gives_pixels_labels_scores_and_gradients(saved: Any) -> None:
    folder, network, processor = saved
    model = seewhy.load(f"hf:{folder}", device="cpu")
    assert model.labels == tuple(LABELS.values())
    pixels = processor(images=Image.fromarray(chelsea()), return_tensors="pt")["pixel_values"]
    assert torch.allclose(model.preprocessing(open_picture(chelsea())), pixels, atol=1e-4)
    x = pixels.clone().requires_grad_()
    scores = logits(network, x)
    top = int(scores.argmax())
    (gradient,) = torch.autograd.grad(scores[0, top], x)
    e = seewhy.explain(model, chelsea(), methods=["saliency", "grad-cam"])
    assert not e.errors
    assert e.prediction.top[0].label == LABELS[top]
    assert torch.allclose(e["saliency"].values, gradient.abs(), atol=1e-5)
    assert e["grad-cam"].values.shape[-1] > 1
    (geometry,) = e["saliency"].geometry
    assert geometry.original == chelsea().shape[:2]


def test_grad_cam_of_a_resnet_is_weights_times_activations() -> None:
    network, processor = resnet()
    network.eval()
    model = seewhy.wrap(network, preprocess=processor)
    assert model.labels == tuple(LABELS.values())
    x = torch.rand(2, 3, 64, 64)
    features = network.resnet(x).last_hidden_state
    weight = network.classifier[1].weight
    expected = torch.einsum("c,nchw->nhw", weight[2], features) / features[0, 0].numel()
    both = seewhy.attribute(model, x, ["grad-cam", "cam"], target=2, layer="resnet.encoder")
    assert torch.allclose(both["grad-cam"].values, expected.relu(), atol=1e-6)
    cam = both["cam"].values
    expected = expected * features[0, 0].numel()
    assert torch.allclose(cam, expected, atol=1e-5) or torch.allclose(cam, expected.relu(), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: transformers.CLIPImageProcessor(), (224, 224)),
        (lambda: ConvNextImageProcessor(size={"shortest_edge": 384}), (384, 384)),
        (lambda: transformers.EfficientNetImageProcessor(), (346, 346)),
    ],
    ids=["clip", "convnext", "efficientnet"],
)
def test_any_processor_gives_its_own_pixels(make: Any, size: tuple[int, int]) -> None:
    processor = make()
    steps = processor_steps(processor)
    picture = open_picture(np.ascontiguousarray(chelsea()[:, ::-1]))
    x = steps(picture)
    own = processor(images=Image.fromarray(picture.pixels), return_tensors="pt")["pixel_values"]
    assert x.shape[2:] == size
    assert torch.allclose(x, own, atol=1e-4)
    if processor.__class__.__name__ == "EfficientNetImageProcessor":  # divides by std twice: none of our rules
        assert steps.geometry(picture) is None
    else:
        geometry = steps.geometry(picture)
        assert geometry.crop[2:] == size
        low, high = steps.value_range
        assert x.amin((0, 2, 3)).ge(low - 1e-3).all()
        assert x.amax((0, 2, 3)).le(high + 1e-3).all()


def test_a_processor_that_resizes_pictures_becomes_our_own_preprocessing() -> None:
    plain = getattr(transformers, "ViTImageProcessorPil", None) or ViTImageProcessor
    processor = plain(size={"height": 48, "width": 40}, image_std=[0.2, 0.3, 0.4])
    steps = processor_steps(processor)
    assert isinstance(steps, Preprocessing)
    assert (steps.resize, steps.std) == ((48, 40), (0.2, 0.3, 0.4))


def test_folders_that_are_none_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(kind: type[Exception], spec: str) -> str:
        with pytest.raises(kind) as caught:
            seewhy.load(spec, device="cpu")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no config.json" in refusal(ModelFileError, f"hf:{tmp_path}")
    assert "no/such-model" in refusal(ModelFileError, "hf:no/such-model")
    network, _ = resnet()
    network.config.id2label = {index: f"LABEL_{index}" for index in range(5)}
    network.save_pretrained(tmp_path)
    model = seewhy.load(f"hf:{tmp_path}", device="cpu")
    assert model.labels is None
    assert model.preprocessing is None
    assert any("no preprocessing" in note for note in model.notes)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    assert str(tmp_path) in refusal(ModelFileError, f"hf:{tmp_path}")
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "pip install 'seewhy[transformers]'" in refusal(MissingExtraError, f"hf:{tmp_path}")
