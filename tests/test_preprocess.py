"""Model input must equal, bit for bit, what torchvision's and timm's own evaluation transforms compute."""

from __future__ import annotations

import functools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data
from torch import nn
from torchvision import models, transforms
from torchvision.transforms import v2

from seewhy.core.errors import InputError, InputTypeError, NotFiniteError, SettingError
from seewhy.models.images import Picture, open_picture
from seewhy.models.preprocess import Preprocessing
from seewhy.models.transforms import CallablePreprocessing

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PLAIN = transforms.Compose(
    [
        transforms.Resize(64),
        transforms.CenterCrop((56, 48)),
        transforms.ToTensor(),
        transforms.Normalize(*IMAGENET),
    ]
)


@functools.cache
def pictures() -> tuple[Picture, ...]:
    chelsea, coffee = data.chelsea(), data.coffee()
    tall = np.ascontiguousarray(coffee.transpose(1, 0, 2))[:, 20:351]
    return tuple(open_picture(array) for array in (chelsea, coffee, tall, chelsea[:90, :41]))


def same_as(preprocessing: Preprocessing, transform: Any, which: slice = slice(None)) -> None:
    for picture in pictures()[which]:
        expected = transform(Image.fromarray(picture.pixels)).unsqueeze(0)
        x = preprocessing(picture)
        assert x.dtype == torch.float32
        assert x.is_contiguous()
        assert torch.equal(x, expected)


# ----------------------------------------------------------------------------------------- the libraries' own


def test_timms_efficientnet_lite0() -> None:
    config = timm.data.resolve_model_data_config(timm.create_model("tf_efficientnet_lite0"))
    assert config["interpolation"] == "bicubic"
    preprocessing = Preprocessing.from_timm(config)
    same_as(preprocessing, timm.data.create_transform(**config, is_training=False))
    assert (preprocessing.resize, preprocessing.crop) == (256, (224, 224))


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(224, 224), (192, 256), (256, 160)])
@pytest.mark.parametrize(("share", "interpolation"), [(0.875, "bilinear"), (1.0, "bicubic")])
def test_timms_other_ways_to_crop(mode: str, size: tuple[int, int], share: float, interpolation: str) -> None:
    config = {
        "input_size": (3, *size), "crop_mode": mode, "crop_pct": share, "interpolation": interpolation,
        "mean": IMAGENET[0], "std": IMAGENET[1],
    }  # fmt: skip
    transform = timm.data.create_transform(**config, is_training=False)
    same_as(Preprocessing.from_timm(config), transform, slice(2, 4))


def test_timms_defaults_and_refusals() -> None:
    same_as(Preprocessing.from_timm({}), timm.data.create_transform(224, is_training=False))
    with pytest.raises(SettingError, match=r"crop_mode must be one of .*'centre'.*Did you mean 'center'"):
        Preprocessing.from_timm({"crop_mode": "centre"})
    with pytest.raises(SettingError, match="input_size"):
        Preprocessing.from_timm({"input_size": (224, 224)})


@pytest.mark.parametrize(
    "weights",
    [
        models.MobileNet_V2_Weights.IMAGENET1K_V1,
        models.MobileNet_V2_Weights.IMAGENET1K_V2,
        models.EfficientNet_B3_Weights.IMAGENET1K_V1,  # bicubic
        models.segmentation.FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1,  # no crop
    ],
)
def test_torchvisions_weights(weights: Any) -> None:
    for source in (weights, weights.transforms, weights.transforms()):
        same_as(Preprocessing.from_torchvision(source), weights.transforms())


@pytest.mark.parametrize(
    "source",
    [
        models.detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1,
        models.video.R3D_18_Weights.KINETICS400_V1,
        PLAIN,
        "IMAGENET1K_V1",
        lambda image: image,
        None,
    ],
)
def test_what_torchvision_has_that_is_no_picture_classifier(source: Any) -> None:
    with pytest.raises(InputTypeError, match="from_torchvision"):
        Preprocessing.from_torchvision(source)


