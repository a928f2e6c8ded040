"""Checkpoints: the right weights under any names, no payload run, nothing half-loaded, clear refusals."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from seewhy.core.errors import ModelFileError
from seewhy.models.checkpoints import (
    STATE_KEYS,
    apply_checkpoint,
    class_count,
    fit_names,
    load_checkpoint,
    read_checkpoint,
)


def network(classes: int = 3) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(2, 4, 3), norm=nn.BatchNorm2d(4), flat=nn.Flatten(), fc=nn.Linear(16, classes))
    )


def other_state(classes: int = 3) -> dict[str, Tensor]:
    """Weights that no freshly built network has: every entry filled with its own number."""
    state = network(classes).state_dict()
    return {key: torch.full_like(value, index + 1) for index, (key, value) in enumerate(state.items())}


def holds(module: nn.Module, state: dict[str, Tensor]) -> bool:
    own = module.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[key], state[key]) for key in own)


def refusal(path: Path) -> str:
    """The error's message, which must name the file and be one line."""
    with pytest.raises(ModelFileError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


# ---------------------------------------------------------------------- what is read


@pytest.mark.parametrize("key", ["", *STATE_KEYS])
def test_finds_the_state_dict_at_the_top_and_under_every_usual_key(tmp_path: Path, key: str) -> None:
    state = other_state()
    torch.save({key: state, "epoch": 7, "optimizer": {"state": {}}} if key else state, tmp_path / "a.pth")
    module = network()
    apply_checkpoint(module, load_checkpoint(tmp_path / "a.pth"), "net")
    assert holds(module, state)


def test_plain_weights_come_before_their_average_and_the_choice_is_said(tmp_path: Path) -> None:
    state = other_state()
    average = {key: value + 100 for key, value in state.items()}
    torch.save({"ema": average, "model": state, "epoch": 12}, tmp_path / "a.pth")
    read = read_checkpoint(tmp_path / "a.pth")
    assert torch.equal(read.state["fc.bias"], state["fc.bias"])
    assert any("'model'" in note and "not 'ema'" in note for note in read.notes)
    assert "checkpoint epoch 12" in read.notes


def test_nested_entries_are_followed(tmp_path: Path) -> None:
    torch.save({"model": {"state_dict": other_state(), "args": 3}}, tmp_path / "a.pth")
    assert load_checkpoint(tmp_path / "a.pth").keys() == other_state().keys()


@pytest.mark.parametrize("name", ["a.safetensors", "blob-without-suffix"])
def test_reads_safetensors_by_content_with_its_labels(tmp_path: Path, name: str) -> None:
    state = other_state()
    save_file(state, tmp_path / name, metadata={"labels": '["ape", "bee", "cat"]', "epoch": "4"})
    read = read_checkpoint(tmp_path / name)
    module = network()
    apply_checkpoint(module, read.state, "net")
    assert holds(module, state)
    assert read.labels == ("ape", "bee", "cat")
    assert "checkpoint epoch 4" in read.notes


@pytest.mark.parametrize(
    "entry",
    [
        {"labels": ["ape", "bee", "cat"]},
        {"class_names": ("ape", "bee", "cat")},
        {"classes": ["ape", "bee", "cat"]},
        {"id2label": {2: "cat", 0: "ape", 1: "bee"}},
        {"id2label": {"0": "ape", "1": "bee", "2": "cat"}},
    ],
)
def test_reads_labels_in_index_order(tmp_path: Path, entry: dict[str, Any]) -> None:
    torch.save({"state_dict": other_state(), **entry}, tmp_path / "nested.pth")
    torch.save({**other_state(), **entry}, tmp_path / "flat.pth")
    for name in ("nested.pth", "flat.pth"):
        read = read_checkpoint(tmp_path / name)
        assert read.labels == ("ape", "bee", "cat")
        assert read.state.keys() == other_state().keys()


def test_labels_that_cannot_be_read_are_left_out_and_mentioned(tmp_path: Path) -> None:
    torch.save({"state_dict": other_state(), "id2label": {0: "ape", 5: "cat"}}, tmp_path / "a.pth")
    read = read_checkpoint(tmp_path / "a.pth")
    assert read.labels is None
    assert any("'id2label' was not read" in note for note in read.notes)


def test_the_old_file_format_of_torch_is_read(tmp_path: Path) -> None:
    torch.save(other_state(), tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    module = network()
    apply_checkpoint(module, load_checkpoint(tmp_path / "a.pth"), "net")
    assert holds(module, other_state())


# ---------------------------------------------------------------------- what must never run


class Payload:
    """Unpickled carelessly, makes a file: what an attack would do."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


class Evaluation(Payload):
    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"open({str(self.marker)!r}, 'w')",)


def _zipped(payload: Payload, path: Path) -> None:
    torch.save({"state_dict": {"conv.weight": payload}}, path)


def _old_format(payload: Payload, path: Path) -> None:
    torch.save(payload, path, _use_new_zipfile_serialization=False)


def _raw(protocol: int) -> Any:
    return lambda payload, path: path.write_bytes(pickle.dumps(payload, protocol=protocol))


@pytest.mark.parametrize("forced", ["0", "1"])
@pytest.mark.parametrize("payload", [Payload, Evaluation])
@pytest.mark.parametrize("write", [_zipped, _old_format, *map(_raw, (0, 1, 2, 3, 4, 5))])
@pytest.mark.parametrize("name", ["evil.pth", "evil.bin"])
def test_a_payload_is_refused_and_does_not_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Any,
    payload: type[Payload],
    name: str,
    forced: str,
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", forced)
    marker = tmp_path / "it-ran"
    write(payload(marker), tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        message = refusal(tmp_path / name)
    assert not marker.exists()
    assert ("eval" if payload is Evaluation else "system") in message
    assert "torch.save(model.state_dict()" in message
    # The file is the danger it is meant to be: read carelessly, it does run.
    if write in (_zipped, _old_format):
        torch.load(tmp_path / name, weights_only=False)
    else:
        pickle.loads((tmp_path / name).read_bytes())
    assert marker.exists()


def test_a_whole_pickled_network_is_refused_with_the_way_to_convert_it(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "whole.pth")
    message = refusal(tmp_path / "whole.pth")
    assert "torch.nn.modules.container.Sequential" in message
    assert "torch.save(model.state_dict(), 'weights.pth')" in message


def test_objects_of_other_packages_are_refused_by_name(tmp_path: Path) -> None:
    torch.save({"state_dict": other_state(), "best": np.float64(0.9)}, tmp_path / "a.pth")
    assert "numpy" in refusal(tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_refused_by_name(tmp_path: Path) -> None:
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(tmp_path / "a.pt")
    assert "TorchScript" in refusal(tmp_path / "a.pt")


# ---------------------------------------------------------------------- files that are none


def test_every_file_that_is_no_checkpoint_is_refused_for_its_own_reason(tmp_path: Path) -> None:
    torch.save(other_state(), tmp_path / "whole.pth")
    torch.save(other_state(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(other_state(), tmp_path / "whole.safetensors")
    files: dict[str, tuple[bytes, str]] = {
        "empty.pth": (b"", "empty"),
        "empty.safetensors": (b"", "empty"),
        "text.pth": (b"these are my weights\n" * 9, "text file"),
        "page.pth": (b"<!DOCTYPE html><html>", "text file"),
        "pointer.pth": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        "noise.pth": (bytes(np.random.default_rng(0).integers(0, 256, 999, np.uint8)), "something else"),
        "cut.pth": ((tmp_path / "whole.pth").read_bytes()[:-600], "cut short"),
        "half.pth": ((tmp_path / "whole.pth").read_bytes()[:1500], "cut short"),
        "cut-old.pth": ((tmp_path / "old.pth").read_bytes()[:-9], "cut short"),
        "cut.safetensors": ((tmp_path / "whole.safetensors").read_bytes()[:-9], "header or length"),
        "header.safetensors": (b"\xff" * 8 + b"{}" * 40, "header or length"),
        "text.safetensors": (b"hello, world, this is text", "header or length"),
        "pickle.safetensors": ((tmp_path / "whole.pth").read_bytes(), "header or length"),
    }
    for name, (content, reason) in files.items():
        (tmp_path / name).write_bytes(content)
        assert reason in refusal(tmp_path / name), name


def test_places_that_are_no_file(tmp_path: Path) -> None:
    assert "directory" in refusal(tmp_path)
    assert "no such file" in refusal(tmp_path / "missing.pth")
    (tmp_path / "dangling.pth").symlink_to(tmp_path / "nowhere")
    assert "no such file" in refusal(tmp_path / "dangling.pth")
    os.mkfifo(tmp_path / "pipe.pth")
    assert "pipe" in refusal(tmp_path / "pipe.pth")


def test_archives_of_other_kinds(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.pth", "w") as archive:
        archive.writestr("photos/a.txt", "x")
    assert "zip archive" in refusal(tmp_path / "photos.pth")
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    assert "zip archive" in refusal(tmp_path / "arrays.npz")
    with tarfile.open(tmp_path / "old.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("storages"), io.BytesIO(b""))
    assert "tar archive" in refusal(tmp_path / "old.tar")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "an empty mapping"),
        ({"epoch": 3, "lr": 0.1}, "'epoch', 'lr'"),
        ({"generator": {"a": torch.ones(1)}, "critic": {"a": torch.ones(1)}}, "'generator', 'critic'"),
        ([torch.ones(2)], "a list"),
        (torch.ones(2), "a Tensor"),
        ({"loss": torch.ones(1), "optimizer": {"state": {}}}, "'loss', 'optimizer'"),
    ],
)
def test_files_without_one_state_dict_say_what_they_hold(tmp_path: Path, content: object, reason: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    message = refusal(tmp_path / "a.pth")
    assert "state dict" in message
    assert reason in message


def test_damage_anywhere_raises_nothing_but_the_clear_error(tmp_path: Path) -> None:
    torch.save(other_state(), tmp_path / "a.pth")
    torch.save(other_state(), tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    save_file(other_state(), tmp_path / "c.safetensors")
    generator = np.random.default_rng(1)
    refused = 0
    for name in ("a.pth", "b.pth", "c.safetensors"):
        content = (tmp_path / name).read_bytes()
        for _ in range(60):
            damaged = bytearray(content)
            for place in generator.integers(0, len(content), 3):
                damaged[place] = generator.integers(0, 256)
            (tmp_path / f"x-{name}").write_bytes(damaged)
            try:
                load_checkpoint(tmp_path / f"x-{name}")
            except ModelFileError:
                refused += 1
    assert refused > 20


# ---------------------------------------------------------------------- what is done with it


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "net.", "module._orig_mod.", "_orig_mod.module."]
)
def test_prefixes_of_wrappers_are_taken_off_where_that_fits(prefix: str) -> None:
    module = network()
    taken = apply_checkpoint(module, {prefix + key: value for key, value in other_state().items()}, "net")
    assert taken == prefix
    assert holds(module, other_state())


def test_a_prefix_that_is_the_networks_own_stays() -> None:
    module = nn.ModuleDict({"model": network()})
    state = {"model." + key: value for key, value in other_state().items()}
    assert apply_checkpoint(module, state, "net") == ""
    assert holds(module, state)


def test_all_that_is_wrong_is_listed_and_nothing_is_loaded() -> None:
    module = network()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    state = other_state(classes=5)
    del state["conv.bias"]
    state |= {f"extra{index}": torch.ones(1) for index in range(9)}
    with pytest.raises(ModelFileError) as caught:
        apply_checkpoint(module, state, "my-net")
    message = str(caught.value)
    assert "my-net" in message
    assert "1 missing (conv.bias)" in message
    assert "9 unexpected (extra0, extra1, extra2, extra3, ...)" in message
    assert "2 of another shape (fc.weight (5, 16) instead of (3, 16), fc.bias" in message
    assert holds(module, before)


def test_one_missing_entry_is_enough_to_load_nothing() -> None:
    module = network()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    state = other_state()
    del state["conv.bias"]
    with pytest.raises(ModelFileError, match=r"1 missing \(conv.bias\)"):
        apply_checkpoint(module, state, "net")
    assert holds(module, before)


def test_whole_numbers_are_no_weights() -> None:
    module = network()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    state = other_state() | {"fc.weight": torch.ones(3, 16, dtype=torch.int8)}
    with pytest.raises(ModelFileError, match=r"fc.weight torch.int8 instead of torch.float32"):
        apply_checkpoint(module, state, "net")
    assert holds(module, before)


def test_half_precision_weights_are_converted() -> None:
    module = network()
    halves = {key: value.half() if value.is_floating_point() else value for key, value in other_state().items()}
    apply_checkpoint(module, halves, "net")
    assert holds(module, other_state())


def test_files_from_before_batch_counters_load() -> None:
    module = network()
    old = {key: value for key, value in other_state().items() if not key.endswith("num_batches_tracked")}
    apply_checkpoint(module, old, "net")
    assert holds(module, other_state() | {"norm.num_batches_tracked": torch.tensor(0)})


def test_names_that_the_network_itself_translates_are_loaded() -> None:
    # torchvision's vision transformers read the names of their first release.
    module = torchvision.models.VisionTransformer(8, 4, 1, 1, 8, 8, num_classes=2)
    state = {key: torch.full_like(value, 2) for key, value in module.state_dict().items()}
    old = {key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): state[key] for key in state}
    assert old.keys() != state.keys()
    apply_checkpoint(module, old, "vit")
    assert holds(module, state)


def test_layout_versions_follow_the_names() -> None:
    # Without its version, MNASNet takes today's file for one of its first release and rebuilds its stem.
    module = torchvision.models.mnasnet0_5(num_classes=2)
    state = {key: value.clone() for key, value in torchvision.models.mnasnet0_5(num_classes=2).state_dict().items()}
    apply_checkpoint(module, {"module." + key: value for key, value in state.items()}, "mnasnet")
    assert holds(module, state)


def test_class_count_is_read_off_the_last_layer_only() -> None:
    assert class_count(network(3), other_state(5)) == 5
    assert class_count(network(3), {"module." + key: value for key, value in other_state(7).items()}) == 7
    assert class_count(network(3), other_state(3)) is None
    wider = other_state(5) | {"conv.weight": torch.ones(4, 3, 3, 3)}
    assert class_count(network(3), wider) is None
    assert class_count(network(3), {"other": torch.ones(5)}) is None


def test_fit_names_leaves_names_that_fit_nothing() -> None:
    assert fit_names(network(), {"what": torch.ones(1)})[1] == ""
