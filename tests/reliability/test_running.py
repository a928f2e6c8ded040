"""How rows are run must not show: batches, memory that runs out, neighbours that fail, sharing, cancelling."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seewhy import Options, targets
from seewhy.core.errors import CancelledError, NotFiniteError, OutOfMemoryError
from seewhy.core.queries import gradient, scores
from seewhy.core.rows import Case as EngineCase
from seewhy.engine import BackedOff, ChunkDone, Engine, FlowDone, Note, RoundStarted
from seewhy.study.attribute import run
from seewhy.study.cases import cases
from seewhy.targets import Class

from .cases import Case, photo
from .contract import ALL, HIDING, check_map, close, method, refusal, refused, seewhy, unchanged
from .networks import Plain, made, plain_oracle
from .oracle import input_map, twin_oracle

SOME = ("saliency", "integrated-gradients", "guided-backprop", "grad-cam")
EACH_ROW = "every row runs alone"


class Norm(Plain):
    """Batch-norm without running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(6, track_running_stats=False)

    def features(self, x: Tensor) -> Tensor:
        return self.act2(self.norm(self.conv2(self.first(x))))


class BatchMean(Plain):
    def features(self, x: Tensor) -> Tensor:
        h = super().features(x)
        return h - 0.5 * h.mean(0, keepdim=True) + h.mean((0, 2, 3), keepdim=True)


class Narrow(Plain):
    """Runs out of memory above `most` rows."""

    def __init__(self, most: int, how: type[BaseException] = torch.OutOfMemoryError) -> None:
        super().__init__()
        self.most, self.how = most, how

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            raise self.how("CUDA out of memory. Tried to allocate 20.00 GiB")
        return super().forward(x)


class Choosy(Plain):
    """Fails on a batch that holds a row whose first pixel is 1."""

    error = LookupError("this row")

    def forward(self, x: Tensor) -> Tensor:
        if bool((x[:, 0, 0, 0] == 1).any()):
            raise self.error
        return super().forward(x)


@pytest.mark.parametrize("name", [*SOME, "adaptive", "hires-cam"])
@pytest.mark.parametrize("cls", [Norm, BatchMean])
def test_rows_that_influence_each_other_run_alone(cls: Any, name: str) -> None:
    network, x = made(cls), photo(rows=4)
    x[1] *= 5
    settings = method(name, "act2" if cls is Norm else "conv2")
    with unchanged(network, x):
        several = seewhy.attribute(network, x, settings, target=2)
    assert any(EACH_ROW in note for note in several.diagnostics["notes"])
    for row in range(len(x)):
        alone = seewhy.attribute(network, x[row : row + 1], settings, target=2, options=Options(batch_size=1))
        close(several.values[row : row + 1], alone.values.double(), 1e-5)


