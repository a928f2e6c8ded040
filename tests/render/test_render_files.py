"""A saved explanation must come back bit for bit, and no failure may cost the file that was there."""

from __future__ import annotations

import io
import json
import os
import zipfile
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from render_records import attribution, explanation

from seewhy.core.errors import LayerError, SeewhyError, SettingError
from seewhy.core.explanation import Answer, Explanation, Finding, Prediction
from seewhy.core.targets import Class, Difference, Function, Top, Unit
from seewhy.render import load_explanation, save_explanation, save_report

WEIRD = "</script> \"q\" 'q' \\ / \x00 \n 猫 \udcff ! | $x$ 👁️"


def bits(value: torch.Tensor | np.ndarray) -> Any:
    """Returns all there is to compare of an array: form and bytes."""
    if isinstance(value, torch.Tensor):
        flat = value.detach().contiguous().reshape(-1)
        return value.dtype, value.shape, flat.view(torch.uint8).tolist() if len(flat) else []
    return value.dtype, value.shape, value.tobytes()


def same(one: Any, other: Any) -> None:
    """Asserts that two records are equal down to dtype and bits."""
    assert type(one) is type(other)
    if isinstance(one, (torch.Tensor, np.ndarray)):
        assert bits(one) == bits(other)
    elif is_dataclass(one):
        for field in fields(one):
            same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            same(left, right)
    else:
        assert repr(one) == repr(other)  # tells -0.0 from 0.0, and finds NaN equal


def rich() -> Explanation:
    """Everything a record may hold and a file can keep."""
    nan = torch.tensor([[[1.0, float("nan")], [-0.0, float("inf")]]])
    diagnostics = {
        "rows": 8000,
        "completeness_gap": 1e-17,
        "none": None,
        "flag": True,
        "nan": float("nan"),
        "inf": -float("inf"),
        "sizes": (1, (2, 3), [4, "x"]),
        "!": "a key that looks like a tag",
        WEIRD: {3: "int key", ("a", 1): b"\x00\xff"},
        "seen": frozenset({1, 2}),
        "curve": np.arange(6, dtype=np.float16).reshape(2, 3),
        "empty": np.zeros((0, 4), dtype=np.int64),
        "big": np.arange(3, dtype=">i4"),
        "text": np.array(["a", "bcd"]),
    }
    maps = {
        ("grad-cam", WEIRD): attribution(nan, layer=WEIRD, error=nan.double(), counter=nan.half(), geometry=(None,)),
        ("rise", WEIRD): attribution(torch.randn(1, 3, 5).bfloat16(), diagnostics=diagnostics),
        ("many", WEIRD): attribution(torch.randn(2, 3, 5)[:, :, ::2].double(), input_shapes=((3, 5), (7,))),
        ("nothing", WEIRD): attribution(torch.zeros(0, 3, 3, dtype=torch.int32)),
        ("scalar", WEIRD): attribution(torch.randn(1).bfloat16(), settings={"baseline": torch.tensor(2.0).bfloat16()}),
    }
    targets = {
        WEIRD: Class(3, "probability"),
        "top": Top(rank=2),
        "difference": Difference(1, 2),
        "unit": Unit("layer", 4, (1, 2)),
    }
    return explanation(
        source=WEIRD,
        attributions=maps,
        targets=targets,
        errors={},
        findings={("rise", WEIRD): (Finding("c", WEIRD, "warning"), Finding("d", "two"))},
        prediction=Prediction((Answer(0, WEIRD, float("nan")),), "score", 1),
        families={"rise": "perturbation", WEIRD: WEIRD},
        diagnosis={WEIRD: ("One.", WEIRD)},
        provenance={"versions": {"torch": "2"}},
    )


