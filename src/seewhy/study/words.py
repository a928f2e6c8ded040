"""`word_in_context`: one word in many sentences, how far apart its embeddings lie, and whether its senses separate."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from ..core.errors import InputError, InputTypeError, NotFiniteError, SettingError
from ..core.tokens import TokenizedText
from ..core.words import Separation, Use, WordInContext
from ..models.model import Model
from ..models.text_models import TextModel
from ..ops.distances import Array, cosine_similarities, euclidean_distances
from ..ops.groups import cohesion, group_numbers, silhouettes
from ..ops.permutation import compared, shuffled_orders
from ..text.subjects import chosen_layers, text_reader
from ..text.uses import AnyWord, located, use_of, words_wanted
from .attribute import check_seed
from .embeddings import PERMUTATIONS
from .provenance import versions

_ORDERED = 200
"""Sentences up to which neighbours in the tree's order are made as near as they can be; beyond that it takes long."""


def word_in_context(  # noqa: PLR0913 - the front door: each of these is a question of its own
    model: Model | str,
    sentences: Sequence[str],
    word: AnyWord | Sequence[AnyWord],
    *,
    labels: Sequence[Hashable] | None = None,
    layers: int | Sequence[int] | None = None,
    pooling: str = "mean",
    truncate: bool = False,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> WordInContext:
    """Returns how alike a word's contextual embeddings in several sentences are, at each layer of a text model.

    word: by its text, whatever its case (the first place where it stands; a Chinese word is a sequence of characters),
        or by its number among the words of a sentence, counted from 0; one for all sentences, or one for each.
    labels: the sense that the word has in each sentence, to see whether senses separate.
    layers: their numbers, from the end where negative; None takes all, from 0, the embedding layer.
    pooling: what stands for a word of several tokens: their "mean", or the "first" or "last" of them.
    truncate: leave out what is beyond the model's limit, and say so, instead of raising an error.
    permutations: shufflings of the labels that the margin is compared with.

    distance is Euclidean and similarity the cosine, between every two sentences. Sentences are ordered by average
    linkage over the distances, neighbours as near as the tree allows. With labels, `separation` has for each layer the
    mean similarity within senses and across them, their difference (the margin) beside that of shuffled labels, and
    the mean silhouette.

    Raises InputError for fewer than two sentences or one that is too long; UnknownNameError where a sentence does not
    hold the word; LayerError, SettingError, UnsupportedModelError.
    """
    given = _checked(sentences)
    wanted = words_wanted(word, len(given))
    senses = _senses(labels, len(given))
    _check_settings(pooling, permutations, check_seed(seed))
    reader = text_reader(model)
    tokenised = [reader.tokenise(sentence, truncate=truncate) for sentence in given]
    uses, places, notes = _uses(reader, tokenised, wanted, senses)
    states = reader.hidden_states(tokenised)
    chosen = chosen_layers(layers, len(states[0]), 0)
    vectors = np.stack(
        [_pooled(own[list(chosen)][:, where], pooling) for own, where in zip(states, places, strict=True)], axis=1
    )
    if not np.isfinite(vectors).all():
        raise NotFiniteError(f"{reader.name}: the word's hidden states are NaN or infinite in some sentence.")
    distance = np.stack([euclidean_distances(layer) for layer in vectors])
    similarity = np.stack([cosine_similarities(layer) for layer in vectors])
    separation = _separation(distance, similarity, senses, chosen, (permutations, seed))
    return WordInContext(
        model=reader.name,
        word=word if isinstance(word, str) else uses[0].word,
        uses=tuple(uses),
        layers=chosen,
        vectors=vectors.astype(np.float32),
        distance=distance,
        similarity=similarity,
        orders=np.stack([_order(layer) for layer in distance]),
        separation=separation,
        pooling=pooling,
        notes=tuple(notes + _warnings(senses, separation, distance)),
        provenance={
            "model": reader.name,
            "pooling": pooling,
            "permutations": permutations,
            "seed": seed,
            "versions": dict(versions()),
        },
    )


def _checked(sentences: Sequence[str]) -> list[str]:
    if isinstance(sentences, str):
        raise InputTypeError("sentences takes a list of texts, each with the word in it; given one text.")
    given = list(sentences)
    if len(given) < 2:
        raise InputError(f"A word is compared between two sentences or more; given {len(given)}.")
    return given


def _senses(labels: Sequence[Hashable] | None, count: int) -> tuple[str, ...]:
    if labels is None:
        return ()
    given = list(labels)
    if isinstance(labels, str) or len(given) != count:
        raise SettingError(f"labels takes one for each of the {count} sentences; given {len(given)}.")
    empty = [number for number, label in enumerate(given) if label is None or not str(label).strip()]
    if empty:
        raise SettingError(f"labels names the sense of every sentence; that of sentence {empty[0] + 1} is empty.")
    return tuple(str(label) for label in given)


def _check_settings(pooling: str, permutations: int, seed: int) -> None:
    if pooling not in ("mean", "first", "last"):
        raise SettingError(f"pooling is 'mean', 'first' or 'last'; given {pooling!r}.")
    if isinstance(permutations, bool) or not isinstance(permutations, int) or permutations < 20:
        raise SettingError(
            f"permutations must be a whole number of 20 or more, or no middle 95% can be told; given {permutations!r}."
        )


def _uses(
    reader: TextModel, tokenised: Sequence[TokenizedText], wanted: Sequence[AnyWord], senses: Sequence[str]
) -> tuple[list[Use], list[list[int]], list[str]]:
    """Returns the word's use in each sentence, the places of its tokens, and what is to be said about them."""
    uses, places, notes = [], [], []
    for number, (tokens, word) in enumerate(zip(tokenised, wanted, strict=True)):
        span, times = located(tokens, word, number)
        use, own = use_of(tokens, span, reader.tokenizer.unk_token_id, senses[number] if senses else "")
        uses.append(use)
        places.append(own)
        if times > 1:
            notes.append(
                f"Sentence {number + 1} holds {word!r} {times} times; the first is taken. Give the number of another."
            )
        if tokens.cut:
            notes.append(f"Sentence {number + 1} is longer than the model takes: {tokens.cut} tokens were left out.")
    unknown = sum(not use.known for use in uses)
    if unknown:
        notes.append(
            f"In {unknown} sentences the model's vocabulary lacks parts of the word: it is read as a token that stands "
            "for everything unknown, so that only its context tells uses apart."
        )
    return uses, places, notes


def _pooled(states: torch.Tensor, pooling: str) -> NDArray[np.float64]:
    """Returns (L, D) of the states of a word's tokens, (L, tokens, D)."""
    taken = states.to(torch.float64)
    chosen = taken.mean(1) if pooling == "mean" else taken[:, 0 if pooling == "first" else -1]
    found: NDArray[np.float64] = chosen.numpy()
    return found


def _order(distance: Array) -> NDArray[np.int64]:
    condensed = squareform(distance, checks=False)
    tree = linkage(condensed, "average", optimal_ordering=len(distance) <= _ORDERED)
    return np.asarray(leaves_list(tree), dtype=np.int64)


def _separation(
    distance: Array, similarity: Array, senses: Sequence[str], layers: Sequence[int], drawn: tuple[int, int]
) -> tuple[Separation, ...]:
    if len(set(senses)) < 2:
        return ()
    numbers = group_numbers(senses)
    shuffled = numbers[shuffled_orders(len(numbers), drawn[0], "senses", drawn[1])]
    found = compared(np.stack([_margins(layer, shuffled) for layer in similarity]))
    chance = (found.mean, found.low, found.high, found.p)
    rows = []
    for place, layer in enumerate(layers):
        parts = cohesion(similarity[place], senses)
        rows.append(
            Separation(
                layer,
                parts.within,
                parts.across,
                parts.margin,
                float(silhouettes(distance[place], senses).mean()),
                *(float(part[place]) if np.isfinite(found.value[place]) else math.nan for part in chance),
            )
        )
    return tuple(rows)


def _margins(similarity: Array, shuffled: NDArray[np.int64]) -> Array:
    """Returns the margin for each labelling, (K,), as `cohesion` has it for one."""
    rows, columns = np.nonzero(np.triu(np.isfinite(similarity), 1))
    values = similarity[rows, columns]
    same = shuffled[:, rows] == shuffled[:, columns]
    within, total = same @ values, values.sum()
    counts = same.sum(1)
    with np.errstate(invalid="ignore"):
        found: Array = within / counts - (total - within) / (len(values) - counts)
    return found


def _warnings(senses: Sequence[str], separation: Sequence[Separation], distance: Array) -> list[str]:
    notes = []
    if senses and not separation:
        notes.append("All labels are the same: there are no senses to tell apart.")
    if separation and np.isnan(separation[0].margin):
        notes.append("No two sentences share a label, so that there is no similarity within a sense.")
    if not distance.any(axis=(1, 2)).all():
        notes.append("At some layers the word's embeddings are the same in all sentences.")
    return notes
