"""`generate`: a text goes on, and what each new token owes to each token before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.attribution import Reduce
from ..core.errors import SettingError
from ..core.generation import Generation, TokenMatrix
from ..core.rows import Case
from ..core.text import TextAttribution
from ..core.tokens import TokenizedText
from ..engine import Engine, Options, Outcome
from ..models.model import Model
from ..models.text_models import TextModel
from ..models.text_scores import NextWords, scoring
from ..text.baselines import check_baseline_name
from ..text.fitting import Fit, Fitted, fitted
from ..text.reduction import reduced
from ..text.vocabulary import word_of
from ..text.writing import TokenScore, Written, check_score, greedy, starting, tokens_of, written
from .attribute import AnyMethod, check_seed, collect, named_methods
from .explain_text import TextPlan, answer_of, case_of, check_reduce, empty_of, listed, text_model
from .provenance import versions

DEFAULT_METHODS = ("input-x-gradient", "saliency", "occlusion")


@dataclass(frozen=True, slots=True, eq=False)
class _Story:
    """What was written, the record of all tokens that were read, and what each one is explained against."""

    written: Written
    text: TokenizedText
    others: tuple[int | None, ...]
    of: TokenScore


def generate(  # noqa: PLR0913 - the front door: each of these is a question of its own
    model: Model | str,
    text: str,
    continuation: str | None = None,
    methods: AnyMethod | Sequence[AnyMethod] | None = None,
    *,
    rather_than: str | None = None,
    max_new_tokens: int = 20,
    of: str = "log-probability",
    baseline: str | None = None,
    reduce: str | None = None,
    seed: int = 0,
    options: Options | None = None,
) -> Generation:
    """Returns how a text goes on, and what each new token owes to each token before it.

    model: a causal model, or one with an encoder and a decoder, which reads `text` and writes another.
    continuation: what follows, to be explained as if the model had written it; None lets the model write, the
        likeliest token at each place, at most `max_new_tokens`.
    methods: names or settings objects; None takes three quick ones. Hiding is one token at a time.
    rather_than: another continuation: where its tokens differ, each token is explained against its counterpart, by the
        difference of their scores at that place.
    of: what is explained of each token, its "log-probability", "logit" or "probability".
    baseline, reduce: as in `seewhy.explain_text`.

    A token is attributed to all that the model read before it: the source, and its own tokens so far. All share one
    forward pass: what comes later cannot be seen from where a token is predicted. A method that fails is reported in
    `errors`.

    Raises UnsupportedModelError for a model that does not write, InputError for more tokens than it reads.

    Differences: inseq explains probabilities by default, and runs the model anew for each token; the values of
    gradients and their products are equal. Reference: Sarti et al., "Inseq", ACL 2023, arXiv 2302.13942; contrastive
    targets: Yin, Neubig, EMNLP 2022, arXiv 2202.10419.
    """
    reader = text_model(model)
    if isinstance(max_new_tokens, bool) or not isinstance(max_new_tokens, int) or max_new_tokens < 1:
        raise SettingError(f"max_new_tokens must be a whole number of at least 1; given {max_new_tokens!r}.")
    plan = TextPlan(
        model=reader,
        methods=named_methods(reader, listed(DEFAULT_METHODS if methods is None else methods)),
        baseline=check_baseline_name(reader, baseline),
        unit="tokens",
        reduce=check_reduce(reduce),
        seed=check_seed(seed),
        options=options or Options(backend="torch"),
    )
    score = check_score(of)
    with reader.memo.lock:
        start = starting(reader, text)
        found = (
            greedy(start, max_new_tokens, answer_of(plan))
            if continuation is None
            else written(start, tokens_of(start, continuation))
        )
        others = _others(start, found, rather_than)
        return _generation(plan, _Story(found, read_by(found), others, score), continuation is not None)


def _others(start: Written, found: Written, rather_than: str | None) -> tuple[int | None, ...]:
    """Returns the counterpart of each written token; None where there is none or it is the same."""
    other = () if rather_than is None else tokens_of(start, rather_than)
    if rather_than is not None and all(a == b for a, b in zip(found.ids, other, strict=False)):
        raise SettingError(
            f"rather_than must differ from what is explained; given {rather_than!r} for the same tokens."
        )
    padded = (*other, *[None] * len(found.ids))
    return tuple(None if own == against else against for own, against in zip(found.ids, padded, strict=False))


def read_by(found: Written) -> TokenizedText:
    """Returns all tokens that the model read as one record, its own as one word each."""
    source, tokenizer = found.source, found.model.tokenizer
    names = tuple(map(str, tokenizer.convert_ids_to_tokens(list(found.own))))
    start = 1 if found.model.task == "seq2seq-lm" else 0  # the decoder's first token stands for nothing
    extra = len(found.own)
    none: tuple[None, ...] = (None,) * extra
    special = tuple(place < start or number in set(tokenizer.all_special_ids) for place, number in enumerate(found.own))
    return TokenizedText(
        texts=source.texts,
        ids=source.ids + found.own,
        tokens=source.tokens + names,
        special=source.special + special,
        segments=source.segments + none,
        spans=source.spans + none,
        words=source.words,
        word_index=source.word_index + none,
    )


def _generation(plan: TextPlan, story: _Story, given: bool) -> Generation:
    model = scoring(plan.model, NextWords)
    inputs = story.written.inputs()
    case = case_of(model, inputs, plan.seed)
    logits = answer_of(plan)(model, inputs)[0].double().cpu()
    matrices, errors = _matrices(plan, story, case, model)
    ids, read = story.written.ids, story.text
    own = len(story.written.source)
    return Generation(
        model=plan.model.name,
        task=plan.model.task,
        source=story.written.source,
        read=tuple(_surface(plan.model, story, place) for place in range(len(read))),
        special=read.special,
        own=own,
        written=tuple(word_of(plan.model, index) for index in ids),
        ids=ids,
        text=str(plan.model.tokenizer.decode(list(ids), skip_special_tokens=True)).strip(),
        of=story.of,
        scores=torch.stack([_score(story, logits, column) for column in range(len(ids))]),
        probabilities=torch.stack(
            [logits[place].softmax(0)[index] for place, index in zip(story.written.places, ids, strict=True)]
        ),
        matrices=matrices,
        instead=tuple(None if other is None else word_of(plan.model, other) for other in story.others),
        given=given,
        errors=errors,
        titles={name: method.info.title for name, method in plan.methods.items()},
        notes=tuple(note for note in plan.model.notes if "drawn at random" in note),
        provenance={
            "seed": plan.seed,
            "model": plan.model.name,
            "weights": "; ".join(plan.model.notes),
            "device": str(plan.model.device),
            "versions": dict(versions()),
        },
    )


def _score(story: _Story, logits: Tensor, column: int) -> Tensor:
    function: Any = story.written.target(column, story.others[column], story.of).function
    found: Tensor = function(logits)
    return found


def _surface(model: TextModel, story: _Story, place: int) -> str:
    """Returns a token as it is read: as it stands in the source, or in the vocabulary where the model wrote it."""
    if place < len(story.written.source):
        return story.written.source.surface(place).strip() or story.written.source.tokens[place]
    return story.text.tokens[place] if story.text.special[place] else word_of(model, story.text.ids[place])


def _matrices(
    plan: TextPlan, story: _Story, case: Case, model: Model
) -> tuple[dict[str, TokenMatrix], dict[str, Exception]]:
    """Returns each method's matrix, or its first error."""
    fit = _fit(plan, story, case)
    ready = {name: fitted(method, fit) for name, method in plan.methods.items()}
    columns = range(len(story.written.ids))
    flows = [
        ((name, column), item.method.flow(case, story.written.target(column, story.others[column], story.of)))
        for column in columns
        for name, item in ready.items()
    ]
    outcomes = Engine(model, plan.options).run(flows)
    matrices: dict[str, TokenMatrix] = {}
    errors: dict[str, Exception] = {}
    for name, item in ready.items():
        own = [outcomes[name, column] for column in columns]
        failed = next((outcome.error for outcome in own if isinstance(outcome.error, Exception)), None)
        if failed is not None:
            errors[name] = failed
        else:
            answers = [_column(plan, item, fit, story, (outcome, model)) for outcome in own]
            matrices[name] = _matrix(name, item, answers, story)
    return matrices, errors