@pytest.mark.parametrize("suffix", [".npz", ".json"])
@pytest.mark.parametrize("make", [explanation, rich])
def test_what_was_saved_comes_back_bit_for_bit(tmp_path: Path, suffix: str, make: Any) -> None:
    record = make()
    path = save_explanation(record, tmp_path / f"e{suffix}")
    loaded = load_explanation(path)
    for field in fields(record):
        if field.name != "errors":
            same(getattr(record, field.name), getattr(loaded, field.name))
    assert [(key, type(error), str(error)) for key, error in loaded.errors.items()] == [
        (key, SeewhyError, f"{type(error).__name__}: {error}") for key, error in record.errors.items()
    ]
    again = load_explanation(save_explanation(loaded, tmp_path / f"again{suffix}"))
    assert {key: str(error) for key, error in again.errors.items()} == {
        key: str(error) for key, error in loaded.errors.items()
    }


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_functions_come_back_by_name_and_only_say_so(tmp_path: Path, suffix: str) -> None:
    def my_rule(output: torch.Tensor) -> torch.Tensor:
        return output.sum()

    target = Function(my_rule, "the sum")
    one = attribution(
        torch.ones(1, 2, 2), targets=(target,), settings={"segments": my_rule, "reshape": torch.nn.ReLU()}
    )
    record = explanation(targets={"the sum": target}, attributions={("rise", "the sum"): one}, errors={}, findings={})
    loaded = load_explanation(save_explanation(record, tmp_path / f"e{suffix}"))
    back = loaded.targets["the sum"]
    assert isinstance(back, Function)
    assert back.name == "the sum"
    assert back == loaded["rise"].targets[0]
    with pytest.raises(SettingError, match="saved by name only"):
        back.function(torch.ones(3))
    assert loaded["rise"].settings == {"segments": "my_rule", "reshape": "ReLU()"}


def test_an_error_is_raised_again_when_its_map_is_asked_for(tmp_path: Path) -> None:
    loaded = load_explanation(save_explanation(explanation(), tmp_path / "e.json"))
    with pytest.raises(SeewhyError, match="LayerError: there is no layer5"):
        loaded["integrated-gradients", "Egyptian cat"]


def test_gradients_and_other_devices_leave_no_trace(tmp_path: Path) -> None:
    values = torch.randn(1, 2, 2, requires_grad=True)
    record = explanation(attributions={("rise", "tabby"): attribution(values)}, errors={}, findings={})
    loaded = load_explanation(save_explanation(record, tmp_path / "e.npz"))["rise"].values
    assert isinstance(loaded, torch.Tensor)
    assert not loaded.requires_grad
    loaded += 1  # memory of its own
    assert torch.equal(loaded, values.detach() + 1)


def test_pages_and_pictures_are_written(tmp_path: Path) -> None:
    assert save_explanation(explanation(), str(tmp_path / "E.HTML")).read_text("utf-8").startswith("<!DOCTYPE html>")
    with Image.open(save_explanation(explanation(), tmp_path / "e.png")) as picture:
        assert min(picture.size) > 300
    assert "2 pictures" in save_report([explanation()] * 2, tmp_path / "all.html").read_text("utf-8")


def test_npz_is_readable_by_numpy_without_pickle(tmp_path: Path) -> None:
    path = save_explanation(explanation(), tmp_path / "e.npz")
    with np.load(path, allow_pickle=False) as stored:
        arrays = [stored[name] for name in stored.files]
    assert any(array.shape == (12, 18, 3) for array in arrays)


@pytest.mark.parametrize("name", ["e.txt", "e", "e.npz.gz", ".html"])
def test_other_suffixes_are_refused_with_the_four_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingError, match=r"\.html, \.png, \.npz or \.json"):
        save_explanation(explanation(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_missing_folders_and_folders_in_the_way_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="does not exist"):
        save_explanation(explanation(), tmp_path / "no" / "e.json")
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingError, match="is not a folder"):
        save_explanation(explanation(), tmp_path / "file" / "e.json")
    (tmp_path / "d.json").mkdir()
    with pytest.raises(SettingError, match="is a folder"):
        save_explanation(explanation(), tmp_path / "d.json")
    with pytest.raises(SettingError, match=r"saved as \.html"):
        save_report([explanation()], tmp_path / "r.pdf")