def test_grey_input() -> None:
    config = {"input_size": (1, 40, 40), "mean": (0.5,), "std": (0.25,), "crop_mode": "border"}
    preprocessing = Preprocessing.from_timm(config)
    transform = timm.data.create_transform(**config, is_training=False)
    for picture in pictures():
        x = preprocessing(picture)
        assert x.shape == (1, 1, 40, 40)
        assert torch.equal(x[0], transform(Image.fromarray(picture.pixels).convert("L")))


def test_it_does_not_depend_on_the_default_dtype_or_the_callers_modes() -> None:
    preprocessing, picture = Preprocessing(64, (56, 48), *IMAGENET), pictures()[0]
    expected = preprocessing(picture)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(preprocessing(picture), expected)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        assert torch.equal(preprocessing(picture), expected)


# ----------------------------------------------------------------------------------------------- the way back


@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    resize=st.one_of(st.none(), st.integers(1, 70), st.tuples(st.integers(1, 70), st.integers(1, 70))),
    crop=st.one_of(st.none(), st.tuples(st.integers(1, 90), st.integers(1, 90))),
    fit=st.sampled_from(["squash", "cover", "contain"]),
)
@settings(max_examples=60, deadline=None)
def test_geometry_says_where_the_crop_lies(size: tuple[int, int], resize: Any, crop: Any, fit: str) -> None:
    """White padding shows the crop's box exactly, and the input's shape is the crop's."""
    preprocessing = Preprocessing(resize, crop, (0.0,) * 3, (1.0,) * 3, fit=fit, fill=(255, 255, 255))
    picture = Picture(np.zeros((*size, 3), np.uint8), "black")
    geometry, x = preprocessing.geometry(picture), preprocessing(picture)
    top, left, height, width = geometry.crop
    assert geometry.original == size
    assert x.shape == (1, 3, height, width)
    inside = torch.zeros(height, width)
    inside[max(0, -top) : geometry.resized[0] - top, max(0, -left) : geometry.resized[1] - left] = 1
    assert torch.equal(x[0, 0], 1 - inside)


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(256, (224, 224), *IMAGENET),
        Preprocessing((256, 256), (224, 224), *IMAGENET),
        Preprocessing((250, 190), (224, 180), *IMAGENET, fit="cover"),
        Preprocessing((256, 256), (256, 256), *IMAGENET, fit="contain"),
        Preprocessing(None, (280, 500), *IMAGENET),
        CallablePreprocessing(
            transforms.Compose([transforms.Resize(256), transforms.CenterCrop(200), transforms.ToTensor()])
        ),
    ],
)
@pytest.mark.parametrize("shape", [(300, 451), (520, 300)])
def test_a_blob_in_the_photograph_comes_back_where_it_was(preprocessing: Any, shape: tuple[int, int]) -> None:
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    for share in (0.42, 0.5, 0.61):
        y, x = share * shape[0], (1.05 - share) * shape[1]
        blob = 255 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * 9**2))
        picture = open_picture(np.rint(blob).astype(np.uint8))
        seen = preprocessing(picture)[0].mean(0)
        geometry = preprocessing.geometry(picture)
        assert geometry is not None
        inside = torch.zeros_like(seen)
        top, left = geometry.crop[:2]
        area = (
            slice(max(0, -top), geometry.resized[0] - top),
            slice(max(0, -left), geometry.resized[1] - left),
        )
        inside[area] = (seen - seen[area].min())[area]
        back = geometry.to_original(inside).nan_to_num().clamp(min=0)
        weights = (back / back.sum()).numpy()
        assert abs((weights * rows).sum() - y) < 0.5
        assert abs((weights * columns).sum() - x) < 0.5
        peak = divmod(int(back.argmax()), shape[1])
        assert abs(peak[0] + 0.5 - y) <= 1
        assert abs(peak[1] + 0.5 - x) <= 1