def _fit(plan: TextPlan, story: _Story, case: Case) -> Fit:
    """Returns the text's absence, and its tokens as pieces."""
    special = torch.tensor(story.text.special)
    numbers = torch.where(special, -1, torch.cumsum(~special, 0) - 1)
    empty = empty_of(plan, story.text, case.x[0])
    return Fit(empty, empty, plan.baseline, numbers, "tokens")


def _column(plan: TextPlan, item: Fitted, fit: Fit, story: _Story, answered: tuple[Outcome, Model]) -> TextAttribution:
    outcome, model = answered
    reduce: Reduce | None = plan.reduce
    return reduced(collect([outcome], model, plan.seed), item, fit, (story.text, ""), reduce)


def _matrix(name: str, item: Fitted, answers: Sequence[TextAttribution], story: _Story) -> TokenMatrix:
    values = torch.stack([answer.values for answer in answers], 1)
    own = len(story.written.source)
    for column, place in enumerate(story.written.places):
        # with a decoder, places count its own tokens; the source is seen from all of them
        seen = own + place + 1 if story.written.model.task == "seq2seq-lm" else place + 1
        values[seen:, column] = torch.nan
    first = answers[0]
    return TokenMatrix(
        method=name,
        title=item.title,
        values=values,
        units=first.units,
        signed=first.signed,
        additive=first.additive,
        settings=first.settings,
        diagnostics=_gathered([answer.diagnostics for answer in answers]),
    )


def _gathered(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns what was measured for each column as lists, and what is the same for all once."""
    names = dict.fromkeys(name for part in parts for name in part)
    found: dict[str, Any] = {}
    for name in names:
        values = [part.get(name) for part in parts]
        kept = [value for value in values if isinstance(value, (int, float, str, bool))]
        found[name] = values if len(kept) == len(values) and len(set(kept)) > 1 else values[0]
    return found