def test_the_first_row_does_not_decide_alone() -> None:
    class FirstCounts(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + super().forward(x[:1]) * (torch.arange(len(x)) > 0)[:, None]

    network, x = made(FirstCounts), photo(rows=3)
    result = seewhy.attribute(network, x, "saliency", target=2)
    for row in range(3):
        close(result.values[row : row + 1], input_map("saliency", plain_oracle(network), x[row : row + 1]), 1e-4)


@pytest.mark.parametrize("how", [torch.OutOfMemoryError, MemoryError, RuntimeError])
@pytest.mark.parametrize("name", ALL)
def test_running_out_of_memory_loses_nothing(name: str, how: Any) -> None:
    network, x = made(Narrow, 3, how), photo(rows=8)
    events: list[Any] = []
    options = Options(batch_size=8, on_event=events.append, prepared="never")
    with unchanged(network, x):
        result = seewhy.attribute(network, x, method(name, "act2"), target=2, options=options)
    check_map(name, result, plain_oracle(network), x, Case(network, None, large=True))
    assert result.diagnostics["back_offs"] >= 1
    assert any(isinstance(event, BackedOff) and event.rows > 3 for event in events)
    again = seewhy.attribute(network, x, method(name, "act2"), target=2, options=options)
    assert again.diagnostics["back_offs"] == 0  # the size that failed is remembered


def test_one_row_that_does_not_fit() -> None:
    network, x = made(Narrow, 0), photo(rows=2)
    for name in SOME:
        with unchanged(network, x), refused(refusal(OutOfMemoryError, "One row", "smaller input", "autocast")):
            seewhy.attribute(network, x, method(name, "act2"), target=2)
    assert issubclass(OutOfMemoryError, MemoryError)


@pytest.mark.parametrize("batch", [1, 3, 7])
@pytest.mark.parametrize("name", ALL)
def test_batch_size_does_not_show(name: str, batch: int) -> None:
    network, x = made(Plain), photo(rows=4)
    settings = method(name, "act2")
    if name in ("smoothgrad", "smooth-grad-cam++"):
        settings = replace(settings, samples=10, noise=0.2)
    free = seewhy.attribute(network, x, settings, target=2, options=Options(prepared="never"))
    fixed = seewhy.attribute(network, x, settings, target=2, options=Options(batch_size=batch, prepared="never"))
    least = float(free.scores.abs().max()) if name in HIDING else 1e-30  # differences of scores
    close(fixed.values, free.values.double(), 1e-6 if name not in ("adaptive", "xgrad-cam") else 1e-5, least)


@pytest.mark.parametrize("size", [2, 5, 8])
def test_a_failing_row_fails_alone(size: int) -> None:
    network, x = made(Choosy), photo(rows=size)
    x[1, 0, 0, 0] = 1
    model = seewhy.wrap(network)
    rows = cases(model, x, 0)
    methods = {name: method(name, "act2") for name in ("saliency", "grad-cam", "guided-backprop")}
    with unchanged(network, x):
        outcomes = run(model, methods, [(row, Class(2)) for row in rows], Options(batch_size=8))
    for name in methods:
        for row in range(size):
            if row == 1:
                assert outcomes[name, row].error is Choosy.error
            else:
                result = outcomes[name, row].result()
                check_map(name, result, plain_oracle(network), x[row : row + 1], Case(network, None))


def test_one_bad_target_fails_alone() -> None:
    """A function that breaks, a class that is not there and a constant do not touch the row's other targets."""
    network, x = made(Plain), photo(rows=2)
    model = seewhy.wrap(network)
    bad = KeyError("my own mistake")

    def breaks(row: Tensor) -> Tensor:
        raise bad

    asked = {
        "good": Class(2),
        "breaks": targets.Function(breaks),
        "absent": Class(9),
        "constant": targets.Function(lambda row: torch.ones(())),
        "other": Class(0),
    }
    flows = [
        ((name, row), method("saliency").flow(case, target))
        for row, case in enumerate(cases(model, x, 0))
        for name, target in asked.items()
    ]
    with unchanged(network, x):
        outcomes = Engine(model).run(flows)
    for row in range(2):
        for name, index in (("good", 2), ("other", 0)):
            oracle = plain_oracle(network, score=lambda logits, index=index: logits[0, index])
            close(outcomes[name, row].result().values, input_map("saliency", oracle, x[row : row + 1]), 1e-4)
        assert outcomes["breaks", row].error is bad
        assert "between 0 and 4" in str(outcomes["absent", row].error)
        assert "No gradient path" in str(outcomes["constant", row].error)


def test_an_infinite_gradient_fails_only_who_asked_for_it() -> None:
    class Root(Plain):
        def first(self, x: Tensor) -> Tensor:
            return super().first(x.sqrt())  # infinite slope at 0

    network, x = made(Root), photo()
    x[0, :, 0, 0] = 0
    model = seewhy.wrap(network)
    (case,) = cases(model, x, 0)
    methods = {name: method(name, "act2") for name in ("saliency", "grad-cam")}
    outcomes = run(model, methods, [(case, Class(2))], None)
    assert isinstance(outcomes["saliency", 0].error, NotFiniteError)
    assert "gradient of the input" in str(outcomes["saliency", 0].error)
    oracle = plain_oracle(network, enter=lambda t: t.sqrt())
    check_map("grad-cam", outcomes["grad-cam", 0].result(), oracle, x, Case(network, None))


def test_five_targets_share_one_forward() -> None:
    network, x = made(Plain), photo()
    calls: list[int] = []
    network.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    backward: list[int] = []
    network.fc.register_full_backward_hook(lambda *_: backward.append(1))
    model = seewhy.wrap(network)
    (case,) = cases(model, x, 0)
    names = ("saliency", "input-x-gradient", "grad-cam", "layer-cam")
    flows = [((name, k), method(name, "act2").flow(case, Class(k))) for name in names for k in range(5)]
    with unchanged(network, x):
        outcomes = Engine(model).run(flows)
    assert calls == [1]
    assert len(backward) == 5
    for name in names:
        for k in range(5):
            oracle = plain_oracle(network, score=lambda logits, k=k: logits[0, k])
            check_map(name, outcomes[name, k].result(), oracle, x, Case(network, None))
            assert len(outcomes[name, k].meter.backwards) == 1


def test_cancelling_keeps_what_is_finished() -> None:
    network, x = made(Plain), photo(rows=6)
    model = seewhy.wrap(network)
    done: list[Any] = []
    flows = [(row, method("adaptive").flow(case, Class(2))) for row, case in enumerate(cases(model, x, 0))]
    options = Options(in_flight=2, cancelled=lambda: len(done) >= 3)
    with unchanged(network, x), pytest.raises(CancelledError) as caught:
        Engine(model, options).run(flows, on_done=lambda key, outcome: done.append(key))
    finished: Any = caught.value.finished
    assert list(finished) == done
    assert 3 <= len(done) < 6
    assert all(outcome.error is None for outcome in finished.values())


def test_events_tell_the_progress() -> None:
    network, x, events = made(Plain), photo(rows=5), []
    options = Options(batch_size=2, on_event=events.append, prepared="never")
    seewhy.attribute(network, x, method("integrated-gradients"), target=2, options=options)
    started = [event for event in events if isinstance(event, RoundStarted)]
    chunks = [event for event in events if isinstance(event, ChunkDone)]
    assert started[0].rows == 5 * 10  # two ends and eight points for each picture
    assert started[0].queries == 10
    assert [event.done for event in chunks] == list(range(2, 51, 2))
    assert {event.rows for event in chunks} == {50}
    ended = [event for event in events if isinstance(event, FlowDone)]
    assert [event.key for event in ended] == [("integrated-gradients", row) for row in range(5)]
    assert all(event.error is None for event in ended)
    assert not [event for event in events if isinstance(event, Note)]


def test_a_lying_key_is_caught() -> None:
    network, x = made(Plain), photo()
    model = seewhy.wrap(network)
    (case,) = cases(model, x, 0)

    def asking(case: EngineCase, factor: float) -> Generator[Any, Any, Any]:
        rows = case.vary(2, lambda s: (case.x[0].repeat(2, 1, 1, 1)[s] * factor,), "the same name")
        return (yield scores(rows, Class(2)))

    flows = [("one", 1.0), ("other", 2.0)]
    with unchanged(network, x), pytest.raises(AssertionError, match="the same name"):
        Engine(model, Options(verify_sharing=True)).run((key, asking(case, factor)) for key, factor in flows)
    honest = Engine(model, Options(verify_sharing=True)).run((key, asking(case, 1.0)) for key, _ in flows)
    assert torch.equal(honest["one"].result(), honest["other"].result())


@pytest.mark.parametrize("name", SOME)
def test_autocast_on_request(name: str) -> None:
    seen: list[torch.dtype] = []
    network, x = made(Plain), photo()
    network.conv2.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    options = Options(autocast=torch.bfloat16)
    with unchanged(network, x):
        result = seewhy.attribute(network, x, method(name, "act2"), target=2, options=options)
    assert set(seen) == {torch.bfloat16}
    assert result.values.dtype == torch.float32
    full = seewhy.attribute(network, x, method(name, "act2"), target=2)
    both = torch.stack([result.values.flatten(), full.values.flatten()])
    assert 0.95 < float(torch.corrcoef(both)[0, 1]) < 1 - 1e-9


def test_a_listener_that_raises_leaves_the_network_alone() -> None:
    network, x = made(Plain, train=True), photo()

    def listen(event: Any) -> None:
        if isinstance(event, ChunkDone):
            raise BufferError("listener")

    with unchanged(network, x), pytest.raises(BufferError, match="listener"):
        seewhy.attribute(network, x, "saliency", target=2, options=Options(on_event=listen))


def test_rows_that_cannot_be_built_fail_alone() -> None:
    network, x = made(Plain), photo(rows=2)
    model = seewhy.wrap(network)
    first, second = cases(model, x, 0)
    error = OSError("no rows")

    def breaks(part: slice) -> Any:
        if part.start:
            raise error
        return (first.x[0].expand(3, -1, -1, -1)[part],)

    def asking(rows: Any) -> Generator[Any, Any, Any]:
        return (yield gradient(rows, Class(2)))

    flows = [("bad", asking(first.vary(3, breaks))), ("good", asking(second.rows()))]
    with unchanged(network, x):
        outcomes = Engine(model, Options(batch_size=2)).run(flows)
    assert outcomes["bad"].error is error
    assert outcomes["good"].error is None


@pytest.mark.parametrize("name", SOME)
def test_double_and_other_default_dtype(name: str) -> None:
    network, x = made(Plain).double(), photo().double()
    oracle = twin_oracle(network, "act2", lambda out: out[0, 2])
    torch.set_default_dtype(torch.float64)
    try:
        with unchanged(network, x):
            result = seewhy.attribute(network, x, method(name, "act2"), target=2)
    finally:
        torch.set_default_dtype(torch.float32)
    check_map(name, result, oracle, x, Case(network, None, tolerance=1e-9))
