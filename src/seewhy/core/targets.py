"""What is explained, as data: comparable, loggable and shippable.

A target says which number of a row's answer is the score. Scores are taken from the model's own output
(`of="score"`: the logits of an ordinary classifier, the probabilities of a model that ends in a sigmoid or
softmax), or from what is computed out of it: `"logit"`, `"probability"`, `"loss"` (cross-entropy).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from torch import Tensor

from .errors import SettingError

Of: TypeAlias = Literal["score", "logit", "probability", "loss"]


def _check_of(of: str) -> None:
    if of not in get_args(Of):
        raise SettingError(f"of= takes one of {', '.join(get_args(Of))}; given {of!r}.")


def _check_index(name: str, index: object) -> None:
    if isinstance(index, bool) or not isinstance(index, int):
        raise SettingError(f"{name} must be a whole number; given {index!r} ({type(index).__name__}).")
    if index < 0:
        raise SettingError(
            f"{name} must be 0 or more; given {index}. Negative numbers usually mark 'no label'; "
            "use None for each row's own top class."
        )


@dataclass(frozen=True, slots=True)
class Top:
    """Each row's own top class; of a single logit the predicted sign.

    `rank` 1 is the runner-up, 2 the third, and so on.
    """

    of: Of = "score"
    rank: int = 0

    def __post_init__(self) -> None:
        _check_of(self.of)
        _check_index("rank", self.rank)


@dataclass(frozen=True, slots=True)
class Class:
    """The class with this index. `sign` -1 explains the negative answer of a single-logit model."""

    index: int
    of: Of = "score"
    sign: Literal[1, -1] = 1

    def __post_init__(self) -> None:
        _check_index("class index", self.index)
        _check_of(self.of)
        if self.sign not in (1, -1):
            raise SettingError(f"sign must be 1 or -1; given {self.sign!r}.")


@dataclass(frozen=True, slots=True)
class Difference:
    """Why `index` rather than `other`: the difference of their scores."""

    index: int
    other: int
    of: Of = "score"

    def __post_init__(self) -> None:
        _check_index("class index", self.index)
        _check_index("other class index", self.other)
        if self.index == self.other:
            raise SettingError(
                f"A class can be explained rather than another one, not rather than itself; given class {self.index} "
                "twice. Name two classes."
            )
        _check_of(self.of)


@dataclass(frozen=True, slots=True)
class Contrast:
    """What separates `index` from others: its score less `strength` times the mean of theirs."""

    index: int
    others: tuple[int, ...]
    strength: float = 1.0
    of: Of = "score"

    def __post_init__(self) -> None:
        _check_index("class index", self.index)
        if not isinstance(self.others, tuple) or not self.others or self.index in self.others:
            raise SettingError(
                f"others takes a tuple of one or more other classes; given {self.others!r} against {self.index}."
            )
        for other in self.others:
            _check_index("other class index", other)
        _check_strength(self.strength)
        _check_of(self.of)


@dataclass(frozen=True, slots=True)
class Nearest:
    """The class `index`, None for each row's own top class, against the `count` classes of the nearest scores.

    strongest: against the highest scores instead. Which classes these are, all others where there are fewer, is
    found in each row's own output; the target then stands for a `Contrast`.
    """

    index: int | None = None
    count: int = 1
    strength: float = 1.0
    of: Of = "score"
    strongest: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.strongest, bool):
            raise SettingError(f"strongest must be True or False; given {self.strongest!r}.")
        if self.index is not None:
            _check_index("class index", self.index)
        _check_index("count", self.count)
        if self.count < 1:
            raise SettingError(f"count must be at least 1; given {self.count}.")
        _check_strength(self.strength)
        _check_of(self.of)


def _check_strength(strength: object) -> None:
    if isinstance(strength, bool) or not isinstance(strength, (int, float)) or not 0 <= strength < float("inf"):
        raise SettingError(f"strength must be a number of 0 or more; given {strength!r}.")


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit inside a layer: one channel, averaged over its map, or one position of it.

    The forward pass stops behind that layer. `position` indexes the other axes of a row, in order. `axis` is where the
    layer's output has its channels: 1, or -1 for tokens (N, T, C) and channels-last layers.
    """

    layer: str
    channel: int
    position: tuple[int, ...] | None = None
    axis: Literal[1, -1] = 1

    def __post_init__(self) -> None:
        _check_index("channel", self.channel)
        _check_axis(self.axis)


def _check_axis(axis: object) -> None:
    if axis not in (1, -1):
        raise SettingError(f"axis must be 1 (channels first) or -1 (channels last); given {axis!r}.")


@dataclass(frozen=True, slots=True)
class Direction:
    """A direction among a layer's channels: the dot product with `vector`, averaged over the map or at one position.

    `vector` has one number a channel; `position` and `axis` are as in `Unit`.
    """

    layer: str
    vector: tuple[float, ...]
    position: tuple[int, ...] | None = None
    axis: Literal[1, -1] = 1

    def __post_init__(self) -> None:
        if not isinstance(self.vector, tuple) or not self.vector:
            raise SettingError(f"vector takes a tuple with one number for each channel; given {self.vector!r}.")
        _check_axis(self.axis)


@dataclass(frozen=True, slots=True)
class Energy:
    """How strongly a layer responds at all: the mean of the squares of its values."""

    layer: str


