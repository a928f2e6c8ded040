"""Proves that forward passes on another runtime give torch's results, and that whatever goes wrong there does not."""

from __future__ import annotations

import importlib
import math
import os
import random
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

import seewhy
from seewhy.core.errors import MissingExtraError, SettingError
from seewhy.engine import Options, options, runtimes
from seewhy.methods import FeatureAblation, Lime, Occlusion, Rise
from seewhy.models import runtimes as models
from seewhy.models.runtimes import RUNTIMES, Kind, cache, graph
from seewhy.models.runtimes.tracing import traced
from seewhy.targets import Class, Function
from seewhy.testing.fingerprint import changes, fingerprint, random_state

PACKAGES = {"openvino": ("openvino",), "onnxruntime": ("onnxruntime", "onnx", "onnxscript")}
SHOWN = {"openvino": "OpenVINO ", "onnxruntime": "onnxruntime ", "torch.compile": "torch.compile"}
PROVING = 1 + runtimes.TIMINGS
"""Calls of a runtime before it is used: the proof's, and those that are timed."""
OCCLUSION = Occlusion(window=4, stride=3)  # 25 windows and the picture: no multiple of 8 nor of 3

# ------------------------------------------------------------------------------------------------ helpers


class Net(nn.Module):
    """A small convolutional network; built anew it has the same weights. `run` is what becomes of its features."""

    def __init__(self, run: Callable[[Any, Tensor], Any] | None = None, seed: int = 1) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.norm = nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6)
        self.second, self.head = nn.Conv2d(6, 8, 3), nn.Linear(8, 5)
        self.register_buffer("count", torch.zeros(1))
        self.act: Callable[[Tensor], Tensor] = F.relu
        self.run = run

    def scores(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.first(x)))
        return self.head(self.act(self.second(x)).mean((2, 3))) * 20

    def forward(self, x: Tensor) -> Any:
        return self.scores(x) if self.run is None else self.run(self, x)


def picture(rows: int = 1) -> Tensor:
    return torch.rand(rows, 3, 16, 16, generator=torch.Generator().manual_seed(7))


def explained(net: Any, x: Any = None, method: Any = OCCLUSION, target: Any = 1, **settings: Any) -> Any:
    x = picture() if x is None else x
    return seewhy.attribute(net, x, method, target, seed=3, options=Options(**settings))


