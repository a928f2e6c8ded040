"""The four stages of reading that one looks for in a model's layers, each as a number beside what chance makes of it.

All are measured on words (the mean of a word's tokens; punctuation and special tokens left out), in all dimensions of
the layer and not on the two of the page. Three are probabilities that what belongs together lies nearer than what does
not, so that no layer's scale plays a part: ½ by chance, 1 if always. With 20 to 100 words each rests on some hundred
comparisons or more; how sure that makes it, the comparison with shuffled words says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..core.embeddings import Level, Stage
from ..ops.arrangement import (
    Marks,
    farther_shares,
    pair_nearness,
    separation,
    stratified_nearness,
    subset_nearness,
)
from ..ops.distances import Array, Distance, cosine_similarities, directions, distances
from ..ops.permutation import Compared, compared, shifted_subsets, shuffled_orders, shuffled_subsets
from .marking import Marked
from .sentences import parts_of

CERTAIN = 0.05
"""A stage is seen if chance does as well, at any layer, in no more than this share of cases."""
FEWEST = 5
"""Words below which nothing is measured."""
REACH = 6
"""Places in the text over which words of a sentence are compared with words beyond its end."""
_APART = 2.0
"""Standard deviations above the mean of all pairs that two words' static vectors must be alike."""

MEANING = Stage(
    "meaning",
    "similar words cluster",
    "How often a similar word lies nearer to a word than a dissimilar one. Similar: the same word again (whatever its "
    "case), or each other's most similar in the static embedding layer (cosine, two standard deviations above the mean "
    "of all pairs). Every word type counts once. ½ by chance, 1 if always. Equal words enter as equal vectors, so that "
    "even an untrained network shows this: what tells is how it changes from layer to layer.",
    "the words' vectors change places",
)
RELATION = Stage(
    "relation",
    "words of one {part} draw together",
    f"How often two words of one {{part}} lie nearer than two words with its end between them that stand equally far "
    f"apart in the text (1 to {REACH} places). ½ by chance, 1 if always. A stand-in for relations of meaning, which "
    "no one has marked.",
    "the words' vectors change places",
)
MATCHING = Stage(
    "matching",
    "the question meets the answer",
    "How often a word of the answer lies nearer to a word of the question than another word of the context does. ½ by "
    "chance, 1 if always.",
    "other words of the context are taken for the answer",
)
ANSWER = Stage(
    "answer",
    "the answer stands apart",
    "How far the mean of the answer's words is from the mean of all other words, in units of their spread (the root of "
    "their mean squared distance from that mean). About 1 over the root of the number of words by chance.",
    "other words of the context are taken for the answer",
)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What the stages are measured on.

    words: (L, n, D), the vectors of the n words counted. static: (n, D'), their vectors before any layer.
    """

    marked: Marked
    words: Array
    static: Array
    layers: tuple[int, ...]
    distance: Distance
    draws: int
    seed: int


def stages(reading: Reading) -> tuple[Stage, ...]:
    """Returns the four stages, measured at each layer where the text allows it; the others say why not."""
    if len(reading.marked.counted) < FEWEST:
        why = f"Not measured: the text has {len(reading.marked.counted)} words, and {FEWEST} are needed."
        return tuple(replace(one, verdict=why) for one in (MEANING, _named("sentence"), MATCHING, ANSWER))
    squares = [distances(layer, reading.distance) for layer in reading.words]
    orders = shuffled_orders(len(reading.marked.counted), reading.draws, "words", reading.seed)
    return (
        _meaning(reading, squares, orders),
        _relation(reading, squares, orders),
        _matching(reading, squares),
        _answer(reading),
    )


def _meaning(reading: Reading, squares: Sequence[Array], orders: np.ndarray) -> Stage:
    partners, weights = similar_words(reading)
    if not partners.any():
        return replace(MEANING, verdict="Not measured: no word comes twice, and no two are similar.")
    values = np.stack([pair_nearness(farther_shares(square), partners, weights, orders) for square in squares])
    return _judged(MEANING, reading, compared(values))


def similar_words(reading: Reading) -> tuple[Marks, Array]:
    """Returns which words are similar, (n, n), and how much each counts, so that every type counts once."""
    marked = reading.marked
    names = [marked.tokens.words[number].text.casefold() for number in marked.counted]
    known = [
        all(marked.tokens.ids[place] != marked.unknown_id for place in marked.words[number])
        for number in marked.counted
    ]
    types = {name: place for place, name in reversed(list(enumerate(names)))}
    order = np.array([list(types).index(name) for name in names])
    alike = np.eye(len(types), dtype=bool)
    own = [place for place in types.values() if known[place]]
    if len(own) >= FEWEST:
        near = np.nan_to_num(cosine_similarities(reading.static[own]), nan=-1.0)  # zeros are like nothing
        np.fill_diagonal(near, -np.inf)
        pairs = near[np.triu_indices(len(own), 1)]
        best = near.argmax(1)
        mutual = best[best] == np.arange(len(own))
        strong = near.max(1) > pairs.mean() + _APART * pairs.std()
        where = [order[place] for place in own]
        for one in np.flatnonzero(mutual & strong):
            alike[where[one], where[best[one]]] = True
    partners: Marks = alike[order[:, None], order[None]]
    np.fill_diagonal(partners, False)
    return partners, 1.0 / np.bincount(order)[order]


def _relation(reading: Reading, squares: Sequence[Array], orders: np.ndarray) -> Stage:
    marked = reading.marked
    numbers, part = parts_of(marked.tokens.texts, marked.tokens.words)
    if not part:
        return replace(_named("sentence"), verdict="Not measured: the text is one sentence without clauses.")
    stage = _named(part)
    counted = marked.counted
    segments = [marked.tokens.words[number].segment for number in counted]
    pairs, near, apart = [], [], []
    for one in range(len(counted)):
        for two in range(one + 1, len(counted)):
            offset = counted[two] - counted[one]
            if offset <= REACH and segments[one] == segments[two]:
                pairs.append((one, two))
                near.append(numbers[counted[one]] == numbers[counted[two]])
                apart.append(offset)
    marks = np.array(near, dtype=bool)
    values = np.stack(
        [stratified_nearness(square, np.array(pairs), marks, np.array(apart), orders) for square in squares]
    )
    if np.isnan(values).any():
        return replace(stage, verdict=f"Not measured: the {part}s are too short to compare words of one with the next.")
    return _judged(stage, reading, compared(values))


def _matching(reading: Reading, squares: Sequence[Array]) -> Stage:
    marked = reading.marked
    segments = np.array([marked.tokens.words[number].segment for number in marked.counted])
    asked, told = np.flatnonzero(segments == 0), np.flatnonzero(segments == 1)
    answer = np.array([marked.roles[number] == "answer" for number in marked.counted])[told]
    if not len(asked) or not len(told):
        return replace(MATCHING, verdict="Not measured: it needs a question and a context.")
    if not answer.any() or answer.all():
        return replace(MATCHING, verdict=_no_answer(bool(answer.any())))
    subsets = shuffled_subsets(answer, reading.draws, "answer", reading.seed)
    runs = shifted_subsets(answer)
    across = [square[np.ix_(asked, told)] for square in squares]
    values, others = (np.stack([subset_nearness(square, chosen) for square in across]) for chosen in (subsets, runs))
    return _judged(MATCHING, reading, compared(values, _repeats(subsets)), others)


def _answer(reading: Reading) -> Stage:
    marked = reading.marked
    answer = np.array([marked.roles[number] == "answer" for number in marked.counted])
    segments = np.array([marked.tokens.words[number].segment for number in marked.counted])
    own = segments == segments.max()  # the answer stands in the last text
    if not answer.any() or answer[own].all():
        return replace(ANSWER, verdict=_no_answer(bool(answer.any())))

    def whole(subsets: Marks) -> Marks:
        wide = np.zeros((len(subsets), len(answer)), dtype=bool)
        wide[:, own] = subsets
        return wide

    subsets = whole(shuffled_subsets(answer[own], reading.draws, "answer", reading.seed))
    runs = whole(shifted_subsets(answer[own]))
    points = [directions(layer) if reading.distance == "cosine" else layer for layer in reading.words]
    values, others = (np.stack([separation(layer, chosen) for layer in points]) for chosen in (subsets, runs))
    return _judged(ANSWER, reading, compared(values, _repeats(subsets)), others)


def _repeats(subsets: Marks) -> Marks:
    """Returns which of the shuffled subsets are the first one again."""
    return np.asarray((subsets[1:] == subsets[0]).all(1))


def _no_answer(whole: bool) -> str:
    if whole:
        return "Not measured: the answer is the whole context."
    return "Not measured: no answer is marked, or it is punctuation; give answer=."


def _named(part: str) -> Stage:
    return replace(RELATION, title=RELATION.title.format(part=part), measure=RELATION.measure.format(part=part))


def _judged(stage: Stage, reading: Reading, found: Compared, runs: Array | None = None) -> Stage:
    """Returns the stage with its numbers and the verdict; runs: values of the answer and of other runs as long."""
    levels = tuple(
        Level(layer, *(float(part[place]) for part in (found.value, found.mean, found.low, found.high, found.p)))
        for place, layer in enumerate(reading.layers)
    )
    best = levels[found.best]
    spans = 0 if runs is None else runs.shape[1] - 1
    spans_p = compared(runs).anywhere if runs is not None and spans else None
    held = replace(stage, levels=levels, best=best.layer, p=found.anywhere, spans=spans, spans_p=spans_p)
    shown, words = _verdict(held, best)
    return replace(held, shown=shown, verdict=words)


def _verdict(stage: Stage, best: Level) -> tuple[bool, str]:
    p, runs, share = stage.p or 0.0, stage.spans + 1, stage.spans_p
    most = (
        f"most at layer {best.layer}: {best.value:.2f}, by chance {best.mean:.2f} ({best.low:.2f} to {best.high:.2f})"
    )
    if p > CERTAIN:
        return False, f"Not seen: shuffled words do as well at some layer in {p:.0%} of cases; {most}."
    if share is None:
        return True, f"Seen, {most}; p = {p:.2g} over all layers."
    # In a short context even the first of all runs is no rarer than one in their number.
    if share > max(CERTAIN, 1.0 / runs + 1e-9):
        return False, (
            f"Not seen: beyond shuffled words, but so are others of the {runs} runs of words as long as the answer "
            f"({share:.0%} do as well); {most}."
        )
    return (
        True,
        f"Seen, {most}; p = {p:.2g} over all layers, and {share:.0%} of the context's {runs} runs as long do as well.",
    )
