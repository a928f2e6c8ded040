"""Proves what a network's key tells apart, what is kept on disk, and that converted networks answer the same."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seewhy.models.runtimes import (
    RUNTIMES,
    FlatNetwork,
    Job,
    RuntimeFailed,
    cache,
    converted,
    discard,
    graph_of,
    installed,
    is_kept,
)

NEEDS = {"openvino": ("openvino",), "onnxruntime": ("onnxruntime", "onnx", "onnxscript")}


class Net(nn.Module):
    """Two layers, and what a forward pass does with them as a function; built anew it has the same weights."""

    def __init__(self, run: Callable[[Any, Tensor], Any], **parts: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.register_buffer("count", torch.zeros(3))
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = run

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def usual(net: Any, x: Tensor) -> Tensor:
    return net.second(F.relu(net.first(x)))


def job(run: Callable[[Any, Tensor], Any] = usual, rows: int = 4, width: int = 6, **options: Any) -> Job:
    net = options.get("net") or Net(run)
    dtype = next(net.parameters()).dtype
    return Job.of(net.eval(), torch.randn(rows, width, dtype=dtype), options.get("output"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    return tmp_path / "networks"


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir()) if folder.is_dir() else []


# ---------------------------------------------------------------------------------------------------- keys


def test_the_same_network_built_twice_has_the_same_key_whatever_the_rows_hold() -> None:
    assert job().key == job().key  # other random rows, other objects
    assert graph_of(Net(usual), (torch.ones(1, 6),)) == graph_of(Net(usual), (torch.zeros(1, 6),))


def sums(net: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    return net.first(x), net.second(x)


HELD = (torch.arange(6.0), torch.arange(6.0).flip(0))
OTHER: dict[str, tuple[Callable[[Any, Tensor], Any], Callable[[Any, Tensor], Any]]] = {
    "activation": (usual, lambda net, x: net.second(F.gelu(net.first(x)))),
    "slope": (
        lambda net, x: net.second(F.leaky_relu(net.first(x), 0.1)),
        lambda net, x: net.second(F.leaky_relu(net.first(x), 0.2)),
    ),
    "order": (
        lambda net, x: net.second((net.first(x) + 1).relu()),
        lambda net, x: net.second(net.first(x).relu() + 1),
    ),
    "skip": (
        lambda net, x: (a := net.first(x)) + net.second(a.relu()) + a * 0,
        lambda net, x: (a := net.first(x)) * 0 + net.second(a.relu()) + x,
    ),
    "which of two results is read": (
        lambda net, x: (lambda a, b: (a.relu() + a, b)[0])(net.first(x), net.second(x)),
        lambda net, x: (lambda a, b: (a.relu() + b, b)[0])(net.first(x), net.second(x)),
    ),
    "which of two results is the answer": (lambda net, x: sums(net, x)[0], lambda net, x: sums(net, x)[1]),
    "factor": (lambda net, x: usual(net, x) * 2.0, lambda net, x: usual(net, x) * 2.5),
    "constant made in forward": (
        lambda net, x: usual(net, x) + torch.tensor([1.0, 2, 3, 4, 5, 6]),
        lambda net, x: usual(net, x) + torch.tensor([1.0, 2, 3, 4, 5, 7]),
    ),
    "constant held by the code": (
        lambda net, x: usual(net, x) + HELD[0],
        lambda net, x: usual(net, x) + HELD[1],
    ),
}


@pytest.mark.parametrize("name", OTHER)
def test_another_computation_has_another_key(name: str) -> None:
    one, other = OTHER[name]
    assert job(one).key != job(other).key
    assert job(one).key == job(one).key
    assert job(other).key == job(other).key


def test_other_weights_dtypes_shapes_rows_and_outputs_have_other_keys() -> None:
    edited, moved, double = Net(usual), Net(usual), Net(usual).double()
    edited.first.weight.data[0, 0] += 1e-3
    moved.count += 1
    wide = Net(lambda net, x: usual(net, x[:, :6]))
    both: Any = Net(lambda net, x: dict(zip("ab", sums(net, x), strict=True)))
    found = [job(), job(rows=5), job(net=edited), job(net=moved), job(net=double)]
    found += [job(net=wide, width=7), job(net=wide, width=8)]
    found += [job(net=both, output="a"), job(net=both, output="b")]
    assert len({item.key for item in found}) == len(found)


def test_a_version_and_a_kind_of_runtime_are_part_of_the_name_on_disk() -> None:
    versions = {"1": lambda: "1", "2": lambda: "2"}
    kinds = [replace(kind, version=version) for kind in RUNTIMES.values() for version in versions.values()]
    assert len({job().key_on(kind) for kind in kinds}) == 6


# ------------------------------------------------------------------------------------------------ refusals


def counts(net: Any, x: Tensor) -> Tensor:
    net.count += 1
    return usual(net, x)


def counts_through_a_view(net: Any, x: Tensor) -> Tensor:
    net.count[0].add_(1)
    return usual(net, x)


REFUSED: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "branch": (lambda net, x: usual(net, x) if x.mean() > 0 else usual(net, -x), "values"),
    "item": (lambda net, x: usual(net, x) * x.mean().item(), "values"),
    "equal": (lambda net, x: usual(net, x) if torch.equal(x, x) else x, "values"),
    "dropout": (lambda net, x: F.dropout(usual(net, x), 0.5, training=True), "random"),
    "noise": (lambda net, x: usual(net, x) + torch.randn(6), "random"),
    "attention with dropout": (lambda net, x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.2), "random"),
    "counter": (counts, "buffers"),
    "counter through a view": (counts_through_a_view, "buffers"),
    "out=": (lambda net, x: usual(net, x) + torch.add(net.count, 1, out=net.count)[0], "buffers"),
    "nonzero": (lambda net, x: usual(net, x) + x.nonzero().sum(), "shapes"),
    "mask": (lambda net, x: usual(net, x) + x[x > 0].sum(), "shapes"),
    "numpy": (lambda net, x: usual(net, x) * torch.from_numpy(x.numpy()).mean(), "outside torch"),
    "tolist": (lambda net, x: usual(net, x) * sum(x[0].tolist()), "outside torch"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_network_that_is_no_fixed_list_of_operations_is_refused(name: str) -> None:
    run, why = REFUSED[name]
    with pytest.raises(RuntimeFailed, match=why):
        job(run)


ALLOWED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "attention": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (3, 8)),
    "functional attention": (lambda: Net(lambda net, x: F.scaled_dot_product_attention(x, x, x)), (3, 6)),
    "index by number": (lambda: Net(lambda net, x: net.first.weight[torch.tensor([2, 0])].sum() + usual(net, x)), (6,)),
    "dropout at rest": (lambda: nn.Sequential(nn.Linear(6, 6), nn.Dropout(), nn.RReLU()), (6,)),
    "recurrent": (lambda: Net(lambda net, x: net.cell(x)[0], cell=nn.LSTM(6, 5, batch_first=True)), (4, 6)),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_a_network_that_only_looks_so_is_not(name: str) -> None:
    build, shape = ALLOWED[name]
    torch.manual_seed(3)
    net, x = build().eval(), torch.randn(4, *shape)
    made = Job.of(net, x, lambda raw: raw.flatten(1))
    if not installed(RUNTIMES["openvino"]):
        pytest.skip("needs OpenVINO")
    found = converted(made, RUNTIMES["openvino"]).scores(x * 2)
    with torch.no_grad():
        torch.testing.assert_close(found, net(x * 2).flatten(1), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------------------------------- conversion


@pytest.mark.parametrize("name", NEEDS)
def test_a_converted_network_answers_the_same_for_any_number_of_rows(name: str, folder: Path) -> None:
    for package in NEEDS[name]:
        pytest.importorskip(package)
    kind, torch_says = RUNTIMES[name], Net(usual).eval()
    first = converted(job(), kind)
    again = converted(job(), kind)
    assert (first.kept, again.kept) == (False, True)
    assert len(names(folder)) == 1
    for rows in (1, 3, 4):
        x = torch.randn(rows, 6)
        with torch.no_grad():
            expected = torch_says(x)
        for runtime in (first, again):
            torch.testing.assert_close(runtime.scores(x), expected, rtol=1e-5, atol=1e-6)
    discard(job(), kind)
    assert not is_kept(job(), kind)
    assert names(folder) == []


@pytest.mark.slow
def test_torch_compile_answers_the_same() -> None:
    if not any(os.access(Path(place) / name, os.X_OK) for place in os.get_exec_path() for name in ("g++", "clang++")):
        pytest.skip("needs a C++ compiler")
    runtime = converted(job(), RUNTIMES["torch.compile"])
    x = torch.randn(3, 6)
    with torch.no_grad():
        torch.testing.assert_close(runtime.scores(x), Net(usual)(x), rtol=1e-5, atol=1e-6)


def test_nested_inputs_are_put_together_again_with_their_constants() -> None:
    def run(a: Tensor, b: dict[str, Any]) -> Tensor:
        return a * b["factor"] + b["parts"][1] - b["parts"][0] if b["flag"] else a

    class Nested(nn.Module):
        forward = staticmethod(run)

    a, c, d = torch.randn(3, 2), torch.randn(3, 2), torch.randn(3, 2)
    inputs = {"a": a, "b": {"factor": torch.tensor(3.0), "flag": True, "parts": [c, d]}}
    flat = FlatNetwork(Nested(), inputs, None)
    assert torch.equal(flat(a, torch.tensor(2.0), c, d), a * 2 + d - c)
    assert flat.plain


def test_inputs_with_other_constants_are_not_taken() -> None:
    class Flagged(nn.Module):
        def forward(self, x: Tensor, flag: bool) -> Tensor:
            return x if flag else -x

    kind = replace(RUNTIMES["torch.compile"], convert=lambda flat, inputs, folder: flat)
    runtime = converted(Job.of(Flagged().eval(), {"x": torch.ones(4, 2), "flag": True}, None), kind)
    assert torch.equal(runtime.scores({"x": torch.ones(2, 2), "flag": True}), torch.ones(2, 2))
    with pytest.raises(RuntimeFailed, match="constants"):
        runtime.scores({"x": torch.ones(2, 2), "flag": False})


def test_a_broken_package_is_a_reason_and_no_error() -> None:
    def broken() -> str:
        raise ImportError("libgomp.so.1: no such file")

    kind = replace(RUNTIMES["openvino"], version=broken)
    for ask in (is_kept, converted):
        with pytest.raises(RuntimeFailed, match="libgomp"):
            ask(job(), kind)


def test_openvino_converts_without_telling_its_makers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    telemetry = pytest.importorskip("openvino_telemetry")
    told: list[Any] = []
    monkeypatch.setattr(telemetry.Telemetry, "init", lambda *given, **named: told.append(given))
    monkeypatch.setattr(telemetry.Telemetry, "send_event", lambda *given, **named: told.append(given))
    monkeypatch.setattr(telemetry.Telemetry, "start_session", lambda *given, **named: told.append(given))
    assert not converted(job(), RUNTIMES["openvino"]).kept
    assert told == []


def test_conversions_in_several_threads_leave_stdout_alone(folder: Path) -> None:
    def convert(flat: Any, inputs: Any, place: Any) -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            time.sleep(next(seconds))  # the first out was not the last in
        return flat

    seconds = iter((0.05, 0.02, 0.08, 0.01))
    kind, found = replace(RUNTIMES["torch.compile"], convert=convert), sys.stdout
    threads = [threading.Thread(target=lambda: converted(job(), kind)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sys.stdout is found


# --------------------------------------------------------------------------------------------------- cache


def write(key: str, size: int = 10, stop: type[BaseException] | None = None) -> None:
    with cache.writing(key) as place:
        assert place is not None
        (place / "network").write_bytes(bytes(size))
        if stop is not None:
            raise stop


def test_the_folder_is_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.VARIABLE, "~/somewhere")
    assert cache.folder() == Path.home() / "somewhere" / "networks"
    for nothing in ("", "  ", "~nobody-of-this-name/x"):
        monkeypatch.setenv(cache.VARIABLE, nothing)
        assert cache.folder() is None
    monkeypatch.delenv(cache.VARIABLE)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache.folder() == Path("/elsewhere/seewhy/networks")


def test_what_is_written_is_found_and_what_fails_leaves_nothing(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write("a", stop=KeyboardInterrupt)
    assert names(folder) == []
    write("a")
    found = cache.find("a")
    assert found is not None
    assert [item.name for item in found.iterdir()] == ["network"]
    assert names(folder) == ["a"]
    cache.forget("a")
    assert cache.find("a") is None


def test_of_two_that_write_at_once_one_wins(folder: Path) -> None:
    with cache.writing("a") as first, cache.writing("a") as second:
        assert first is not None
        assert second is not None
        assert first != second
        (first / "network").write_text("first")
        (second / "network").write_text("second")
    assert names(folder) == ["a"]
    assert (folder / "a" / "network").read_text() == "second"  # the inner block ended first


def test_the_oldest_go_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LIMIT_BYTES", 250)
    for age, key in ((30, "a"), (20, "b")):
        write(key, 100)
        os.utime(folder / key, (1e9 - age, 1e9 - age))
    cache.find("a")  # used again: now the newer one
    write("c", 100)
    assert names(folder) == ["a", "c"]
    write("d", 1000)  # alone too large: the newest is kept all the same
    assert names(folder) == ["d"]


def test_what_a_killed_program_left_is_removed_and_what_another_writes_is_not(folder: Path) -> None:
    write("a")
    for name in (".new-left", ".new-busy"):
        (folder / name).mkdir()
        (folder / name / "half").write_bytes(bytes(10))
    os.utime(folder / ".new-left", (1e9, 1e9))
    write("b")
    assert names(folder) == [".new-busy", "a", "b"]


@pytest.mark.parametrize("where", ["", "file"])
def test_without_a_folder_nothing_is_kept(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(cache.VARIABLE, where and str(tmp_path / where))
    with cache.writing("a") as place:
        assert place is None
    assert cache.find("a") is None
    cache.forget("a")
    kind = replace(RUNTIMES["openvino"], version=lambda: "1", convert=lambda flat, inputs, folder: flat)
    assert not converted(job(), kind).kept
    assert not is_kept(job(), kind)