def same(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """Asserts equal scores and maps, which are made of scores, as shares of the largest."""
    scale = 0.0
    for one, other in ((found.scores, expected.scores), (found.values, expected.values)):
        scale = max(scale, float(other.abs().max()))
        assert scale > 0
        assert float((one - other).abs().max()) <= tolerance * scale


def about(found: Any) -> str:
    return "\n".join(found.diagnostics["notes"])


@contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass
class Stand:
    """A runtime made of torch itself: the trace, as a converter reads it, kept on disk as OpenVINO's is.

    change: what becomes of each answer, given the number of the call.
    """

    change: Callable[[int, Tensor], Tensor] = lambda _, answer: answer
    converted: int = 0
    calls: list[int] = field(default_factory=list)

    def kind(self, **other: Any) -> Kind:
        own = {"packages": (), "version": lambda: "of torch", "convert": self.convert, "load": self.load}
        return replace(RUNTIMES["openvino"], **{**own, **other})

    def convert(self, flat: Any, inputs: tuple[Tensor, ...], folder: Path | None) -> Any:
        self.converted += 1
        trace = traced(flat, inputs)
        if folder is None:
            return self.ready(trace)
        with quiet():
            torch.jit.save(trace, str(folder / "trace"))
        return self.load(folder)

    def load(self, folder: Path) -> Any:
        with quiet():
            return self.ready(torch.jit.load(str(folder / "trace")))

    def ready(self, trace: Any) -> Any:
        def call(*tensors: Tensor) -> Tensor:
            self.calls.append(len(tensors[0]))
            with torch.no_grad():
                return self.change(len(self.calls), trace(*(leaf.clone() for leaf in tensors)))

        return call


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    return tmp_path / "networks"


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stand]:
    """Gives a function that puts a stand-in, the only runtime then, in the place of OpenVINO."""

    def place(change: Any = None, **other: Any) -> Stand:
        stand = Stand() if change is None else Stand(change)
        kinds = {"openvino": stand.kind(**other)}
        monkeypatch.setattr(runtimes, "RUNTIMES", kinds)
        monkeypatch.setattr(options, "RUNTIMES", kinds)
        return stand

    return place


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a try of a runtime cost nothing beside its conversion."""
    monkeypatch.setattr(runtimes, "LOADING_SECONDS", 0.0)
    monkeypatch.setattr(runtimes, "PROOFS", 0)


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir()) if folder.is_dir() else []


def needs(name: str) -> None:
    for package in PACKAGES.get(name, ()):
        pytest.importorskip(package)


# ------------------------------------------------------------------------------------------- equal results


@pytest.mark.parametrize("name", PACKAGES)
def test_perturbation_methods_give_what_they_give_on_torch(name: str) -> None:
    needs(name)
    chosen = [Rise(masks=40, cells=4), OCCLUSION, FeatureAblation(segments=30)]
    expected = explained(Net().eval(), method=chosen, backend="torch")
    found = explained(Net().eval(), method=chosen, backend=name)
    for method, one in found.items():
        same(one, expected[method])
        order = spearmanr(one.values.flatten(), expected[method].values.flatten()).statistic
        assert order > 0.9999, method
        assert one.diagnostics["backend"].startswith(SHOWN[name])
        assert expected[method].diagnostics["backend"] != one.diagnostics["backend"]


@pytest.mark.slow
def test_torch_compile_gives_what_torch_gives() -> None:
    if not any(os.access(Path(place) / name, os.X_OK) for place in os.get_exec_path() for name in ("g++", "clang++")):
        pytest.skip("needs a C++ compiler")
    net = Net().eval()
    before = fingerprint(net)
    found = explained(net, backend="torch.compile")
    assert found.diagnostics["backend"].endswith("torch.compile")
    same(found, explained(Net().eval(), backend="torch"))
    assert changes(before, fingerprint(net)) == []
    writes_to_its_input("torch.compile")


@pytest.mark.parametrize("size", [None, 1, 3])
@pytest.mark.parametrize("rows", [1, 2])
def test_any_batch_size_and_any_remainder(size: int | None, rows: int) -> None:
    needs("openvino")
    net, x = Net().eval(), picture(rows)
    found = explained(net, x, backend="openvino", batch_size=size)
    same(found, explained(Net().eval(), x, backend="torch", batch_size=size))
    assert found.diagnostics["backend"].startswith("OpenVINO ")


@pytest.mark.parametrize("size", [1, 3])
def test_a_fixed_batch_size_gives_the_same_bits_again(size: int, put: Callable[..., Stand]) -> None:
    stand = put(lambda _, answer: answer * (1 + 1e-5))  # what ran on torch and what did not is seen in every bit
    net = Net().eval()
    found = [explained(one, backend="openvino", batch_size=size) for one in (net, net, net, Net().eval())]
    assert set(stand.calls) == {size}
    for again in found[1:]:
        assert torch.equal(again.values, found[0].values)
        assert torch.equal(again.scores, found[0].scores)
    assert not torch.equal(found[0].values, explained(net, backend="torch", batch_size=size).values)


@pytest.mark.usefixtures("free")
def test_a_clock_does_not_choose_the_bits_of_a_fixed_batch_size(
    put: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = put(seconds=0.0, saves=0.9)
    explained(Net().eval(), method=Rise(masks=64), batch_size=4)
    assert stand.converted == 0


def test_several_pictures_and_methods_share_one_conversion(put: Callable[..., Stand], folder: Path) -> None:
    stand = put()
    found = explained(Net().eval(), picture(4), [OCCLUSION, Rise(masks=16)], backend="openvino")
    assert stand.converted == 1
    assert len(names(folder)) == 1
    same(found["occlusion"], explained(Net().eval(), picture(4), backend="torch"))


# ------------------------------------------------------------------------------------------------ refusals


def hooked() -> nn.Module:
    net = Net()
    net.first.register_forward_hook(lambda _, __, out: out * 1.5)
    return net


def patched() -> nn.Module:
    net = Net()
    net.forward = lambda x: net.scores(x) * 2  # type: ignore[method-assign]
    return net


def counting(net: Any, x: Tensor) -> Tensor:
    net.count += 1
    return net.scores(x) * net.count


def by_numpy(net: Any, x: Tensor) -> Tensor:
    return net.scores(x) * torch.from_numpy(x.numpy().mean((1, 2, 3)))[:, None]


def branching(net: Any, x: Tensor) -> Tensor:
    return net.scores(x) if bool(x.mean() > 0) else -net.scores(x)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "control flow": (lambda: Net(branching), "values in its tensors"),
    "dropout": (lambda: Net(lambda net, x: F.dropout(net.scores(x), 0.5, training=True)), ""),
    "counter": (lambda: Net(counting), "its own buffers"),
    "hooks": (hooked, "hooks are registered"),
    "patched forward": (patched, "was replaced"),
    "float64": (lambda: Net().double(), "float64"),
    "rows influence each other": (lambda: Net(lambda net, x: net.scores(x) - net.scores(x).mean()), "each other"),
    "shapes by value": (lambda: Net(lambda net, x: net.scores(x) + (x > 0.5).nonzero().sum() * 0), "shapes"),
    "numpy": (lambda: Net(by_numpy), "outside torch"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_converted_stays_on_torch_and_every_result_says_why(
    name: str, put: Callable[..., Stand]
) -> None:
    build, why = REFUSED[name]
    stand, net = put(), build().eval()
    before = fingerprint(net)
    expected = explained(build().eval(), backend="torch")
    for _ in range(2):  # what was found out in an earlier call is said again
        found = explained(net, backend="openvino")
        same(found, expected)
        assert "torch" in found.diagnostics["backend"]
        assert re.search(f"forward passes stay on torch, not openvino: .*{why}", about(found))
    assert stand.calls == []
    assert changes(before, fingerprint(net)) == []


@pytest.mark.parametrize("size", [None, 1])
def test_the_proof_catches_what_no_operation_shows(
    size: int | None, put: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """The trace takes numbers from NumPy for constants: right for its own rows, so the proof's must be others."""
    monkeypatch.setattr(graph, "_LEAVES_TORCH", ())
    stand = put()
    found = explained(Net(by_numpy).eval(), backend="openvino", batch_size=size)
    assert stand.converted == 1
    assert "differ by" in about(found)
    assert names(folder) == []
    same(found, explained(Net(by_numpy).eval(), backend="torch", batch_size=size))