@dataclass(frozen=True, slots=True, eq=False)
class Likeness:
    """How much a layer's places resemble those of another input: the mean over places of the largest dot product.

    guide: (P, C), that input's values at P places. Two are the same target only if they are the same object.
    """

    layer: str
    guide: Tensor
    axis: Literal[1, -1] = 1

    def __post_init__(self) -> None:
        if not isinstance(self.guide, Tensor) or self.guide.dim() != 2 or not self.guide.numel():
            given = tuple(self.guide.shape) if isinstance(self.guide, Tensor) else type(self.guide).__name__
            raise SettingError(f"guide must be a tensor (places, channels); given {given}.")
        _check_axis(self.axis)


@dataclass(frozen=True, slots=True)
class Combination:
    """A weighted sum of targets: `parts` are pairs of a weight and a target that stands for itself."""

    parts: tuple[tuple[float, Target], ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise SettingError("parts must hold at least one pair (weight, target); given none.")
        for _, part in self.parts:
            if isinstance(part, OPEN):
                raise SettingError(f"Only targets that are known before the pass can be combined; given {part!r}.")


@dataclass(frozen=True, slots=True)
class Function:
    """Any number computed from one row's output: `function(row_output)` returns a scalar tensor.

    A row's output is the model's own output with the batch axis taken away: a tensor, a dict or tuple of
    tensors, or the row's element where the model returns a list of dicts (detection).
    Two functions are the same target only if they are the same object.
    """

    function: Callable[[Any], Any]
    name: str = "function"

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise SettingError(f"Function takes a callable of one row's output; given {self.function!r}.")


@dataclass(frozen=True, slots=True)
class Turn:
    """Why the classes `taken` rather than those of the groups `others`: the log-odds of a turn in a tree of classes.

    rule="marginal": of the probability that the model gives to `taken` against that of all others,
    log sum over taken of exp(s) - log sum over others of exp(s). rule="embedded": of the softmax over the groups' mean
    scores, mean over taken of s - log sum over groups g of exp(mean over g of s). s are logits. `seewhy.trees.turn`
    makes it for a node of a tree. name: in words.
    """

    taken: tuple[int, ...]
    others: tuple[tuple[int, ...], ...]
    rule: Literal["marginal", "embedded"] = "marginal"
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        groups = (self.taken, *self.others) if isinstance(self.others, tuple) else ()
        if len(groups) < 2 or not all(isinstance(group, tuple) and group for group in groups):
            raise SettingError(
                "taken takes a tuple of classes and others a tuple of such tuples, one for each other way; given "
                f"{self.taken!r} and {self.others!r}."
            )
        classes = [index for group in groups for index in group]
        for index in classes:
            _check_index("class index", index)
        if len(set(classes)) < len(classes):
            raise SettingError(
                f"Each class lies on one side of a turn, once; given {self.taken} against {self.others}."
            )
        if self.rule not in ("marginal", "embedded"):
            raise SettingError(f"rule takes 'marginal' or 'embedded'; given {self.rule!r}.")


Inner: TypeAlias = Unit | Direction | Energy | Likeness
"""Targets inside a layer: behind it nothing needs to run."""
Target: TypeAlias = Top | Class | Difference | Contrast | Nearest | Turn | Inner | Combination | Function
OPEN = (Top, Nearest)
"""Targets that stand for something else once a row's output is known."""


def inner_layers(target: Target) -> frozenset[str]:
    """Returns the layers that a target looks into."""
    if isinstance(target, Combination):
        return frozenset().union(*(inner_layers(part) for _, part in target.parts))
    return frozenset({target.layer}) if isinstance(target, Inner) else frozenset()


def is_inner(target: Target) -> bool:
    """Returns True if a target is known once its layers are, so that the pass may stop behind them."""
    if isinstance(target, Combination):
        return all(is_inner(part) for _, part in target.parts)
    return isinstance(target, Inner)


def with_sign(target: Top, index: int, positive: bool) -> Class:
    """Returns the class that a `Top` stands for once the output is known."""
    return Class(index, target.of, 1 if positive else -1)


def describe(target: Target, labels: tuple[str, ...] | None = None) -> str:
    """Returns the target in words: a label where there is one."""

    def label(index: int) -> str:
        return labels[index] if labels is not None and index < len(labels) else f"class {index}"

    match target:
        case Top(rank=rank):
            text = "top class" if rank == 0 else f"top class {rank + 1}"
        case Class(index=index, sign=sign):
            text = label(index) if sign == 1 else f"not {label(index)}"
        case Difference(index=index, other=other):
            text = f"{label(index)} rather than {label(other)}"
        case Contrast(index=index, others=others, strength=strength):
            text = f"{label(index)} rather than {', '.join(map(label, others))}"
            text += "" if strength == 1 else f" (times {strength:g})"
        case Nearest(index=index, count=count, strongest=strongest):
            name = "top class" if index is None else label(index)
            which = "the strongest" if strongest else "its nearest"
            text = f"{name} rather than {which}" + ("" if count == 1 else f" {count}")
        case Turn(taken=taken, others=others, name=name):
            first, second = label(taken[0]), label(others[0][0])
            return name or f"{first}{_more(taken)} rather than {second}{_more(sum(others, ()))}"
        case Combination(parts=parts):
            return " + ".join(f"{weight:g} ({describe(part, labels)})" for weight, part in parts)
        case Function(name=name):
            return name
        case _:
            return _describe_inner(target)
    of = getattr(target, "of", "score")
    return text if of == "score" else f"{text} ({of})"


def _more(group: tuple[int, ...]) -> str:
    return f" and {len(group) - 1} more" if len(group) > 1 else ""


def _describe_inner(target: Inner) -> str:
    what = f"channel {target.channel}" if isinstance(target, Unit) else type(target).__name__.lower()
    position = getattr(target, "position", None)
    return f"{target.layer} {what}" + (f" at {position}" if position else "")