@pytest.mark.parametrize("broken", ["write", "fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = save_explanation(explanation(), tmp_path / "e.json")
    before = path.read_bytes()

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    if broken == "write":
        monkeypatch.setattr("seewhy.render.files.open", fail, raising=False)
    else:
        monkeypatch.setattr(os, broken, fail)
    with pytest.raises(SettingError, match="No space left"):
        save_explanation(explanation(source="other"), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_leaves_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_explanation(explanation(), tmp_path / "e.json")
    assert list(tmp_path.iterdir()) == []


def test_saving_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    save_explanation(explanation(), tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert load_explanation(tmp_path / "real.json").source == "cat.png"


def foreign_npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


def pickled_npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{"explanation.json": np.array([print], dtype=object)})
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("e.npz", b""),
        ("e.npz", b"PK\x03\x04 torn"),
        ("e.npz", foreign_npz()),
        ("e.npz", pickled_npz()),
        ("e.json", b""),
        ("e.json", b"{"),
        ("e.json", b"[1, 2]"),
        ("e.json", b'{"format": "something else"}'),
        ("e.json", b'{"format": "seewhy explanation"}'),
        ("e.json", b'{"format": "seewhy explanation", "schema": 1, "explanation": 3}'),
        ("e.json", b'{"format": "seewhy explanation", "schema": 1, "explanation": {"!": "os.system", "is": "x"}}'),
        ("e.json", b"\xff\xfe\x00"),
        ("e.json", b"[" * 100000),
    ],
)
def test_foreign_and_damaged_files_are_one_clear_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingError, match=r"seewhy"):
        load_explanation(tmp_path / name)


def test_a_newer_schema_is_named(tmp_path: Path) -> None:
    path = save_explanation(explanation(), tmp_path / "e.json")
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "schema": 2, "seewhy": "9.0"}))
    with pytest.raises(SettingError, match=r"schema version 2, written by seewhy 9\.0"):
        load_explanation(path)


def test_torn_files_are_refused_wherever_they_were_cut(tmp_path: Path) -> None:
    for suffix in (".npz", ".json"):
        whole = save_explanation(explanation(), tmp_path / f"e{suffix}").read_bytes()
        for share in (0.1, 0.5, 0.9, 0.999):
            torn = tmp_path / f"torn{suffix}"
            torn.write_bytes(whole[: int(share * len(whole))])
            with pytest.raises(SettingError):
                load_explanation(torn)


def test_an_array_shorter_than_its_shape_is_damage(tmp_path: Path) -> None:
    path = save_explanation(explanation(), tmp_path / "e.json")
    path.write_text(path.read_text().replace('"shape": [1, 4, 4]', '"shape": [1, 4, 3]'))
    with pytest.raises(SettingError, match="damaged"):
        load_explanation(path)


def test_what_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot be read"):
        load_explanation(tmp_path / "missing.npz")
    with pytest.raises(SettingError, match=r"\.npz and \.json"):
        load_explanation(tmp_path / "e.png")


def test_the_same_record_gives_the_same_bytes(tmp_path: Path) -> None:
    for suffix in (".npz", ".json", ".html"):
        one, two = (save_explanation(explanation(), tmp_path / f"{name}{suffix}") for name in ("a", "b"))
        assert one.read_bytes() == two.read_bytes()
    assert zipfile.is_zipfile(tmp_path / "a.npz")


def test_errors_of_seewhy_keep_their_words(tmp_path: Path) -> None:
    record = explanation(errors={("rise", "tabby"): LayerError(WEIRD), ("lime", "tabby"): SeewhyError("plain")})
    loaded = load_explanation(save_explanation(record, tmp_path / "e.npz"))
    assert str(loaded.errors["rise", "tabby"]) == f"LayerError: {WEIRD}"
    assert str(loaded.errors["lime", "tabby"]) == "plain"


def test_files_written_before_there_were_families_still_load(tmp_path: Path) -> None:
    path = save_explanation(explanation(families={"grad-cam": "gradient"}), tmp_path / "e.json")
    document = json.loads(path.read_text("utf-8"))
    for name in ("families", "diagnosis"):
        del document["explanation"]["is"][name]
    path.write_text(json.dumps(document), "utf-8")
    old = load_explanation(path)
    assert (old.families, old.diagnosis) == ({}, {})
    assert torch.equal(old["grad-cam"].values, explanation()["grad-cam"].values)
