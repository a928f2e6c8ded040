"""The atlas of a layer: one HTML page that needs no network, sorted and searched by channel and by class."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from ..core.filters import Excerpt, Filter, Filters, Picture
from .filter_sheet import channel_scale, colour_words, map_picture
from .layers import data_uri
from .pages import environment, script_data, script_hash, source
from .wording import file_name, number, plain, provenance_facts

MOST_BYTES = 17_000_000
"""Characters that pictures may take in the page; those of weaker pictures are left out beyond."""
_QUALITY = 78
_VOICES, _AGAINST, _PER_CLASS = 6, 3, 16
_EXACT, _MAP = 40, 72  # pixels: crops smaller than this stay exact (PNG); the longest side of a map
_FRAME_HEIGHT = 760


@dataclass(slots=True)
class Pictures:
    """The page's pictures, each once; `add` answers with its number, or -1 where there is no room left."""

    uris: list[str] = field(default_factory=list)
    known: dict[int, tuple[Picture, int]] = field(default_factory=dict)
    size: int = 0
    left_out: int = 0

    def add(self, picture: Picture, *, exact: bool = False) -> int:
        """Returns the picture's number; exact: as PNG, whatever its size."""
        if id(picture) in self.known:
            return self.known[id(picture)][1]
        uri, place = small_uri(picture, exact=exact), -1
        if self.size + len(uri) > MOST_BYTES:
            self.left_out += 1
        else:
            self.size += len(uri)
            self.uris.append(uri)
            place = len(self.uris) - 1
        self.known[id(picture)] = (picture, place)  # held, or another would get its id
        return place


def small_uri(picture: Picture, *, exact: bool = False) -> str:
    """Returns a small picture as a `data:` address: JPEG, or PNG where there are few pixels or it must be exact."""
    buffer = io.BytesIO()
    small = Image.fromarray(picture)
    if exact or max(small.size) < _EXACT:
        small.save(buffer, format="PNG", optimize=True)
        return data_uri(buffer.getvalue(), "image/png")
    small.save(buffer, format="JPEG", quality=_QUALITY, optimize=True)
    return data_uri(buffer.getvalue(), "image/jpeg")


def filters_page(found: Filters, *, embedded: bool = False) -> str:
    """Returns one self-contained HTML page."""
    script = source("filters.js")
    data, left_out = atlas_data(found)
    notes = list(found.notes)
    if left_out:
        notes.append(
            f"{left_out} pictures are left out, so that the page stays below 20 MB: those that excite a channel less. "
            "Ask for fewer channels, or a smaller top, to have them all."
        )
    dead = sum(one.state == "dead" for one in found.filters)
    constant = sum(one.state == "constant" for one in found.filters)
    return (
        environment()
        .get_template("filters.html.j2")
        .render(
            title=f"Filters of {plain(found.layer)}",
            embedded=embedded,
            lead=_lead(found),
            facts=_facts(found, (dead, constant)),
            example=None if found.example.view is None else small_uri(_shrunk(found.example.view)),
            picture=file_name(found.example.picture),
            colours=colour_words(found),
            speaks=found.speech is not None,
            mapped=found.mapped,
            notes=tuple(map(plain, notes)),
            failures=[(plain(name), plain(why)) for name, why in found.failures],
            provenance=provenance_facts(found.provenance),
            data=script_data(data),
            style=Markup(source("leaderboard.css") + source("filters.css")),
            script=Markup(script),
            script_hash=script_hash(script),
        )
    )


def filters_html(found: Filters) -> str:
    """Returns the atlas for notebooks, in a sandboxed frame so that neither's style leaks into the other."""
    page = html.escape(filters_page(found, embedded=True), quote=True)
    return (
        f'<iframe title="Filters" sandbox="allow-scripts" srcdoc="{page}" '
        f'style="width:100%;height:{_FRAME_HEIGHT}px;border:0;resize:vertical;overflow:auto"></iframe>'
    )


def atlas_data(found: Filters) -> tuple[dict[str, Any], int]:
    """Returns what the page's script reads, and how many pictures found no room.

    Pictures enter by rank, so that room is left out of the weakest. A number of a picture or name is an index.
    """
    pictures, names = Pictures(), _Names()
    side = min(max(found.example.maps.shape[1:]), _MAP)  # a pixel a cell; the page draws them large
    maps = [pictures.add(map_picture(found, place, side), exact=True) for place in range(len(found))]
    kept = [pictures.add(one.image) if one.image is not None else -1 for one in found.filters]
    for by in (_most_by_maximum, _most_by_mean, _least_by_maximum, _least_by_mean):
        ranked = [by(one) for one in found.filters]
        for rank in range(max(map(len, ranked), default=0)):
            for row in ranked:
                if rank < len(row) and row[rank].crop is not None:
                    pictures.add(row[rank].crop)  # type: ignore[arg-type]
    filters = [
        _entry(found, place, pictures, names) | {"map": maps[place], "image": kept[place]}
        for place in range(len(found))
    ]
    data = {"filters": filters, "classes": _classes(found), "names": names.listed, "pictures": pictures.uris}
    return data, pictures.left_out


