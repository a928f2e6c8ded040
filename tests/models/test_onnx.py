"""ONNX files: the same scores and maps as the network that was exported, and clear words for every bad file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image
from scipy.stats import spearmanr
from skimage.data import chelsea
from torch import Tensor

import seewhy
from seewhy import Options
from seewhy.apps.cli import main
from seewhy.core.errors import InputError, InputTypeError, MissingExtraError, ModelFileError, OutputError
from seewhy.models.onnx_models import IMAGENET

KINDS = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16, np.float64: TensorProto.DOUBLE}
WEIGHTS = np.random.default_rng(0).normal(size=(48, 3))


@pytest.fixture(scope="module")
def default() -> seewhy.Model:
    return seewhy.load(device="cpu")


@pytest.fixture(scope="module")
def exported(default: seewhy.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the default model as an ONNX file, by torch's exporter that needs no other package."""
    file = tmp_path_factory.mktemp("onnx") / "net.onnx"
    axes = {"x": {0: "n"}, "scores": {0: "n"}}
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["scores"], "dynamic_axes": axes}
    with pytest.warns(DeprecationWarning, match="legacy"):
        torch.onnx.export(default.module, (torch.zeros(1, 3, 224, 224),), str(file), dynamo=False, **names)
    return file


def linear(
    file: Path,
    dtype: Any = np.float32,
    rows: Any = "n",
    outputs: int = 1,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Writes x (rows, 3, 4, 4) -> flatten @ WEIGHTS, cast to float64 first where x is uint8."""
    kind = KINDS.get(dtype, TensorProto.FLOAT)
    given = TensorProto.UINT8 if dtype is np.uint8 else kind
    compute = np.float32 if dtype is np.uint8 else dtype
    nodes = [
        helper.make_node("Cast", ["x"], ["cast"], to=kind),
        helper.make_node("Flatten", ["cast"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
        helper.make_node("Neg", ["scores"], ["others"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", given, [rows, 3, 4, 4])],
        [helper.make_tensor_value_info(name, kind, [rows, 3]) for name in ("scores", "others")[:outputs]],
        [onnx.numpy_helper.from_array(WEIGHTS.astype(compute), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if metadata:
        helper.set_model_props(model, metadata)
    onnx.save(model, str(file))
    return file


def refusal(kind: type[Exception], *spec: Any, **settings: Any) -> str:
    with pytest.raises(kind) as caught:
        seewhy.load(*spec, device="cpu", **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------------- a real network


def test_the_exported_network_has_the_same_logits(default: seewhy.Model, exported: Path) -> None:
    model = seewhy.load(exported, preprocess="efficientnet-lite0")
    x = torch.rand(3, 3, 224, 224) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(model.module(x), default.module(x), atol=1e-4)
    assert model.gives == frozenset()
    assert model.preprocessing == default.preprocessing
    assert model.labels == default.labels


def test_maps_are_those_of_the_network_itself(default: seewhy.Model, exported: Path) -> None:
    model = seewhy.load(f"onnx:{exported}", preprocess="efficientnet-lite0")
    methods = [
        seewhy.methods.Occlusion(window=64, stride=48),
        seewhy.methods.FeatureAblation(
            segments=torch.arange(36).reshape(6, 6).repeat_interleave(38, 0)[:224].repeat_interleave(38, 1)[:, :224]
        ),
        seewhy.methods.Rise(masks=24),
    ]
    picture = chelsea()
    maps = []
    for one in (model, default):
        e = seewhy.explain(one, picture, methods=methods, targets=282, contrast=False, options=Options(batch_size=8))
        assert not e.errors
        maps.append({name: a.values.flatten().numpy() for (name, _), a in e.attributions.items()})
    assert len(maps[0]) == 3
    for name, values in maps[0].items():
        assert values.std() > 0
        assert spearmanr(values, maps[1][name]).statistic > 0.99, name
        assert np.allclose(values, maps[1][name], atol=1e-3 * np.abs(maps[1][name]).max())


def test_a_picture_needs_no_more_than_the_file_for_imagenet(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "cat.png"
    Image.fromarray(chelsea()).save(picture)
    given = ["explain", str(picture), "-m", "feature-ablation", "-o", str(tmp_path / "out.json"), "--model"]
    for spec, assumed in (
        (["onnx:" + str(exported)], True),
        ([str(exported), "--preprocess", "efficientnet-lite0"], False),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*given, *spec])
        out = capsys.readouterr()
        assert (ended.value.code or 0) == 0, out.err
        assert ("preprocessing assumed: ImageNet" in " ".join(out.out.split())) is assumed
        assert "cat" in out.out
    assert seewhy.load(exported).preprocessing == IMAGENET


# ---------------------------------------------------------------------------- what a graph may be


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float32, 1e-4), (np.float16, 3e-2), (np.float64, 1e-5), (np.uint8, 1e-1)]
)
@pytest.mark.parametrize("rows", ["n", 1, 3])
def test_every_dtype_and_every_batch_axis(tmp_path: Path, dtype: Any, tolerance: float, rows: Any) -> None:
    model = seewhy.load(linear(tmp_path / "net.onnx", dtype, rows))
    x = torch.rand(2, 3, 4, 4) if dtype is not np.uint8 else torch.randint(0, 256, (2, 3, 4, 4)).float()
    weights = torch.from_numpy(WEIGHTS[:, 1]).reshape(3, 4, 4)
    method = seewhy.methods.FeatureAblation(segments=torch.arange(16).reshape(4, 4))
    for size in (None, 1, 4):
        values = seewhy.attribute(model, x, method, target=1, options=Options(batch_size=size)).values
        assert torch.allclose(values.double(), (x * weights).sum(1), atol=tolerance)


def test_integers_stay_in_their_range(tmp_path: Path) -> None:
    model = seewhy.load(linear(tmp_path / "net.onnx", np.uint8))
    x = torch.full((1, 3, 4, 4), 300.4)
    x[:, 0] = -2.0
    expected = (
        torch.tensor([0.0, 255.0, 255.0]).reshape(3, 1, 1).expand(3, 4, 4).flatten() @ torch.from_numpy(WEIGHTS).float()
    )
    assert torch.allclose(model.module(x)[0], expected, rtol=1e-5)


def test_several_outputs_want_a_name(tmp_path: Path) -> None:
    file = linear(tmp_path / "net.onnx", outputs=2)
    x = torch.rand(1, 3, 4, 4)
    with pytest.raises(OutputError, match=r"'scores'.*'others'.*output="):
        seewhy.attribute(seewhy.load(file), x, "occlusion", target=0)
    one, other = (
        seewhy.attribute(seewhy.load(file, output=name), x, "occlusion", target=0).values
        for name in ("scores", "others")
    )
    assert torch.allclose(one, -other, atol=1e-5)
    assert one.abs().max() > 0.1


@pytest.mark.parametrize("text", ['["ant", "bee", "cow"]', "{0: 'ant', 1: 'bee', 2: 'cow'}"])
def test_labels_in_the_file(tmp_path: Path, text: str) -> None:
    model = seewhy.load(linear(tmp_path / "net.onnx", metadata={"names": text}))
    assert model.labels == ("ant", "bee", "cow")
    assert any("'names'" in note for note in model.notes)
    assert seewhy.load(tmp_path / "net.onnx", labels=["x", "y", "z"]).labels == ("x", "y", "z")
    assert seewhy.load(linear(tmp_path / "bad.onnx", metadata={"names": "ant"})).labels is None


def test_a_wrong_input_is_named(tmp_path: Path) -> None:
    model = seewhy.load(linear(tmp_path / "net.onnx"))
    with pytest.raises(InputError, match=r"must be \(N, 3, 4, 4\).*given \(1, 4, 4, 3\).*permute"):
        seewhy.attribute(model, torch.rand(1, 4, 4, 3), "occlusion")
    with pytest.raises(InputError, match=r"given \(1, 3, 6, 6\).*preprocess= of seewhy\.load takes.*\(3, 4, 4\)"):
        seewhy.attribute(model, torch.rand(1, 3, 6, 6), "occlusion")
    with pytest.raises(InputTypeError, match="inputs of this ONNX network, x"):
        seewhy.attribute(model, (torch.rand(1, 3, 4, 4), torch.rand(1, 2)), "occlusion")
    with pytest.raises(InputTypeError, match="--preprocess"):
        seewhy.explain(model, chelsea())


# ---------------------------------------------------------------------------- what is no network


def test_bad_files_are_told_apart(tmp_path: Path) -> None:
    whole = linear(tmp_path / "net.onnx").read_bytes()
    for name, content in {"cut.onnx": whole[: len(whole) // 2], "text.onnx": b"hello", "empty.onnx": b""}.items():
        (tmp_path / name).write_bytes(content)
        assert name in refusal(ModelFileError, tmp_path / name)
    assert "no such file" in refusal(ModelFileError, tmp_path / "missing.onnx")
    assert "a directory" in refusal(ModelFileError, f"onnx:{tmp_path}")
    assert "checkpoint" in refusal(ModelFileError, tmp_path / "net.onnx", "weights.pth")


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install 'seewhy[onnx]'" in refusal(MissingExtraError, linear(tmp_path / "net.onnx"))


def test_a_model_to_do_as_must_be_known(exported: Path) -> None:
    assert "'timm:NAME'" in refusal(seewhy.SeewhyError, exported, preprocess="resnet50")
    assert "'resnet18'" in refusal(seewhy.SeewhyError, exported, preprocess="timm:resnet81")
    import torchvision

    weights = torchvision.models.ResNet50_Weights.DEFAULT.transforms()
    steps = seewhy.load(exported, preprocess="torchvision:resnet50").preprocessing
    assert (steps.resize, steps.crop) == (weights.resize_size[0], (weights.crop_size[0],) * 2)


def test_a_function_makes_the_size_that_a_network_wants(tmp_path: Path) -> None:
    def steps(image: Image.Image) -> Tensor:
        return torch.from_numpy(np.asarray(image.resize((4, 4)), np.float32) / 255).permute(2, 0, 1)

    model = seewhy.load(linear(tmp_path / "net.onnx"), preprocess=steps)
    e = seewhy.explain(model, chelsea(), "occlusion")
    assert not e.errors
    expected = (steps(Image.fromarray(chelsea())).double().reshape(1, -1).numpy() @ WEIGHTS).argmax()
    assert e.prediction is not None
    assert e.prediction.top[0].index == expected