@pytest.mark.parametrize("size", [(1, 100_000), (100_000, 1)])
def test_a_hair_thin_picture_is_refused_before_memory_runs_out(size: tuple[int, int]) -> None:
    picture = Picture(np.zeros((*size, 3), np.uint8), "hair.png")
    preprocessing = Preprocessing(256, (224, 224), *IMAGENET)
    for call in (preprocessing, preprocessing.geometry):
        with pytest.raises(InputError, match=r"hair\.png.*100 megapixels.*crop"):
            call(picture)
    contained = Preprocessing((64, 64), (64, 64), *IMAGENET, fit="contain")
    assert contained(picture).shape == (1, 3, 64, 64)


def test_one_pixel_fills_the_input() -> None:
    picture = open_picture(np.full((1, 1, 3), 255, np.uint8))
    preprocessing = Preprocessing(256, (224, 224), *IMAGENET)
    white = preprocessing.value_range[1]
    assert torch.equal(preprocessing(picture), white[None, :, None, None].expand(1, 3, 224, 224))
    assert torch.equal(preprocessing.geometry(picture).to_original(torch.ones(224, 224)), torch.ones(1, 1))


# ------------------------------------------------------------------------------ range, showing, key, settings


def test_value_range_is_black_and_white() -> None:
    for preprocessing in (
        Preprocessing(None, None, *IMAGENET),
        Preprocessing(8, None, (0.5,), (0.2,), channels=1),
    ):
        for level, bound in zip((0, 255), preprocessing.value_range, strict=True):
            x = preprocessing(open_picture(np.full((9, 9, 3), level, np.uint8)))
            assert torch.equal(x[0, :, 0, 0], bound)
            assert bound.shape == (preprocessing.channels,)


def test_to_pixels_undoes_the_normalisation() -> None:
    preprocessing, picture = Preprocessing(None, (120, 90), *IMAGENET), pictures()[0]
    top, left, height, width = preprocessing.geometry(picture).crop
    shown = preprocessing.to_pixels(preprocessing(picture)[0])
    assert shown.dtype == np.uint8
    assert np.array_equal(shown, picture.pixels[top : top + height, left : left + width])
    assert preprocessing.to_pixels(torch.full((3, 2, 2), 1e6)).min() == 255  # clipped
    grey = Preprocessing(None, None, (0.5,), (0.5,), channels=1)
    assert grey.to_pixels(torch.zeros(1, 2, 2)).tolist() == [[[128] * 3] * 2] * 2


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (torch.zeros(1, 3, 4, 4), InputError),
        (torch.zeros(1, 4, 4), InputError),
        (torch.zeros(3, 0, 4), InputError),
        (torch.full((3, 4, 4), float("nan")), NotFiniteError),
        (torch.full((3, 4, 4), float("inf")), NotFiniteError),
    ],
)
def test_what_cannot_be_shown(x: torch.Tensor, error: type[Exception]) -> None:
    with pytest.raises(error):
        Preprocessing(None, None, *IMAGENET).to_pixels(x)


