"""Class names: what ImageNet's thousand are called, and which class a person means by a word."""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..core.errors import ModelFileError, TargetError, nearest

# The only first lemmas that name two ImageNet classes each. The plain word stays a synonym of both, so that
# asking for 'crane' is an ambiguity to settle and not a coin toss between a bird and a machine.
_DISTINCT = {
    134: "crane (bird)",
    264: "Cardigan Welsh corgi",
    474: "cardigan (jacket)",
    517: "crane (machine)",
    638: "maillot (tights)",
    639: "maillot (swimsuit)",
}
_LISTED = 8


def imagenet_labels() -> tuple[str, ...]:
    """Returns a short, unique name for each of ImageNet-1k's 1000 classes, in index order.

    The name is the class's first WordNet lemma ('tabby', 'espresso'), except for the six classes that share
    theirs with another one. Nothing is downloaded: timm ships the list.
    """
    return _imagenet()[0]


def imagenet_synonyms() -> tuple[tuple[str, ...], ...]:
    """Returns for each ImageNet-1k class everything it may be called: all its lemmas, then its synset id.

    >>> imagenet_synonyms()[281]
    ('tabby', 'tabby cat', 'n02123045')
    """
    return _imagenet()[1]


@functools.cache
def _imagenet() -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    from timm.data import ImageNetInfo  # here: importing timm takes seconds

    info = ImageNetInfo("imagenet-1k")
    names, synonyms = [], []
    for index in range(info.num_classes()):
        lemmas = _split(info.index_to_description(index))
        names.append(_DISTINCT.get(index, lemmas[0]))
        synonyms.append((*lemmas, str(info.index_to_label_name(index))))
    return tuple(names), tuple(synonyms)


def synonyms(labels: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Returns for each label the other names it answers to.

    ImageNet's own labels answer to every lemma and to the synset id; any other label to each of its parts
    between commas ('tabby, tabby cat').
    """
    if len(labels) == 1000 and tuple(labels) == imagenet_labels():
        return imagenet_synonyms()
    return tuple(_split(label) for label in labels)


def find(text: str, labels: Sequence[str] | None) -> int:
    """Returns the index of the one class that `text` means.

    A number is an index. A word is looked for as a whole label, then as a whole synonym, then as whole words
    inside a label or synonym, then as any part of one; upper and lower case, accents' encoding, hyphens and
    underscores make no difference. The first of these that fits anything decides, and must fit one class
    only.

    Raises:
        TargetError: nothing fits (the message offers the nearest names), several classes fit (it lists them
            with their indices), the index is not in the model's range, or the model has no labels.
    """
    wanted = _plain(text)
    if not wanted:
        raise TargetError("target: expected a class name or index, given an empty text; name a class, such as '0'.")
    if re.fullmatch(r"[+-]?\d+", text.strip()):
        return _index(text.strip(), labels)
    if labels is None:
        raise TargetError(
            f"target: expected a class index, given {text!r}, but this model has no labels; "
            "give the class's index, or give labels with the model."
        )
    names = [_plain(label) for label in labels]
    others = [[_plain(other) for other in group] for group in synonyms(labels)]
    whole = re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)")
    tiers: list[Callable[[int], bool]] = [
        lambda index: names[index] == wanted,
        lambda index: wanted in others[index],
        lambda index: any(whole.search(name) for name in (names[index], *others[index])),
        lambda index: any(wanted in name for name in (names[index], *others[index])),
    ]
    for fits in tiers:
        found = [index for index in range(len(names)) if fits(index)]
        if len(found) == 1:
            return found[0]
        if found:
            raise TargetError(_ambiguous(text, found, labels))
    known = dict.fromkeys([*names, *(other for group in others for other in group)])
    raise TargetError(
        f"target: expected one of the model's {len(labels)} class names or an index, given {text!r}, which "
        f"fits none.{nearest(wanted, known)}"
    )


def as_labels(value: object) -> tuple[str, ...]:
    """Returns labels in index order from a list of names, a mapping of index to name, or either as JSON.

    Raises:
        ModelFileError: it is none of these, or the mapping's indices are not 0, 1, 2, ...
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ModelFileError(_no_labels(value)) from None
    if isinstance(value, Mapping):
        try:
            by_index = {int(index): name for index, name in value.items()}
        except (TypeError, ValueError):
            raise ModelFileError(_no_labels(value)) from None
        if len(by_index) < len(value) or sorted(by_index) != list(range(len(by_index))):
            raise ModelFileError(_no_labels(value))
        value = [by_index[index] for index in range(len(by_index))]
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(name, str) for name in value):
        raise ModelFileError(_no_labels(value))
    return tuple(value)


def _index(text: str, labels: Sequence[str] | None) -> int:
    """Returns the index that a number means; a label that is itself that number must not contradict it."""
    index = int(text)
    named = [] if labels is None else [place for place, label in enumerate(labels) if label.strip() == text]
    inside = index >= 0 and (labels is None or index < len(labels))
    if inside and named in ([], [index]):
        return index
    if not inside and len(named) == 1:
        return named[0]
    if labels is not None and named:
        candidates = sorted({*named, *([index] if inside else [])})
        raise TargetError(_ambiguous(text, candidates, labels) + " Rename the labels that are numbers.")
    limit = "0 or above" if labels is None else f"from 0 to {len(labels) - 1}"
    raise TargetError(f"target: expected a class index {limit}, given {text}; name the class you mean.")


def _ambiguous(text: str, found: Iterable[int], labels: Sequence[str]) -> str:
    candidates = list(found)
    listed = ", ".join(f"{index} {labels[index]!r}" for index in candidates[:_LISTED])
    rest = f" and {len(candidates) - _LISTED} more" if len(candidates) > _LISTED else ""
    return (
        f"target: expected the name of one class, given {text!r}, which fits {len(candidates)}: "
        f"{listed}{rest}; give the whole name or the index."
    )


def _no_labels(value: object) -> str:
    given = repr(value)
    given = given if len(given) <= 60 else given[:57] + "..."
    return (
        "labels: expected a list of class names in index order, or a mapping from 0, 1, 2, ... to names, "
        f"given {type(value).__name__} {given}; list one name for each class."
    )


def _plain(text: str) -> str:
    """Returns the text as it is compared: one case, one encoding, hyphens and underscores as spaces."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()


def _split(description: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in description.split(",") if part.strip())
