"""Records of what units have learned come back bit for bit, whatever their target; other files are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_render_files import same
from test_render_filters import record as filters_record

import seewhy
from seewhy import targets
from seewhy.core.attribution import Attribution
from seewhy.core.errors import SettingError
from seewhy.core.targets import Combination, Direction, Energy, Likeness, Target, Unit
from seewhy.core.visualization import Dream, Visualization
from seewhy.render.codec import Decoder, Encoder

GUIDE = torch.rand(3, 4)
TARGETS: list[Target] = [
    Unit("layer", 3, (1, 2), -1),
    Direction("layer", (0.5, -1.0), None, -1),
    Energy("layer"),
    Combination(((0.5, Unit("a", 1)), (-2.0, Combination(((1.0, Energy("b")), (1.0, targets.Class(3, "logit"))))))),
]


def visualization(target: Target) -> Visualization:
    generator = np.random.default_rng(0)
    return Visualization(
        "layer channel 3",
        target,
        generator.integers(0, 256, (2, 5, 6, 3), dtype=np.uint8),
        torch.rand(2, 3, 5, 6),
        torch.rand(2, dtype=torch.float64),
        0.25,
        (0, 8),
        (0.25, 1.5),
        "stuck",
        {"steps": 8, "jitter": {"shift": 16}},
        ("said",),
    )


def dream() -> Dream:
    pixels = np.random.default_rng(1).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Dream(pixels, pixels[::-1].copy(), "layer energy", 2, 4, (0.5, 0.75), False, {"guided": True})


@pytest.mark.parametrize("suffix", [".npz", ".json"])
@pytest.mark.parametrize("target", TARGETS)
def test_visualizations_come_back_with_their_targets(tmp_path: Path, suffix: str, target: Target) -> None:
    record = visualization(target)
    found = seewhy.load_visualization(record.save(tmp_path / f"v{suffix}"))
    same(found, record)
    assert found.target == target
    assert np.array_equal(found.image, record.image)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_dreams_and_filters_come_back(tmp_path: Path, suffix: str) -> None:
    same(seewhy.load_dream(dream().save(tmp_path / f"d{suffix}")), dream())
    record = filters_record()
    found = seewhy.load_filters(record.save(tmp_path / f"f{suffix}"))
    same(found, record)
    assert len({id(item.crop) for one in found.filters for item in one.by_mean.most}) == len(
        {id(item.crop) for one in record.filters for item in one.by_mean.most}
    )  # pictures that are shared are kept once, and go on being shared


def test_a_likeness_comes_back_with_its_guide() -> None:
    kept: list[np.ndarray] = []

    def put(array: np.ndarray) -> int:
        kept.append(array)
        return len(kept) - 1

    for target in (Likeness("layer", GUIDE, -1), Combination(((1.0, Likeness("layer", GUIDE)),))):
        found = Decoder(kept.__getitem__).decode(Encoder(put).encode(target))
        same(found, target)


def test_attributions_to_units_inside_a_layer_come_back() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 2))
    x = torch.rand(1, 3, 8, 8)
    for target in (Unit("0", 1), Direction("0", (1.0, 0.0, 0.0, -1.0)), Energy("1")):
        a = seewhy.attribute(net.eval(), x, "saliency", target=target)
        put: list[np.ndarray] = []

        def keep(array: np.ndarray, put: list[np.ndarray] = put) -> int:
            put.append(array)
            return len(put) - 1

        found = Decoder(put.__getitem__).decode(Encoder(keep).encode(a))
        assert isinstance(found, Attribution)
        assert found.targets == a.targets == (target,)
        assert torch.equal(found.values, a.values)


def test_pictures_are_written_pixel_for_pixel(tmp_path: Path) -> None:
    record = visualization(TARGETS[0])
    sheet = np.asarray(Image.open(record.save(tmp_path / "v.png")))
    assert np.array_equal(sheet, np.concatenate(list(record.images), axis=1))
    assert np.array_equal(np.asarray(Image.open(dream().save(tmp_path / "d.png"))), dream().image)
    assert Image.open(dream().save(tmp_path / "d.jpg")).format == "JPEG"


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = visualization(TARGETS[0]).save(tmp_path / "v.json")
    with pytest.raises(SettingError, match="is not a dream"):
        seewhy.load_dream(path)
    with pytest.raises(SettingError, match="is not filters"):
        seewhy.load_filters(path)
    with pytest.raises(SettingError, match=r"\.png, which keeps every pixel"):
        visualization(TARGETS[0]).save(tmp_path / "v.jpg")
    with pytest.raises(SettingError, match=r"\.png, \.jpg, \.npz or \.json"):
        dream().save(tmp_path / "d.gif")
    torn = tmp_path / "torn.npz"
    torn.write_bytes(visualization(TARGETS[0]).save(tmp_path / "v.npz").read_bytes()[:200])
    with pytest.raises(SettingError, match="is not a whole"):
        seewhy.load_visualization(torn)
    assert replace(dream(), done=True).save(tmp_path / "d.json").exists()
