"""Plain functions as models: right maps against closed forms, and each of their mistakes told apart from ours."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import seewhy
from seewhy import Options
from seewhy.core.errors import InputTypeError, NotFiniteError, OutputError, SettingError, UnsupportedModelError
from seewhy.models.black_box import EVERYTHING
from seewhy.models.functions import function_box

WEIGHTS = np.random.default_rng(0).normal(size=(48, 3)).astype(np.float32)
X = torch.from_numpy(np.random.default_rng(1).uniform(size=(2, 3, 4, 4)).astype(np.float32))


def linear(x: NDArray[Any]) -> NDArray[Any]:
    assert isinstance(x, np.ndarray)
    return x.reshape(len(x), -1) @ WEIGHTS


def closed_form(target: int) -> Tensor:
    """Turning a pixel black takes the sum over channels of weight times value off a linear score."""
    weights = torch.from_numpy(WEIGHTS[:, target].reshape(3, 4, 4))
    return (weights * X).sum(1)


def ablated(f: Any, **settings: Any) -> Tensor:
    model = seewhy.wrap(f, **settings) if settings else f
    pixels = torch.arange(16).reshape(4, 4)
    method = seewhy.methods.FeatureAblation(segments=pixels)
    values = seewhy.attribute(model, X, method, target=2, options=Options(batch_size=5)).values
    assert isinstance(values, Tensor)
    return values


@pytest.mark.parametrize(
    "shape",
    [
        lambda x: linear(x),
        lambda x: [[float(score) for score in row] for row in linear(x)],
        lambda x: {"logits": linear(x), "other": np.zeros(len(x))},
        lambda x: linear(x).astype(np.float64),
        lambda x: (linear(x),),
    ],
    ids=["array", "lists", "dict", "double", "tuple"],
)
def test_a_linear_function_is_explained_by_its_weights(shape: Any) -> None:
    assert torch.allclose(ablated(shape, arrays=True).float(), closed_form(2), atol=1e-4)


@pytest.mark.parametrize("listed", [True, False])
def test_one_score_a_row_is_a_value(listed: bool) -> None:
    def f(x: NDArray[Any]) -> Any:
        scores = linear(x)[:, 2]
        return scores.tolist() if listed else scores

    pixels = seewhy.methods.FeatureAblation(segments=torch.arange(16).reshape(4, 4))
    values = seewhy.attribute(f, X, pixels).values
    assert torch.allclose(values.float(), closed_form(2), atol=1e-4)


def test_one_row_at_a_time_may_answer_with_a_number() -> None:
    def f(x: NDArray[Any]) -> float:
        assert len(x) == 1
        return float(linear(x)[0, 2])

    pixels = seewhy.methods.FeatureAblation(segments=torch.arange(16).reshape(4, 4))
    values = seewhy.attribute(f, X, pixels, options=Options(batch_size=1)).values
    assert torch.allclose(values.float(), closed_form(2), atol=1e-4)


def test_what_a_function_is_given() -> None:
    seen: list[type] = []

    def annotated(x: Tensor) -> Tensor:
        seen.append(type(x))
        return x.flatten(1)[:, :3]

    def names_numpy(x):
        seen.append(type(x))
        return np.asarray(x).reshape(len(x), -1)[:, :3]

    def names_torch(x):
        seen.append(type(x))
        return torch.as_tensor(x).flatten(1)[:, :3]

    def says_nothing(x):
        seen.append(type(x))
        return x.copy().reshape(len(x), -1)[:, :3]  # tensors have no copy()

    kinds = {
        annotated: {Tensor},
        linear: set(),
        names_numpy: {np.ndarray},
        names_torch: {Tensor},
    }
    for f, expected in kinds.items():
        seen.clear()
        seewhy.attribute(f, X, "occlusion", target=0)
        assert set(seen) == expected
    seen.clear()
    seewhy.attribute(says_nothing, X, "occlusion", target=0)
    assert seen[0] is Tensor
    assert set(seen[1:]) == {np.ndarray}
    seen.clear()
    seewhy.attribute(seewhy.wrap(names_numpy, arrays=False), X, "occlusion", target=0)
    assert set(seen) == {Tensor}


def test_the_spread_of_arrays_is_numpys_own() -> None:
    """`std` divides by n on arrays and by n - 1 on tensors: a function of NumPy must not be given tensors."""

    def spread(x):
        return x.reshape(len(x), -1).std(axis=1) + np.float32(0)

    got = seewhy.wrap(spread).module(X)
    assert torch.allclose(got, X.flatten(1).std(1, unbiased=False))


def test_methods_that_need_more_are_refused_before_the_first_call() -> None:
    calls = []

    def f(x: NDArray[Any]) -> NDArray[Any]:
        calls.append(len(x))
        return linear(x)

    model = seewhy.wrap(f)
    assert model.gives == frozenset()
    assert seewhy.wrap(nn.Conv2d(3, 2, 1)).gives == EVERYTHING
    for name in ("saliency", "grad-cam", "guided-backprop"):
        with pytest.raises(UnsupportedModelError, match=r"scores only: .*occlusion.*rise") as caught:
            seewhy.attribute(model, X, ["occlusion", name])
        assert name in str(caught.value)
    with pytest.raises(UnsupportedModelError):
        seewhy.attribute(model, X, "grad-cam", layer="layer4")
    assert calls == []


def test_explain_reports_them_and_takes_what_it_can_by_default() -> None:
    def f(x: NDArray[Any]) -> NDArray[Any]:
        return linear(x)

    e = seewhy.explain(f, X[0], methods=["grad-cam", "occlusion"])
    (key,) = e.errors
    assert key[0] == "grad-cam"
    assert isinstance(e.errors[key], UnsupportedModelError)
    assert [name for name, _ in e.attributions] == ["occlusion"]
    assert e.prediction is not None
    assert e.prediction.top[0].index == int(linear(X[:1].numpy())[0].argmax())
    from seewhy.methods import all_methods

    expected = {name for name, cls in all_methods().items() if not cls.info.needs}
    made = seewhy.explain(f, X[0], options=Options(batch_size=64))
    assert {name for name, _ in (*made.attributions, *made.errors)} == expected
    assert not made.errors


class Failing:
    """Fails on the rows whose mean is above a limit, or from some call on."""

    def __init__(self, row: Tensor | None = None, call: int = 10**9) -> None:
        self.calls = 0
        self.call = call
        self.row = None if row is None else row.numpy()

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        self.calls += 1
        if self.calls >= self.call or (self.row is not None and any((one == self.row).all() for one in x)):
            raise KeyError("boom")
        return linear(x)


def test_the_functions_own_exception_comes_through_and_the_other_row_is_kept() -> None:
    one = seewhy.explain(seewhy.wrap(Failing(X[1]), arrays=True), X[0], methods=["occlusion"])
    assert not one.errors
    with pytest.raises(KeyError, match="boom") as caught:
        seewhy.attribute(seewhy.wrap(Failing(X[1]), arrays=True), X, "occlusion", target=0)
    if sys.version_info >= (3, 11):
        (note,) = caught.value.__notes__
        assert "'Failing'" in note
        assert "(1, 3, 4, 4)" in note


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions take notes from Python 3.11 on")
@pytest.mark.parametrize("rows", [1, 2])
def test_one_row_at_a_time_is_advised_where_several_were_given(rows: int) -> None:
    box = function_box(Failing(call=1), arrays=True)
    with pytest.raises(KeyError, match="boom") as caught:
        box(X[:rows])
    (note,) = caught.value.__notes__
    assert f"({rows}, 3, 4, 4)" in note
    assert ("batch_size=1" in note) == (rows > 1)


def test_a_function_that_fails_from_some_call_on_works_again_when_it_does() -> None:
    f = Failing(call=300)
    model = seewhy.wrap(f, arrays=True)
    kept = seewhy.attribute(model, X[:1], "occlusion", target=2, options=Options(batch_size=1))
    f.call = f.calls + 3
    with pytest.raises(KeyError, match="boom"):
        seewhy.attribute(model, X[:1], "occlusion", target=2, options=Options(batch_size=1))
    f.call = 10**9
    again = seewhy.attribute(model, X[:1], "occlusion", target=2, options=Options(batch_size=1))
    assert torch.equal(again.values, kept.values)
    whole = seewhy.attribute(linear, X[:1], "occlusion", target=2)
    assert torch.allclose(kept.values, whole.values, atol=1e-5)


def test_one_nan_is_an_error_and_not_a_map() -> None:
    calls = []

    def f(x: NDArray[Any]) -> NDArray[Any]:
        calls.append(0)
        scores = linear(x)
        scores[-1] = np.nan if len(calls) == 4 else scores[-1]
        return scores

    with pytest.raises(NotFiniteError):
        seewhy.attribute(f, X[:1], "occlusion", target=0, options=Options(batch_size=2))


@pytest.mark.parametrize("fewer", [True, False])
def test_another_number_of_rows_or_scores_is_named(fewer: bool) -> None:
    calls = []

    def f(x: NDArray[Any]) -> NDArray[Any]:
        calls.append(0)
        scores = linear(x)
        if len(calls) < 3:
            return scores
        return scores[:-1] if fewer else scores[:, :2]

    with pytest.raises(OutputError) as caught:
        seewhy.attribute(f, X[:1], "occlusion", target=0, options=Options(batch_size=4))
    text = str(caught.value)
    assert ("Expected 4 rows" in text and "(3, 3)" in text) if fewer else ("(4, 3)" in text and "(4, 2)" in text)


def test_mutating_and_reusing_and_printing_change_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    kept = np.zeros((64, 3), np.float32)

    def f(x: NDArray[Any]) -> NDArray[Any]:
        scores = kept[: len(x)]
        scores[:] = linear(x)
        x[:] = 7  # its own copy
        print("working")
        return scores

    before = X.clone()
    assert torch.allclose(ablated(f, arrays=True), closed_form(2), atol=1e-4)
    assert torch.equal(X, before)
    assert "working" in capsys.readouterr().out


def test_what_is_no_model_is_named() -> None:
    for thing in (3, "timm:resnet18", nn.Linear):
        with pytest.raises(InputTypeError, match=r"Expected a torch\.nn\.Module"):
            seewhy.wrap(thing)
    with pytest.raises(SettingError, match="arrays="):
        seewhy.wrap(nn.Linear(2, 2), arrays=True)
    with pytest.raises(SettingError, match="logits=True"):
        seewhy.wrap(linear, logits=True)


def test_several_inputs_reach_the_function_as_they_were_given() -> None:
    def f(image: NDArray[Any], factor: NDArray[Any]) -> NDArray[Any]:
        return linear(image) * factor

    a = seewhy.attribute(f, (X, torch.full((2, 1), 3.0)), "feature-ablation", target=1).values
    assert isinstance(a, tuple)
    assert a[0].shape == (2, 4, 4)
