"""`embeddings`: the tokens of a text at every layer, in two dimensions, and the stages of reading measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.embeddings import Embeddings, Point
from ..core.errors import InputError, NotFiniteError, SettingError
from ..core.tokens import TokenizedText
from ..models.model import Model
from ..models.text_models import TextModel
from ..ops.distances import Distance
from ..text.marking import Answer, Marked, answer_in, is_question, marked, pooled
from ..text.plane import on_a_plane
from ..text.stages import Reading, stages
from ..text.subjects import chosen_layers, text_reader
from .attribute import check_seed
from .provenance import versions

PERMUTATIONS = 500
"""Shufflings that each measure is compared with."""


def embeddings(  # noqa: PLR0913 - the front door: each of these is a question of its own
    model: Model | str,
    text: str,
    pair: str | None = None,
    *,
    answer: str | tuple[int, int] | None = None,
    layers: int | Sequence[int] | None = None,
    unit: str = "token",
    reduction: str = "pca",
    common: bool = False,
    distance: Distance = "euclidean",
    special: bool = False,
    truncate: bool = False,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Embeddings:
    """Returns where the tokens of a text, or of a question and its context, lie at each layer of a text model.

    text, pair: one text, or two that the model reads together, such as a question and its context.
    answer: its text, as it stands in the context (in the text, without a pair), or its characters there, (start, end).
        Without it, a model made for question answering is asked.
    layers: their numbers, from the end where negative; None takes all but 0, the embedding layer.
    unit: "token", or "word" for the mean over each word's tokens.
    reduction: "pca", "tsne" or "umap" (extra `umap`). common: one fit for all layers, instead of one each.
    distance: "euclidean" or "cosine", for the stages, t-SNE and UMAP.
    special: whether special tokens such as [CLS] are points too; they lie far out and squeeze the others together.
    truncate: leave out what is beyond the model's limit, and say so, instead of raising an error.
    permutations: shufflings that each stage's measure is compared with.

    The stages are those one looks for in a model tuned to answer questions: similar words cluster, words of a sentence
    draw together, the question meets the answer, the answer stands apart. Each is a number per layer beside what
    shuffled words give, measured in all dimensions; `Stage.measure` has the definitions. Models not tuned for questions
    need not show the last two. The same seed gives the same result.

    Raises InputError for a text with too few tokens, one that is too long, or an answer that is not in it;
    LayerError, SettingError, UnsupportedModelError, MissingExtraError.
    """
    _check_settings(unit, distance, permutations, check_seed(seed))
    reader = text_reader(model)
    tokens = reader.tokenise(text, pair, truncate=truncate)
    found, notes = answer_in(reader, tokens, answer)
    asked = found is not None or reader.task == "question-answering" or is_question(text)
    roles = marked(tokens, found, reader.tokenizer.unk_token_id, special=special, asked=asked)
    if not roles.places:
        raise InputError(f"Expected a text with tokens to show; given {text[:40]!r}, which has none.")
    states, chosen = _states(reader, tokens, layers)
    points, vectors = _points(roles, states, unit)
    layout = on_a_plane(vectors, reduction, distance, seed, common=common)
    return Embeddings(
        model=reader.name,
        texts=tokens.texts,
        points=points,
        layers=chosen,
        coordinates=layout.coordinates,
        vectors=vectors.astype(np.float32),
        explained=layout.explained,
        stages=stages(
            Reading(roles, _words(roles, states), _static(reader, roles), chosen, distance, permutations, seed)
        ),
        flat=tuple(chosen[place] for place in layout.flat),
        reduction=reduction,
        common=common,
        distance=distance,
        answer="" if found is None else tokens.texts[found.segment][found.start : found.end],
        answer_source="" if found is None else found.source,
        notes=(*notes, *_notes(reader, roles, found, len(layout.flat))),
        provenance={
            "model": reader.name,
            "task": reader.task,
            "unit": unit,
            "permutations": permutations,
            "seed": seed,
            "versions": dict(versions()),
        },
    )


def _check_settings(unit: str, distance: str, permutations: int, seed: int) -> None:
    if unit not in ("token", "word"):
        raise SettingError(f"unit is 'token' or 'word'; given {unit!r}.")
    if distance not in ("euclidean", "cosine"):
        raise SettingError(f"distance is 'euclidean' or 'cosine'; given {distance!r}.")
    if isinstance(permutations, bool) or not isinstance(permutations, int) or permutations < 20:
        raise SettingError(
            f"permutations must be a whole number of 20 or more, or no middle 95% can be told; given {permutations!r}."
        )
    if not 0 <= seed < 2**32:
        raise SettingError(f"seed must lie within 0 and 2**32 - 1; given {seed}.")


def _states(
    reader: TextModel, tokens: TokenizedText, layers: int | Sequence[int] | None
) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """Returns the hidden states of the layers asked for, (L, T, D), and their numbers."""
    states = reader.hidden_states(tokens)[0]
    chosen = chosen_layers(layers, len(states), 1)
    kept: NDArray[np.float64] = states[list(chosen)].to(torch.float64).numpy()
    wrong = [layer for layer, own in zip(chosen, kept, strict=True) if not np.isfinite(own).all()]
    if wrong:
        raise NotFiniteError(f"{reader.name}: the hidden states of layer {wrong[0]} are NaN or infinite for this text.")
    return kept, chosen


def _points(roles: Marked, states: NDArray[np.float64], unit: str) -> tuple[tuple[Point, ...], NDArray[np.float64]]:
    if unit == "token":
        return roles.points, states[:, list(roles.places)]
    known = dict(zip(roles.places, roles.points, strict=True))
    points = [
        Point(word.text, role, all(known[place].known for place in group), True, word.segment, word.start, word.end)
        for word, role, group in zip(roles.tokens.words, roles.roles, roles.words, strict=True)
    ]
    shown: list[tuple[Point, tuple[int, ...]]] = list(zip(points, roles.words, strict=True))
    shown += [(point, (place,)) for place, point in known.items() if point.role == "special"]
    shown.sort(key=lambda one: one[1])
    groups = tuple(group for _, group in shown)
    return tuple(point for point, _ in shown), np.stack([pooled(layer, groups) for layer in states])


def _words(roles: Marked, states: NDArray[np.float64]) -> NDArray[np.float64]:
    groups = tuple(roles.words[number] for number in roles.counted)
    return np.stack([pooled(layer, groups) for layer in states]) if groups else states[:, :0]


def _static(reader: TextModel, roles: Marked) -> NDArray[np.float64]:
    """Returns the vectors of the words counted before any layer has read them, and without their places."""
    with torch.no_grad():
        ids = torch.tensor(roles.tokens.ids, device=reader.device)
        table = reader.embeddings(ids).to("cpu", torch.float64).numpy()
    groups = tuple(roles.words[number] for number in roles.counted)
    return pooled(table, groups) if groups else table[:0]


def _notes(reader: TextModel, roles: Marked, answer: Answer | None, flat: int) -> list[str]:
    notes = []
    if roles.tokens.cut:
        notes.append(f"The text is longer than the model takes: {roles.tokens.cut} tokens at its end were left out.")
    unknown = [point.text for point in roles.points if not point.known]
    if unknown:
        notes.append(
            f"The model's vocabulary lacks {len(unknown)} of {len(roles.points)} tokens ({' '.join(unknown[:5])}): it "
            "reads them all as the same, and their points tell nothing about these words but their place."
        )
    if flat:
        notes.append("At some layers all points are the same: there is nothing to show there.")
    if answer is not None and reader.task != "question-answering":
        notes.append(
            f"This model ({reader.task}) was not tuned to answer questions, and nothing made it pick out an answer: "
            "the last two stages need not show."
        )
    return notes