def test_keys_tell_settings_apart_and_last() -> None:
    base: dict[str, Any] = {"resize": 256, "crop": (224, 224), "mean": IMAGENET[0], "std": IMAGENET[1]}
    changes: list[dict[str, Any]] = [
        {}, {"resize": 255}, {"resize": (256, 256)}, {"resize": None}, {"crop": None}, {"crop": (224, 223)},
        {"mean": (0.485, 0.456, 0.4061)}, {"std": (1, 1, 1)}, {"interpolation": "bicubic"},
        {"resize": (256, 256), "fit": "cover"}, {"fill": (1, 2, 3)},
    ]  # fmt: skip
    keys = [Preprocessing(**(base | change)).key for change in changes]
    assert len(set(keys)) == len(keys)
    assert Preprocessing(**(base | {"crop": [224, 224], "mean": list(IMAGENET[0])})).key == keys[0]
    code = f"from seewhy.models.preprocess import Preprocessing; print(Preprocessing(**{base!r}).key)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == keys[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channels": 4}, "channels"),
        ({"mean": (0.5,)}, "mean must hold 3"),
        ({"mean": (0.5, 0.5, float("nan"))}, "mean"),
        ({"std": (1, 1, 0)}, "std"),
        ({"std": (1, 1, -1)}, "std"),
        ({"interpolation": "bicubik"}, "Did you mean 'bicubic'"),
        ({"resize": 0}, "resize"),
        ({"resize": (5, 5, 5)}, "resize"),
        ({"crop": (0, 5)}, "crop"),
        ({"crop": 5}, "crop"),
        ({"crop": (5.5, 5)}, "crop"),
        ({"fit": "stretch"}, "fit"),
        ({"fill": (300, 0, 0)}, "fill"),
        ({"fill": (3,)}, "fill"),
    ],
)
def test_settings_that_make_no_sense(change: dict[str, Any], words: str) -> None:
    base: dict[str, Any] = {"resize": 256, "crop": (224, 224), "mean": IMAGENET[0], "std": IMAGENET[1]}
    with pytest.raises(SettingError, match=words):
        Preprocessing(**(base | change))


# ------------------------------------------------------------------------------------- a function of the user


def test_a_compose_tells_its_geometry_and_range() -> None:
    twin = Preprocessing(64, (56, 48), *IMAGENET)
    newer = v2.Compose(
        [v2.ToImage(), v2.Resize(64, antialias=True), v2.CenterCrop((56, 48)),
         v2.ToDtype(torch.float32, scale=True), v2.Normalize(*IMAGENET)]
    )  # fmt: skip
    nested = transforms.Compose([nn.Sequential(*PLAIN.transforms[:2]), transforms.Compose(PLAIN.transforms[2:])])
    timms = timm.data.create_transform((3, 56, 48), crop_pct=0.875, is_training=False)
    for function in (PLAIN, newer, nested, timms, models.MobileNet_V2_Weights.IMAGENET1K_V1.transforms()):
        preprocessing = CallablePreprocessing(function)
        for picture in pictures():
            x = preprocessing(picture)
            assert torch.equal(x[0], function(Image.fromarray(picture.pixels)))
            geometry = preprocessing.geometry(picture)
            assert geometry is not None
            assert geometry.crop[2:] == x.shape[-2:]
            if function in (PLAIN, newer, nested):
                assert geometry == twin.geometry(picture)
        assert preprocessing.value_range is not None
        for found, expected in zip(preprocessing.value_range, twin.value_range, strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "function",
    [
        lambda image: transforms.functional.to_tensor(image.resize((32, 32))),
        transforms.Compose([transforms.RandomCrop(32), transforms.ToTensor()]),
        transforms.Compose([transforms.CenterCrop(64), transforms.Resize(32), transforms.ToTensor()]),
        transforms.Compose([transforms.Lambda(lambda image: image.rotate(90)), transforms.ToTensor()]),
        timm.data.create_transform(64, is_training=True),
    ],
)
def test_any_other_function_has_no_way_back(function: Any) -> None:
    preprocessing = CallablePreprocessing(function)
    assert preprocessing(pictures()[0]).ndim == 4
    assert preprocessing.geometry(pictures()[0]) is None