@dataclass(slots=True)
class _Names:
    listed: list[str] = field(default_factory=list)
    known: dict[str, int] = field(default_factory=dict)

    def add(self, name: str) -> int:
        if name not in self.known:
            self.known[name] = len(self.listed)
            self.listed.append(plain(name))
        return self.known[name]


def _most_by_maximum(one: Filter) -> Sequence[Excerpt]:
    return one.by_maximum.most


def _most_by_mean(one: Filter) -> Sequence[Excerpt]:
    return one.by_mean.most


def _least_by_maximum(one: Filter) -> Sequence[Excerpt]:
    return one.by_maximum.least


def _least_by_mean(one: Filter) -> Sequence[Excerpt]:
    return one.by_mean.least


def _entry(found: Filters, place: int, pictures: Pictures, names: _Names) -> dict[str, Any]:
    one, numbers = found.filters[place], found.filters[place].statistics

    def excerpt(item: Excerpt, value: float) -> list[Any]:
        crop = -1 if item.crop is None else pictures.add(item.crop)
        mark = None if item.mark is None else [round(share, 3) for share in item.mark]
        return [crop, names.add(item.picture), number(value), mark, item.box]

    lists = {
        name: [excerpt(item, item.maximum if name.startswith("max") else item.mean) for item in rows]
        for name, rows in (
            ("max-most", one.by_maximum.most),
            ("max-least", one.by_maximum.least),
            ("mean-most", one.by_mean.most),
            ("mean-least", one.by_mean.least),
        )
    }
    speech, example = found.speech, found.example
    share = None if example.contributions is None else float(example.contributions[place])
    voices = speech.voices(place, _VOICES) if speech is not None else ()
    against = speech.voices(place, _AGAINST, against=True) if speech is not None else ()
    return {
        "channel": one.index,
        "state": one.state,
        "driven": None if one.driven is None else number(one.driven),
        "words": [number(value) for value in (numbers.mean, numbers.maximum, numbers.low, numbers.high)],
        "high": float(numbers.high),
        "active": round(numbers.active, 4),
        "here": float(example.maximum[place]),
        "full": number(channel_scale(found, place).high),
        "share": None if share is None else [number(share), share],
        "voices": [[voice.index, number(voice.weight), number(voice.contribution)] for voice in (*voices, *against)],
        "lists": lists,
    }


def _classes(found: Filters) -> list[list[Any]]:
    """Returns for each class its label and the channels with the largest weights for it, as (place, weight)."""
    speech = found.speech
    if speech is None:
        return []
    best = np.argsort(-speech.weights, axis=1, kind="stable")[:, :_PER_CLASS]
    return [
        [plain(label), [[int(place), float(f"{speech.weights[row, place]:.4g}")] for place in best[row]]]
        for row, label in enumerate(speech.labels)
    ]


def _lead(found: Filters) -> str:
    many = "picture" if found.pictures == 1 else "pictures"
    size = " x ".join(map(str, found.size))
    return f"{plain(found.model)} · {len(found)} of {found.channels} channels · output {size} · {found.pictures} {many}"


def _facts(found: Filters, counts: tuple[int, int]) -> list[tuple[str, str]]:
    speech = found.speech
    spoken = found.silence
    if speech is not None:
        how = {"none": "as it is", "average": "averaged over its places", "maximum": "by its maximum"}
        spoken = (
            f"The layer, {how.get(speech.pooling, 'summed over its places')}, is all that the last linear layer "
            f"{plain(speech.head)!r} gets: proved by doing the sum. Score of a class = sum of weight times pooled "
            "value, plus a bias. Beside each class stand the weight and weight times the channel's mean pooled value."
        )
        if not speech.head:
            spoken = "The layer's channels, pooled, are the classes themselves."
    crops = plain(found.receptive_words)
    flagged = f"{counts[0]} are 0 at every place of every picture (dead), {counts[1]} never change (constant)."
    return [("Crops", crops), ("Classes", plain(spoken)), ("Flagged channels", flagged)]


def _shrunk(view: Picture) -> Picture:
    image = Image.fromarray(view)
    image.thumbnail((224, 224))
    return np.asarray(image)