def test_gradients_are_torchs(put: Callable[..., Stand]) -> None:
    stand = put()
    net = Net().eval()
    explained(net, backend="openvino")
    called = len(stand.calls)
    found = explained(net, method=["saliency", "smoothgrad", "grad-cam"], backend="openvino")
    assert len(stand.calls) == called > 0
    assert all("torch" in one.diagnostics["backend"] for one in found.values())
    assert not any("stay on torch" in about(one) for one in found.values())


# --------------------------------------------------------------------------------------------------- cache


def test_an_equal_network_built_anew_reads_what_was_kept(put: Callable[..., Stand]) -> None:
    stand, said = put(), []
    expected = explained(Net().eval(), backend="torch")
    for _ in range(2):
        same(explained(Net().eval(), backend="openvino", on_event=lambda event: said.append(str(event))), expected)
    assert stand.converted == 1
    assert any("read from the cache" in text for text in said)
    explained(Net(seed=2).eval(), backend="openvino")
    assert stand.converted == 2


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def fill(file: Path) -> None:
    file.write_bytes(random.Random(0).randbytes(file.stat().st_size))


@pytest.mark.parametrize("damage", [truncate, fill, Path.unlink])
def test_a_damaged_file_is_converted_anew(
    damage: Callable[[Path], None], put: Callable[..., Stand], folder: Path
) -> None:
    stand = put()
    expected = explained(Net().eval(), backend="openvino")
    (file,) = folder.rglob("trace")
    damage(file)
    found = explained(Net().eval(), backend="openvino")
    assert stand.converted == 2
    assert torch.equal(found.values, expected.values)
    explained(Net().eval(), backend="openvino")
    assert stand.converted == 2