@pytest.mark.parametrize(
    ("function", "known"),
    [
        (transforms.Compose([transforms.ToTensor()]), (0.0, 1.0)),
        (transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.25,))]), (-2.0, 2.0)),
        (transforms.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]), (0.0, 1.0)),
        (transforms.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32)]), None),  # 0..255
        (transforms.Compose([transforms.PILToTensor()]), None),
        (transforms.Compose([transforms.ToTensor(), *[transforms.Normalize((0.5,), (0.5,))] * 2]), None),
        (lambda image: transforms.functional.to_tensor(image), None),
    ],
)
def test_value_range_is_read_only_where_it_is_certain(function: Any, known: tuple[float, float] | None) -> None:
    found = CallablePreprocessing(function).value_range
    assert (None if found is None else tuple(float(bound) for bound in found)) == known
    given_range = CallablePreprocessing(function, value_range=(-3, [1.0, 2.0, 3.0])).value_range
    assert given_range is not None
    assert [bound.tolist() for bound in given_range] == [[-3.0] * 3, [1.0, 2.0, 3.0]]


def test_value_ranges_that_make_no_sense() -> None:
    for given_range in ((1, 0), (0, 0), (0, float("nan")), ([0, 0], [1, 1, 1]), (0, 1, 2)):
        with pytest.raises(SettingError, match="value_range"):
            CallablePreprocessing(PLAIN, value_range=given_range)  # type: ignore[arg-type]


def test_showing_what_a_function_made() -> None:
    picture = pictures()[0]
    crop = np.asarray(transforms.Compose(PLAIN.transforms[:2])(Image.fromarray(picture.pixels)))
    known = CallablePreprocessing(PLAIN)
    assert np.array_equal(known.to_pixels(known(picture)[0]), crop)
    unknown = CallablePreprocessing(lambda image: PLAIN(image))
    shown = unknown.to_pixels(unknown(picture)[0])
    assert shown.min() == 0
    assert shown.max() == 255
    assert unknown.to_pixels(torch.full((1, 2, 2), 7.0)).max() == 0  # a flat picture has no white
    with pytest.raises(NotFiniteError):
        unknown.to_pixels(torch.full((3, 2, 2), float("nan")))
    with pytest.raises(InputError):
        unknown.to_pixels(torch.zeros(3, 0, 2))


def test_a_functions_key_is_what_it_does() -> None:
    plain = CallablePreprocessing(PLAIN)
    other = transforms.Compose([*PLAIN.transforms[:3], transforms.Normalize((0.5,) * 3, (0.5,) * 3)])
    assert plain.key == CallablePreprocessing(lambda image: PLAIN(image)).key
    assert plain.key == plain.key
    assert plain.key != CallablePreprocessing(other).key
    random = transforms.Compose([transforms.RandomCrop(32), transforms.ToTensor()])
    assert len({CallablePreprocessing(random).key for _ in range(8)}) > 1


@pytest.mark.parametrize(
    ("returned", "error", "words"),
    [
        (np.zeros((3, 4, 4)), InputTypeError, "ndarray"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), InputTypeError, "uint8.*ToTensor"),
        (None, InputTypeError, "NoneType"),
        (torch.zeros(4, 4), InputError, r"\(4, 4\)"),
        (torch.zeros(2, 3, 4, 4), InputError, r"\(2, 3, 4, 4\)"),
        (torch.zeros(3, 0, 4), InputError, r"\(3, 0, 4\)"),
    ],
)
def test_functions_that_return_something_else(returned: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        CallablePreprocessing(lambda image: returned)(pictures()[0])


def test_the_functions_own_errors_and_choices_are_left_alone() -> None:
    def broken(image: Image.Image) -> torch.Tensor:
        raise IndexError("boom")

    with pytest.raises(IndexError, match="boom"):
        CallablePreprocessing(broken)(pictures()[0])
    with pytest.raises(InputTypeError, match="callable"):
        CallablePreprocessing("resize")  # type: ignore[arg-type]
    seen: list[Any] = []

    def double(image: Image.Image) -> torch.Tensor:
        seen.append(image)
        return torch.zeros(1, 5, 4, 4, dtype=torch.float64, requires_grad=True)

    x = CallablePreprocessing(double)(pictures()[0])
    assert seen[0].mode == "RGB"
    assert x.dtype == torch.float64
    assert x.shape == (1, 5, 4, 4)
    assert not x.requires_grad
