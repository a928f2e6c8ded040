"""What can be asked about a text: records of it, and the way from what the user calls a target to a score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..core.errors import InputError, TargetError
from ..core.explanation import Answer, Prediction
from ..core.targets import Class, Combination, Contrast, Difference, Function, Nearest, Target, Top, describe
from ..core.tokens import TokenizedText
from ..models.kinds import guess_kind, log_probabilities
from ..models.model import Model
from ..models.text_models import TextModel
from ..models.text_scores import embedded

Run = Callable[[Model, Any], Any]
"""Returns the model's output for one row of inputs."""

SHOWN = 5
_RECORDS = (Top, Class, Difference, Contrast, Nearest, Combination, Function)


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One score of a model about a text. inputs: one row of what `model` takes; "embeds" (1, D, T) is explained."""

    name: str
    model: Model
    inputs: Mapping[str, Any]
    target: Target


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """A text, what the model says about it, and the scores that are to be explained.

    apart: True where two texts are read each on its own and then compared.
    """

    text: TokenizedText
    prediction: Prediction | None
    questions: tuple[Question, ...]
    notes: tuple[str, ...] = field(default=())
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Asking:
    """What every kind of question is made from. run: how the model's answer is had. truncate: as in `tokenise`."""

    model: TextModel
    texts: tuple[str, ...]
    run: Run
    truncate: bool = False

    def tokens(self) -> TokenizedText:
        """Returns the texts as the model reads them together."""
        return with_words(self.model.tokenise(*self.texts, truncate=self.truncate))


def with_words(text: TokenizedText) -> TokenizedText:
    """Returns the text, or raises InputError if there is no word in it."""
    if not text.words:
        raise InputError("Expected at least one word to explain; given a text without any. Give a text that has some.")
    return text


def inputs_of(model: TextModel, text: TokenizedText, **more: Any) -> dict[str, Any]:
    """Returns one row of what the scoring networks take."""
    made = model.batch([text])
    types = {"types": made["token_type_ids"]} if "token_type_ids" in made else {}
    return {"embeds": embedded(model, made["input_ids"]), "mask": made["attention_mask"], **types, **more}


def several(target: Any) -> list[Any]:
    """Returns what was asked for as a list; a list gives several targets."""
    if isinstance(target, list):
        if not target:
            raise TargetError(
                "target must name at least one target; given an empty list. Use None for the model's own."
            )
        return target
    return [target]


def target_of(item: Any, index: Callable[[str], int], top: int) -> Target:
    """Returns the record of one target.

    item: None (the model's own answer, `top`), a name, an index, a pair (this, rather than that), or a record.
    index: finds a name.
    """
    if item is None or isinstance(item, Top):
        return Class(top, "score" if item is None else item.of)
    if isinstance(item, _RECORDS):
        return item
    if isinstance(item, tuple) and len(item) == 2:
        return Difference(_index(item[0], index), _index(item[1], index))
    return Class(_index(item, index))


def _index(item: Any, index: Callable[[str], int]) -> int:
    if isinstance(item, str):
        return index(item)
    if isinstance(item, int) and not isinstance(item, bool):
        return item
    raise TargetError(
        "target must be None, a name, an index, a pair (this, rather than that), one of seewhy.targets, or a list of "
        f"these; given {item!r} ({type(item).__name__})."
    )


def in_words(target: Target, label: Callable[[int], str]) -> str:
    """Returns a target in words. label: the name of an index."""
    if isinstance(target, Class) and target.of == "score" and target.sign == 1:
        return label(target.index)
    if isinstance(target, Difference) and target.of == "score":
        return f"{label(target.index)} rather than {label(target.other)}"
    used = [getattr(target, name) for name in ("index", "other") if getattr(target, name, None) is not None]
    used += getattr(target, "others", ())
    names = tuple(label(place) for place in range(max(used) + 1)) if used else None
    return describe(target, names)


def predicted(model: Model, scores: Tensor, label: Callable[[int], str]) -> Prediction:
    """Returns the best answers of scores (1, K), as probabilities where the model's scores are logits."""
    kind = model.kind or guess_kind(scores)
    plain = kind is None or kind == "value"
    values = scores.float() if kind is None or plain else log_probabilities(scores.float(), kind).exp()
    best = torch.topk(values[0], min(SHOWN, values.shape[1]))
    top = tuple(
        Answer(index, label(index), value)
        for index, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    )
    return Prediction(top, "score" if plain else "probability", values.shape[1])


def distinct(questions: Sequence[Question]) -> tuple[Question, ...]:
    """Returns the questions, each name once."""
    return tuple({question.name: question for question in questions}.values())