def test_another_networks_conversion_under_the_key_is_caught(put: Callable[..., Stand], folder: Path) -> None:
    stand = put()
    for seed in (1, 2):
        explained(Net(seed=seed).eval(), backend="openvino")
    one, other = (folder / name for name in names(folder))
    for source, goal in ((one, folder / "aside"), (other, one), (folder / "aside", other)):
        source.rename(goal)
    for seed in (1, 2):
        found = explained(Net(seed=seed).eval(), backend="openvino")
        same(found, explained(Net(seed=seed).eval(), backend="torch"))
        assert "differ by" in about(found)
    assert (names(folder), stand.converted) == ([], 2)
    assert "differ by" not in about(explained(Net().eval(), backend="openvino"))
    assert stand.converted == 3


@pytest.mark.parametrize("damage", [truncate, fill, Path.unlink])
def test_damaged_files_of_openvino_do_no_harm(damage: Callable[[Path], None], folder: Path) -> None:
    needs("openvino")
    expected = explained(Net().eval(), backend="torch")
    explained(Net().eval(), backend="openvino")
    for ending in ("xml", "bin"):
        (file,) = folder.rglob(f"*.{ending}")
        damage(file)
        same(explained(Net().eval(), backend="openvino"), expected)
        found = explained(Net().eval(), backend="openvino")  # where the proof had to catch it, made anew by now
        assert found.diagnostics["backend"].startswith("OpenVINO ")
        same(found, expected)


