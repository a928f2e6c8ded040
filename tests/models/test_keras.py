"""Keras models: gradients and maps as autograd gives them through Keras itself, heads, files, other backends."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import Tensor

import seewhy
from seewhy import Options
from seewhy.core.errors import InputError, MissingExtraError, ModelFileError, SettingError, UnsupportedModelError
from seewhy.models.keras_heads import keras_head

LAYER = "conv5_block3_add"


@pytest.fixture(scope="module")
def resnet() -> Any:
    assert keras.backend.backend() == "torch"
    keras.utils.set_random_seed(0)
    return keras.applications.ResNet50(weights=None, classes=10, input_shape=(64, 64, 3))


def small(activation: str | None = "softmax") -> Any:
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.layers.Input((12, 10, 3)),
            keras.layers.Conv2D(6, 3, activation="relu", name="features"),
            keras.layers.GlobalAveragePooling2D(name="pool"),
            keras.layers.Dense(4, activation=activation, bias_initializer="normal", name="head"),
        ]
    )


def last(x: Tensor) -> Tensor:
    return x.movedim(1, -1)


def variables(model: Any) -> list[Any]:
    return [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in model.variables]


X = torch.rand(2, 3, 12, 10, generator=torch.Generator().manual_seed(0))


def test_saliency_is_the_gradient_through_keras(resnet: Any) -> None:
    before = variables(resnet)
    x = torch.rand(2, 3, 64, 64)
    leaf = x.clone().requires_grad_()
    scores = resnet(last(leaf))
    (gradient,) = torch.autograd.grad(scores[:, 3].sum(), leaf)
    a = seewhy.attribute(resnet, x, "saliency", target=3)
    assert torch.allclose(a.values, gradient.abs(), rtol=1e-3, atol=1e-7)
    assert all(np.array_equal(one, two) for one, two in zip(before, variables(resnet), strict=True))
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in resnet._flatten_layers())


@pytest.mark.parametrize("layer", [None, LAYER])
def test_cam_takes_the_dense_layers_kernel(resnet: Any, layer: str | None) -> None:
    x = torch.rand(1, 3, 64, 64)
    found = seewhy.attribute(resnet, x, "cam", target=3, layer=layer)
    parts = keras.Model(resnet.inputs, [resnet.get_layer(found.layer).output, resnet.get_layer("avg_pool").output])
    features, pooled = (part.detach() for part in parts(last(x)))
    dense = resnet.layers[-1]
    kernel, bias = dense.kernel.value.detach()[:, 3], float(dense.bias.value.detach()[3])
    assert torch.allclose(found.values, features @ kernel, rtol=1e-3, atol=1e-5)
    logit, said = float(pooled[0] @ kernel) + bias, float((features @ kernel).mean()) + bias
    known = found.diagnostics
    assert (known["head"], known["pooling"]) == (dense.name, "average" if layer is None else "unknown")
    assert known["additivity_gap"] == (
        0.0 if layer is None else pytest.approx(abs(said - logit) / abs(logit), rel=1e-2)
    )


def test_grad_cam_by_the_name_of_a_layer(resnet: Any) -> None:
    x = torch.rand(2, 3, 64, 64)
    parts = keras.Model(resnet.inputs, [resnet.get_layer(LAYER).output, resnet.layers[-1].input])
    features, pooled = parts(last(x))
    dense = resnet.layers[-1]
    logits = pooled @ dense.kernel.value + dense.bias.value
    # the gradient of a logit at the addition: the rectifier's gate times the head's weight, spread over the places
    gate = (features > 0).to(features.dtype)
    weights = (gate * dense.kernel.value[:, 3] / features[0, :, :, 0].numel()).mean((1, 2), keepdim=True)
    expected = (weights * features).sum(-1).relu()
    model = seewhy.wrap(resnet, logits=True)
    a = seewhy.attribute(model, x, "grad-cam", target=3, layer=LAYER)
    assert torch.allclose(a.values, expected, atol=1e-5 * float(expected.abs().max().detach()) + 1e-8)
    assert torch.allclose(model.module(x), logits, atol=1e-5)
    default = seewhy.attribute(model, x, "grad-cam", target=3)
    assert default.layer == "conv5_block3_out"
    assert default.values.shape == (2, 2, 2)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("apart", [True, False])
def test_the_last_activation_is_known_and_comes_off(activation: str, apart: bool) -> None:
    model = small(None if apart else activation)
    if apart:
        model.add(keras.layers.Activation(activation))
    squash = {"softmax": lambda z: z.softmax(1), "sigmoid": torch.sigmoid}[activation]
    plain, bare = seewhy.wrap(model), seewhy.wrap(model, logits=True)
    assert (plain.kind, bare.kind) == (activation, None)
    scores = model(last(X))
    assert torch.allclose(plain.module(X), scores, atol=1e-6)
    assert torch.allclose(squash(bare.module(X)), scores, atol=1e-6)
    assert torch.allclose(model(last(X)), scores)
    of = seewhy.targets.Class(1, of="logit")
    values = seewhy.attribute(bare, X, "input-x-gradient", target=1).values
    if activation == "sigmoid":
        assert torch.allclose(seewhy.attribute(plain, X, "input-x-gradient", target=of).values, values, atol=1e-4)
    leaf = X.clone().requires_grad_()
    features = keras.Model(model.inputs, model.get_layer("pool").output)(last(leaf))
    head = model.get_layer("head")
    (gradient,) = torch.autograd.grad((features @ head.kernel.value + head.bias.value)[:, 1].sum(), leaf)
    assert torch.allclose(values, X * gradient, atol=1e-6)


def test_a_model_without_a_last_activation_has_none_to_take_off() -> None:
    with pytest.raises(SettingError, match="logits=True"):
        seewhy.wrap(small("tanh"), logits=True)
    assert seewhy.wrap(small(None)).kind is None


def test_the_head_is_weight_and_bias() -> None:
    model = small("softmax")
    weight, bias = keras_head(model.get_layer("head"))
    pooled = torch.rand(5, 6)
    expected = torch.from_numpy(keras.ops.convert_to_numpy(model.get_layer("head").kernel))
    assert weight.shape == (4, 6)
    assert torch.allclose((pooled @ weight.T + bias).softmax(1), model.get_layer("head")(pooled), atol=1e-6)
    assert torch.equal(weight, expected.T)
    convolution = keras.layers.Conv2D(5, 1)
    places = torch.rand(2, 3, 3, 6)
    answer = convolution(places)
    weight, bias = keras_head(convolution)
    assert torch.allclose(places @ weight.T + bias, answer, atol=1e-6)
    for other in (keras.layers.Conv2D(5, 3), keras.layers.Dense(3, activation="relu")):
        other.build((None, 8, 8, 6))
        assert keras_head(other) is None
    assert keras_head(keras.layers.Dense(3)) is None  # not built yet
    assert keras_head(torch.nn.Linear(2, 2)) is None


def test_layers_carry_keras_names_and_paths() -> None:
    inner = small(None)
    model = keras.Sequential([keras.layers.Input((12, 10, 3)), inner, keras.layers.Dense(2, name="head")])
    wrapped = seewhy.wrap(model)
    table = wrapped.layers(X)
    assert table["features"].shape == (10, 8, 6)
    assert table["head"].shape == (2,)
    assert table[f"{inner.name}/head"].shape == (4,)
    assert wrapped.layer_name(inner.get_layer("features")) == "features"
    assert table.default == "features"
    with pytest.raises(seewhy.SeewhyError, match="'features'"):
        seewhy.attribute(wrapped, X, "grad-cam", layer="fatures")


def test_pictures_in_keras_order_are_refused_with_the_way_out() -> None:
    with pytest.raises(InputError, match=r"\(N, 3, 12, 10\).*given \(1, 12, 10, 3\).*movedim"):
        seewhy.attribute(small(), last(X)[:1], "saliency")
    turned = seewhy.wrap(small(), lambda _: last(X)[:1], value_range=(0, 1))
    with pytest.raises(InputError, match=r"shape is \(12, 10, 3\).*movedim\(-1, 0\)"):
        seewhy.explain(turned, np.zeros((12, 10, 3), np.uint8), "saliency")


@pytest.mark.parametrize("name", ["net.keras", "net.h5"])
def test_files_answer_as_the_model_that_was_saved(tmp_path: Path, name: str) -> None:
    model = small()
    model.save(tmp_path / name)
    for spec in (tmp_path / name, f"keras:{tmp_path / name}"):
        loaded = seewhy.load(spec, device="cpu", labels=["ant", "bee", "cow", "dog"])
        assert loaded.kind == "softmax"
        assert loaded.labels == ("ant", "bee", "cow", "dog")
        assert torch.allclose(loaded.module(X), model(last(X)), atol=1e-6)
        bare = seewhy.load(spec, device="cpu", logits=True)
        assert torch.allclose(bare.module(X), seewhy.wrap(model, logits=True).module(X), atol=1e-6)
        assert torch.allclose(bare.module(X).softmax(1), loaded.module(X), atol=1e-6)
        assert not any(part.training for part in bare.module.modules())
        assert not bare.notes
        assert "logits=True" in loaded.notes[-1]
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:900])
    with pytest.raises(ModelFileError, match="damaged"):
        seewhy.load(tmp_path / name)
    with pytest.raises(ModelFileError, match="no such file"):
        seewhy.load(f"keras:{tmp_path / 'missing.keras'}")
    with pytest.raises(SettingError, match="logits=True is for Keras models"):
        seewhy.load("timm:resnet18@random", logits=True)


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.keras").touch()
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'seewhy\[keras\]'"):
        seewhy.load(tmp_path / "net.keras")


def test_an_unset_backend_is_torch_and_a_note_says_so(tmp_path: Path) -> None:
    model = small()
    model.save(tmp_path / "net.keras")
    np.save(tmp_path / "x.npy", X.numpy())
    program = textwrap.dedent(
        """
        import sys, numpy, torch, seewhy
        folder = sys.argv[1]
        model = seewhy.load(folder + "/net.keras", device="cpu")
        x = torch.from_numpy(numpy.load(folder + "/x.npy"))
        window = seewhy.methods.Occlusion(window=4, stride=4)
        values = seewhy.attribute(model, x, window, target=1).values
        numpy.save(folder + "/values.npy", values.detach().numpy())
        print(sorted(model.gives), model.kind, model.notes)
        """
    )
    window = seewhy.methods.Occlusion(window=4, stride=4)
    expected = seewhy.attribute(model, X, window, target=1, options=Options(batch_size=3)).values
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert np.allclose(np.load(tmp_path / "values.npy"), expected, atol=1e-5)
    assert done.stdout.startswith(
        "['activations', 'attention', 'gradient', 'layer'] softmax ('KERAS_BACKEND was not set"
    )


def test_another_backend_is_a_black_box(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    window = seewhy.methods.Occlusion(window=4, stride=4)
    expected = seewhy.attribute(model, X, window, target=1).values
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    box = seewhy.wrap(model)
    assert (box.gives, box.kind, box.name) == (frozenset(), "softmax", "Sequential")
    monkeypatch.undo()  # Keras itself asks too; what was built stays a black box
    given: list[Any] = []
    answer = model.predict_on_batch

    def watched(x: Any) -> Any:
        given.append(x)
        return answer(x)

    monkeypatch.setattr(model, "predict_on_batch", watched)
    values = seewhy.attribute(box, X, window, target=1).values
    assert torch.allclose(values, expected, atol=1e-5)
    assert all(isinstance(x, np.ndarray) and x.shape[1:] == (12, 10, 3) for x in given)
    with pytest.raises(UnsupportedModelError, match="occlusion"):
        seewhy.attribute(box, X, "saliency")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(SettingError, match="torch backend"):
        seewhy.wrap(model, logits=True)


def test_a_backend_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'jax'", name="jax")

    (tmp_path / "net.keras").touch()
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr("importlib.import_module", broken)
    with pytest.raises(MissingExtraError, match="jax, which Keras needs for KERAS_BACKEND=jax"):
        seewhy.load(tmp_path / "net.keras")
