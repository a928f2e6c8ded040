"""Every input of the reliability list: the right map, or a clear error, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seewhy.core.errors import (
    InputError,
    InputTypeError,
    LayerError,
    NotFiniteError,
    OutputError,
    TargetError,
)
from seewhy.study.cases import cases

from .cases import Case, explain, photo
from .contract import ALL, CAMS, Refusal, check_map, close, method, refusal, refused, seewhy, unchanged
from .networks import Plain, made, plain_oracle
from .oracle import input_map, score_of

SOME = ("saliency", "integrated-gradients", "guided-backprop", "grad-cam")


def _score(index: int) -> Callable[[Tensor], Tensor]:
    return lambda logits: logits[0, index]


def _set(x: Tensor, value: float) -> Tensor:
    x[0, 1, 3, 4] = value
    return x


def _refused(x: Any, expected: Refusal, **more: Any) -> Case:
    return Case(made(Plain), None, x, refuses={"all": expected}, **more)


def _right(x: Tensor, **more: Any) -> Case:
    network = made(Plain)
    return Case(network, plain_oracle(network), x, **more)


def _with_gradient() -> Tensor:
    x = photo().requires_grad_()
    (x * 3).sum().backward()
    return x


def _upside_down() -> Tensor:
    return photo(size=(16, 12)).flip(2).transpose(2, 3)


def _channels_last() -> Case:
    network = made(Plain).to(memory_format=torch.channels_last)
    return Case(network, plain_oracle(network), photo(rows=2).to(memory_format=torch.channels_last))


def _black() -> Case:
    case = _right(torch.zeros(1, 3, 16, 16))
    return replace(case, large=True)  # the difference to the baseline is zero, and so is the map


CASES: dict[str, Callable[[], Case]] = {
    "I01": lambda: _refused(_set(photo(), float("nan")), refusal(NotFiniteError, "x must be finite", "NaN", "1 of")),
    "I02": lambda: _refused(_set(photo(), float("inf")), refusal(NotFiniteError, "x must be finite", "infinite")),
    "I05": lambda: _right(_with_gradient()),
    "I07": lambda: _right(_upside_down()),
    "I08": _channels_last,
    "I10": lambda: _refused(
        photo().permute(0, 2, 3, 1), refusal(InputError, "channels on axis 1", "permute(0, 3, 1, 2)")
    ),
    "I11": lambda: _refused(photo()[0], refusal(InputError, "batch axis", "x[None]")),
    "I13": lambda: _refused(photo(), refusal(TargetError, "target", "-1", "no label"), target=-1),
    "I14": lambda: _refused(photo(), refusal(TargetError, "target", "cat"), target="cat"),
    "I20": lambda: _right(photo(), target=np.int64(2)),
    "I22": lambda: _refused(photo(rows=2), refusal(TargetError, "target", "2", "given 3"), target=[0, 1, 2]),
    "I23": _black,
    "I28": lambda: _right(photo(size=(8, 8))),
    "I29": lambda: _right(photo(size=(1, 1))),
    "I35": lambda: _refused(photo().to(torch.complex64), refusal(InputTypeError, "x must be real", "complex64")),
    # beside the list
    "int": lambda: _refused(
        (photo() * 255).to(torch.uint8), refusal(InputTypeError, "floating-point", "x.float() / 255")
    ),
    "sparse": lambda: _refused(photo().to_sparse(), refusal(InputTypeError, "x must be a dense tensor", "to_dense")),
    "meta": lambda: _refused(photo().to("meta"), refusal(InputTypeError, "meta device")),
    "empty": lambda: _refused(photo()[:0], refusal(InputError, "at least one row", "empty batch")),
    "class-too-high": lambda: _refused(photo(), refusal(TargetError, "between 0 and 4", "given 7"), target=7),
    "bool-target": lambda: _refused(photo(), refusal(TargetError, "target", "True"), target=True),
    "negative-bit": lambda: _right(torch.complex(photo(), -photo()).conj().imag),
    "expanded": lambda: _right(photo(rows=1).expand(3, -1, -1, -1)),
    "not-a-number-target": lambda: _refused(photo(), refusal(TargetError, "target", "2.0"), target=2.0),
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("identifier", [name for name in CASES if name[0] == "I"])
def test_input(identifier: str, name: str) -> None:
    explain(CASES[identifier](), name)


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("identifier", [name for name in CASES if name[0] != "I"])
def test_other_input(identifier: str, name: str) -> None:
    case = CASES[identifier]()
    if identifier in ("sparse", "meta"):  # whose bytes cannot be compared
        with unchanged(case.network), refused(case.refuses["all"]):
            seewhy.attribute(case.network, case.x, method(name), target=case.target)
    else:
        explain(case, name)


@pytest.mark.parametrize("name", ALL)
def test_i04_array(name: str) -> None:
    case = _right(photo())
    chosen = method(name, "act2")
    with unchanged(case.network):
        given = case.x.numpy()[:, :, ::-1]
        result = seewhy.attribute(case.network, given, chosen, target=2)
    check_map(name, result, case.oracle, case.x.flip(2), case)  # type: ignore[arg-type]
    assert np.array_equal(given, case.x.numpy()[:, :, ::-1])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((1, 3, 4, 4), "a", dtype=object), "numbers"),
        (np.ma.masked_greater(photo().numpy(), 0.5), "masked"),
        ([photo().tolist()], "torch.tensor"),
        ("cat.jpg", "seewhy.explain"),
        (None, "NoneType"),
    ],
)
def test_i04_what_is_no_array_of_numbers(array: Any, words: str) -> None:
    network = made(Plain)
    with unchanged(network), refused(refusal(InputTypeError, words)):
        seewhy.attribute(network, array, "saliency", target=2)


def test_i04_big_endian_and_read_only_arrays(recwarn: pytest.WarningsRecorder) -> None:
    network = made(Plain)
    foreign = photo().numpy().astype(">f4")
    foreign.flags.writeable = False
    result = seewhy.attribute(network, foreign, "saliency", target=2)
    close(result.values, input_map("saliency", plain_oracle(network), photo()), 1e-4)
    assert not recwarn.list


@pytest.mark.parametrize("name", ALL)
def test_i16_target_none(name: str) -> None:
    network, x = made(Plain), photo()
    top = int(network(x).argmax())
    case = Case(network, plain_oracle(network, score=_score(top)), x, target=None, index=top)
    explain(case, name)


def _of_row(diagnostics: Mapping[str, Any], row: int) -> dict[str, Any]:
    return {name: value[row] if isinstance(value, list) else value for name, value in diagnostics.items()}


@pytest.mark.parametrize("name", ALL)
def test_i17_each_row_its_own_prediction(name: str) -> None:
    network, x = made(Plain), photo(rows=4)
    x *= torch.tensor([0.0, 1.0, 4.0, -9.0])[:, None, None, None]
    network.fc.bias.data -= network(x).mean(0)
    tops = network(x).argmax(1).tolist()
    assert len(set(tops)) > 1
    with unchanged(network, x):
        result = seewhy.attribute(network, x, method(name, "act2"))
    assert [target.index for target in result.targets] == tops
    for row, top in enumerate(tops):
        one = replace(result, values=result.values[row : row + 1])
        one = replace(one, scores=result.scores[row : row + 1], diagnostics=_of_row(result.diagnostics, row))
        if result.segments is not None:
            one = replace(one, segments=result.segments[row : row + 1])
            one = replace(one, segment_values=result.segment_values[row : row + 1])
        how = Case(network, None, index=top)
        check_map(name, one, plain_oracle(network, score=_score(top)), x[row : row + 1], how)


@pytest.mark.parametrize("given", [torch.tensor([3, 0, 1]), np.array([3, 0, 1]), [3, np.int64(0), torch.tensor(1)]])
@pytest.mark.parametrize("name", SOME)
def test_i19_a_target_for_each_row(name: str, given: Any) -> None:
    network, x = made(Plain), photo(rows=3)
    with unchanged(network, x):
        result = seewhy.attribute(network, x, method(name, "act2"), target=given)
    for row, index in enumerate((3, 0, 1)):
        one = replace(result, values=result.values[row : row + 1])
        check_map(name, one, plain_oracle(network, score=_score(index)), x[row : row + 1], Case(network, None))


@pytest.mark.parametrize("name", CAMS)
def test_i25_no_such_layer(name: str) -> None:
    network = made(Plain)
    wrong = refusal(LayerError, "layer9", "model.layers()")
    with unchanged(network), refused(wrong):
        seewhy.attribute(network, photo(), method(name, "layer9"), target=2)
    with unchanged(network), refused(refusal(LayerError, "'conv22'", "Did you mean 'conv2'")):
        seewhy.attribute(network, photo(), method(name), target=2, layer="conv22")


@pytest.mark.parametrize("name", CAMS)
def test_i26_layer_of_another_model(name: str) -> None:
    network, other = made(Plain), made(Plain)
    with unchanged(network), unchanged(other), refused(refusal(LayerError, "layer=", "ReLU", "another model")):
        seewhy.attribute(network, photo(), method(name, other.act2), target=2)


@pytest.mark.parametrize("name", ALL)
def test_i31_double_input_single_model(name: str) -> None:
    network = made(Plain)
    case = Case(network, plain_oracle(network), photo().double())
    explain(case, name)
    chosen = method(name, "act2")
    assert seewhy.attribute(network, photo().double(), chosen, target=2).values.dtype == torch.float64


@pytest.mark.parametrize("name", ALL)
def test_i32_overflow_inside(name: str) -> None:
    class Squaring(Plain):
        def first(self, x: Tensor) -> Tensor:
            return super().first(x) ** 2

    network, x = made(Squaring), photo() * 1e30
    with unchanged(network, x), refused(refusal(NotFiniteError, "overflows", "input")):
        seewhy.attribute(network, x, method(name, "act2"), target=2)


@pytest.mark.parametrize("name", ALL)
def test_i34_picture(name: str) -> None:
    from PIL import Image
    from torchvision.transforms import v2

    picture = Image.fromarray((photo()[0].permute(1, 2, 0) * 255).byte().numpy())
    network = made(Plain)
    with unchanged(network), refused(refusal(InputTypeError, "preprocess", "tensor")):
        seewhy.attribute(network, picture, method(name, "act2"), target=2)
    steps = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    x = steps(picture)[None]
    with unchanged(network):
        model = seewhy.wrap(network, preprocess=steps)
        result = seewhy.attribute(model, picture, method(name, "act2"), target=2)
    how = Case(network, None, ids=cases(model, picture, 0))
    check_map(name, result, plain_oracle(network), torch.as_tensor(x), how)


class _Several(nn.Module):
    """A picture and words: (pixels, {"ids": ..., "mask": ..., "scale": ...}), or all by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.net = made(Plain)
        self.words = nn.Embedding(9, 5)

    def forward(self, pixels: Tensor, text: dict[str, Tensor], flag: bool = True) -> Tensor:
        said = (self.words(text["ids"]) * text["mask"][..., None]).sum(1)
        return self.net(pixels) * text["weight"] + said * flag