@pytest.mark.parametrize("where", ["", "a file"])
def test_without_a_folder_to_write_to_it_works_and_keeps_nothing(
    where: str, put: Callable[..., Stand], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_text("no folder")
    monkeypatch.setenv(cache.VARIABLE, where and str(tmp_path / where))
    stand = put()
    found = [explained(Net().eval(), backend="openvino") for _ in range(2)]
    assert stand.converted == 2
    assert [item.name for item in tmp_path.iterdir()] == ["a file"]
    same(found[1], explained(Net().eval(), backend="torch"))


# ------------------------------------------------------------------------------------------------ failures


def test_a_conversion_that_fails_is_a_note(put: Callable[..., Stand], folder: Path) -> None:
    def fail(flat: nn.Module, inputs: Any, place: Path | None) -> Any:
        for part in flat.modules():  # as converters do
            part.training, part.forward = True, None  # type: ignore[assignment]
        for weights in flat.parameters():
            weights.data.zero_()
        torch.manual_seed(99)
        raise NotImplementedError("no such operation\nand a long stack")

    put(convert=fail)
    net, x = Net().eval(), picture()
    net.second.train()
    net.head.weight.requires_grad_(False)
    before, drawn, kept = fingerprint(net), random_state(), x.clone()
    found = explained(net, x, backend="openvino")
    assert changes({**before, **drawn}, {**fingerprint(net), **random_state()}) == []
    assert torch.equal(x, kept)
    assert "not openvino: NotImplementedError: no such operation" in about(found)
    assert "long stack" not in about(found)
    assert names(folder) == []
    same(found, explained(Net().eval(), backend="torch"))


@pytest.mark.parametrize("name", PACKAGES)
def test_the_users_network_and_torch_are_left_as_they_were(name: str) -> None:
    needs(name)
    net, x = Net(), picture()
    net.norm.eval()
    net.head.weight.requires_grad_(False)
    net(x).sum().backward()
    before = {**fingerprint(net), **random_state()}
    with torch.no_grad():
        found = explained(net, x, backend=name)
    assert found.diagnostics["backend"].startswith(SHOWN[name])
    assert changes(before, {**fingerprint(net), **random_state()}) == []


def test_a_runtime_that_fails_in_the_middle_is_given_up(put: Callable[..., Stand]) -> None:
    def fail(number: int, answer: Tensor) -> Tensor:
        if number > PROVING + 2:
            raise RuntimeError("out of luck")
        return answer

    stand, net = put(fail), Net().eval()
    found = explained(net, picture(2), backend="openvino")
    assert len(stand.calls) == PROVING + 3
    assert "was given up: RuntimeError: out of luck" in about(found)
    same(found, explained(Net().eval(), picture(2), backend="torch"))
    again = explained(net, picture(2), backend="openvino")
    assert len(stand.calls) == PROVING + 3  # not tried again for the same weights
    assert "stay on torch" in about(again)
    same(again, found)


def test_a_runtime_without_finite_scores_is_given_up(put: Callable[..., Stand]) -> None:
    stand = put(lambda number, answer: answer * (torch.nan if number == PROVING + 1 else 1))
    found = explained(Net().eval(), backend="openvino")
    assert len(stand.calls) == PROVING + 1
    same(found, explained(Net().eval(), backend="torch"))
    assert "was given up: scores on" in about(found)


@pytest.mark.parametrize("size", [None, 1])
def test_an_answer_that_differs_is_not_used(size: int | None, put: Callable[..., Stand], folder: Path) -> None:
    stand = put(lambda _, answer: answer + 1e-3 * answer.abs().max())
    found = explained(Net().eval(), backend="openvino", batch_size=size)
    assert 1 <= len(stand.calls) <= PROVING
    assert "scores differ by 1.0e-03" in about(found)
    assert names(folder) == []
    assert torch.equal(found.values, explained(Net().eval(), backend="torch", batch_size=size).values)


def test_a_target_that_fails_on_one_row_fails_as_on_torch(put: Callable[..., Stand]) -> None:
    put()

    def target(row: Tensor) -> Tensor:
        raise ZeroDivisionError("the user's own fault")

    for backend in ("torch", "openvino"):
        with pytest.raises(Exception, match="own fault"):
            explained(Net().eval(), target=Function(target), backend=backend)


# ------------------------------------------------------------------------------- a network that was changed


def test_weights_that_changed_in_place_are_seen(put: Callable[..., Stand]) -> None:
    stand, net = put(), Net().eval()
    results = [explained(net, backend="openvino")]
    changed: list[Callable[[], object]] = [
        lambda: net.head.weight.data.mul_(2),
        lambda: net.norm.running_mean.fill_(0.5),
        lambda: net.first.weight.data.numpy().__setitem__(0, 0.3),
    ]
    for number, change in enumerate(changed):
        change()
        results.append(explained(net, backend="openvino"))
        same(results[-1], explained(net, backend="torch"))
        assert not torch.allclose(results[-1].values, results[-2].values, rtol=1e-3)
        assert stand.converted == number + 2


def test_other_operations_with_the_same_weights_are_seen(put: Callable[..., Stand]) -> None:
    stand, net = put(), Net().eval()
    explained(net, backend="openvino")
    net.act = F.gelu
    for _ in range(2):
        same(explained(net, backend="openvino"), explained(net, backend="torch", prepared="never"))
    assert stand.converted == 2
    net.forward = lambda x: net.scores(x) * 3  # type: ignore[method-assign]
    found = explained(net, backend="openvino")
    assert "was replaced" in about(found)
    same(found, explained(net, backend="torch", prepared="never"))


def test_fifty_runs_leave_no_trace(put: Callable[..., Stand], folder: Path) -> None:
    stand, net = put(), Net().eval()
    method = Occlusion(window=8, stride=8)
    explained(net, method=method, backend="openvino")
    before, kept, calls = fingerprint(net), len(seewhy.wrap(net).memo.runtimes), len(stand.calls)
    for _ in range(50):
        explained(net, method=method, backend="openvino")
    assert changes(before, fingerprint(net)) == []
    assert (stand.converted, len(names(folder)), len(seewhy.wrap(net).memo.runtimes)) == (1, 1, kept)
    assert len(stand.calls) >= calls + 50


# ------------------------------------------------------------------------------------- inputs and outputs


def writes_to_its_input(name: str) -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        return net.scores(x.mul_(0.5).add_(0.1))

    x, method = picture(), Occlusion(window=8, stride=8)
    found = explained(Net(run).eval(), x, method, backend=name, batch_size=1)
    assert torch.equal(x, picture())
    assert found.diagnostics["backend"].startswith(SHOWN[name])
    same(found, explained(Net(run).eval(), method=method, backend="torch"))


@pytest.mark.parametrize("name", PACKAGES)
def test_a_network_that_writes_to_its_input(name: str) -> None:
    needs(name)
    writes_to_its_input(name)


class Two(nn.Module):
    """Reads a picture and numbers beside it; `flag` is a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.beside = Net(), nn.Linear(4, 5)

    def forward(self, image: Tensor, numbers: Tensor, flag: bool = True) -> Tensor:
        scores = self.net(image) * torch.sigmoid(self.beside(numbers))
        return scores if flag else scores.flip(1) * 2


@pytest.mark.parametrize("name", PACKAGES)
def test_several_inputs(name: str) -> None:
    needs(name)
    image, numbers = picture(), torch.rand(1, 4)
    for x in ((image, numbers), {"numbers": numbers, "image": image}):
        found = explained(Two().eval(), x, Rise(masks=24), backend=name)
        expected = explained(Two().eval(), x, Rise(masks=24), backend="torch")
        assert found.diagnostics["backend"].startswith(SHOWN[name])
        for one, other in zip(leaves(found.values), leaves(expected.values), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def leaves(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    return list(values.values() if isinstance(values, dict) else values)


def test_a_constant_beside_the_inputs_is_read_every_time(put: Callable[..., Stand]) -> None:
    put()
    net, image, numbers = Two().eval(), picture(), torch.rand(1, 4)
    for flag in (True, False, True):
        x = {"image": image, "numbers": numbers, "flag": flag}
        found, expected = (explained(net, x, Rise(masks=24), backend=name) for name in ("openvino", "torch"))
        torch.testing.assert_close(leaves(found.values)[0], leaves(expected.values)[0], rtol=1e-4, atol=1e-5)


def named(net: Any, x: Tensor) -> dict[str, Tensor]:
    scores = net.scores(x)
    return {"logits": scores, "other": scores.flip(1) * 3}


def test_a_dict_of_outputs_and_a_selector_run_elsewhere() -> None:
    needs("openvino")
    expected = explained(Net().eval(), backend="torch")
    found = explained(Net(named).eval(), backend="openvino")
    same(found, expected)
    for output, factor in (("logits", 1), ("other", 3), (lambda raw: raw["other"] / 3, 1)):
        model = seewhy.wrap(Net(named).eval(), output=output)
        chosen = explained(model, target=1 if output == "logits" else 3, backend="openvino")
        assert chosen.diagnostics["backend"].startswith("OpenVINO ")
        torch.testing.assert_close(chosen.values, expected.values * factor, rtol=1e-4, atol=1e-5)


def test_two_views_of_one_network_do_not_share_their_outputs(put: Callable[..., Stand]) -> None:
    put()
    net = Net(named).eval()
    for output in ("logits", "other", "logits", lambda raw: raw["other"], lambda raw: raw["logits"]):
        model = seewhy.wrap(net, output=output)
        same(explained(model, backend="openvino"), explained(model, backend="torch"))


def test_a_function_of_the_scores_runs_elsewhere_and_one_of_the_whole_answer_does_not() -> None:
    needs("openvino")
    whole = Function(lambda row: row["logits"][1] - row["other"][2])
    for net, target, elsewhere in (
        (Net().eval(), Function(lambda row: row[1] - row[2]), True),
        (Net(named).eval(), whole, False),
        (Net(named).eval(), Class(1), True),
    ):
        found = explained(net, target=target, backend="openvino")
        assert found.diagnostics["backend"].startswith("OpenVINO ") == elsewhere
        assert ("more than the scores" in about(found)) != elsewhere
        same(found, explained(net, target=target, backend="torch"))
    net = Net(named).eval()  # what one target may not use does not spoil it for the next
    backends = [explained(net, target=one, backend="openvino").diagnostics["backend"] for one in (whole, 1, whole)]
    assert [name.startswith("OpenVINO ") for name in backends] == [False, True, False]


# ------------------------------------------------------------------------------------------------ decision


def test_a_tiny_network_stays_on_torch_and_writes_nothing(folder: Path) -> None:
    found = explained(Net().eval(), method=Rise(masks=64))
    assert "torch" in found.diagnostics["backend"]
    assert about(found) == ""
    assert names(folder) == []


@pytest.mark.parametrize("faster", [True, False])
@pytest.mark.usefixtures("free")
def test_where_a_try_costs_nothing_the_faster_one_is_taken(
    faster: bool, put: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = put(seconds=0.0, saves=0.9)
    monkeypatch.setattr(runtimes._Work, "row_seconds", lambda _: 1e3 if faster else 1e-12)
    found = explained(Net().eval(), method=Rise(masks=64), prepared="never")
    assert stand.converted == 1
    assert (found.diagnostics["backend"] != "torch") == faster
    assert (len(stand.calls) > PROVING) == faster
    same(found, explained(Net().eval(), method=Rise(masks=64), backend="torch"))


@pytest.mark.parametrize("samples", [64, 67])
@pytest.mark.usefixtures("free")
def test_a_job_that_runs_elsewhere_ends_there(
    samples: int, put: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = put(seconds=0.0, saves=0.9)
    monkeypatch.setattr(runtimes._Work, "row_seconds", lambda _: 1e3)
    network, method = Net().eval(), Lime(samples=samples, segments=4)
    explained(network, method=method, prepared="never")  # learns that rows do not depend on their company
    stand.calls.clear()
    found = explained(network, method=method, prepared="never")
    assert "torch" not in found.diagnostics["backend"]
    assert len(stand.calls) == math.ceil(samples / 8)


@pytest.mark.usefixtures("free")
def test_a_conversion_that_would_not_repay_itself_is_not_made(
    put: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = put(seconds=1e6, saves=0.9)
    explained(Net().eval(), method=Rise(masks=64))
    assert stand.converted == 0
    explained(Net().eval(), backend="openvino")  # by name, whatever it costs; kept from now on
    monkeypatch.setattr(runtimes._Work, "row_seconds", lambda _: 1e3)
    found = explained(Net().eval(), method=Rise(masks=64))
    assert found.diagnostics["backend"] != "torch"
    assert stand.converted == 1


def test_rows_that_would_not_fit_stay_on_torch(put: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch) -> None:
    stand = put()
    monkeypatch.setattr(runtimes, "available_bytes", lambda: 100_000)
    found = explained(Net().eval(), backend="openvino")
    assert stand.calls == []
    assert "8 rows do not fit into memory" in about(found)
    same(found, explained(Net().eval(), backend="torch"))


@pytest.mark.usefixtures("free")
def test_a_refused_network_is_looked_at_once(put: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch) -> None:
    stand = put(seconds=0.0, saves=0.9)
    kinds = {name: stand.kind(seconds=0.0, saves=0.5) for name in RUNTIMES}
    kinds = {name: replace(kind, name=name) for name, kind in kinds.items()}
    monkeypatch.setattr(runtimes, "RUNTIMES", kinds)
    made: list[int] = []
    of = models.Job.of
    monkeypatch.setattr(models.Job, "of", staticmethod(lambda *given: made.append(1) or of(*given)))
    found = explained(Net(branching).eval(), method=Rise(masks=64))
    assert len(made) == 1
    assert len([note for note in found.diagnostics["notes"] if "stay on torch" in note]) == 1


@pytest.mark.usefixtures("free")
def test_a_package_that_cannot_be_imported_does_not_stop_auto(
    put: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> str:
        raise MissingExtraError("libtbb.so.12: cannot open shared object file")

    stand = put()
    for seconds in (0.0, 1e6):
        kind = replace(stand.kind(), version=broken, seconds=seconds, saves=0.9)
        monkeypatch.setattr(runtimes, "RUNTIMES", {"openvino": kind})
        found = explained(Net().eval(), method=Rise(masks=64))
        assert "libtbb" in about(found)
        same(found, explained(Net().eval(), method=Rise(masks=64), backend="torch"))


# ------------------------------------------------------------------------------------------------- options


def test_a_backend_that_does_not_exist() -> None:
    with pytest.raises(SettingError, match=r"'openvino'.*'nonsense'"):
        Options(backend="nonsense")  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "extra"), [("openvino", "openvino"), ("onnxruntime", "onnx-runtime")])
def test_a_missing_package_names_its_extra(name: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> Any:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=rf"seewhy\[{extra}\]"):
        Options(backend=name)  # type: ignore[arg-type]
    Options()  # what was not asked for is not missed


def test_the_extras_that_are_named_exist() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    for extra in (kind.extra for kind in RUNTIMES.values() if kind.extra):
        assert f"\n{extra} = [" in text