@pytest.mark.parametrize("keywords", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_several_inputs_with_passive_leaves(name: str, keywords: bool) -> None:
    torch.manual_seed(2)
    network = _Several().eval()
    pixels = photo(rows=2)
    text = {
        "ids": torch.tensor([[1, 2, 3], [4, 5, 6]]),
        "mask": torch.tensor([[True, True, False], [True, False, False]]),
        "weight": torch.tensor(3, dtype=torch.int64),
    }
    x: Any = {"pixels": pixels, "text": text, "flag": True} if keywords else (pixels, text, True)
    with unchanged(network, pixels, text["ids"], text["mask"]):
        result = seewhy.attribute(network, x, method(name, "net.act2"), target=2)
    # the words shift the score, and the weight triples it: CAM cannot know how the layer is pooled
    how = Case(network, None, ids=cases(seewhy.wrap(network), x, 0), head="net.fc", pooling="unknown")
    oracle = plain_oracle(network.net, score=lambda z: z[0, 2] * 3)
    if name == "rise":  # what the words add is in every mean
        words = [float(score) - score_of(oracle, row[None]) for score, row in zip(result.scores, pixels, strict=True)]
        result = replace(result, values=result.values - torch.tensor(words)[:, None, None])
    check_map(name, result, oracle, pixels, how)


def test_unbatched_lists_and_lengths_that_differ() -> None:
    network = _Several().eval()
    with refused(refusal(InputError, "same number of rows", "'0': 2", "'1.ids': 1")):
        text = {"ids": torch.zeros(1, 3, dtype=torch.long), "mask": torch.ones(1, 3), "weight": torch.tensor(1)}
        seewhy.attribute(network, (photo(rows=2), text), "saliency", target=2)


def test_a_network_whose_rows_are_not_the_batch() -> None:
    class Flat(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).reshape(-1)

    network = made(Flat)
    with unchanged(network), refused(refusal(OutputError, "rows", "first axis", "batch")):
        seewhy.attribute(network, photo(), "saliency", target=2)
