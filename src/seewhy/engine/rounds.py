"""One round: groups pending queries by equal rows, and packs what can go through the model together."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..core import tree
from ..core.query import Chunk, Query, Record
from ..core.rows import Rows
from ..core.targets import Target

Signature: TypeAlias = "tuple[tuple[str, tuple[int, ...], str], ...]"
"""Paths, row shapes and dtypes of the inputs, as `tree.signature` gives them."""


@dataclass(slots=True)
class Asker:
    """One query on its way to a reply."""

    flow: Hashable
    place: int
    query: Query[Any]
    state: Any = None
    error: BaseException | None = None
    answered: int = 0

    @property
    def complete(self) -> bool:
        """True once all rows of the answer are there."""
        return self.answered == self.query.rows.count

    def add(self, rows: slice, chunk: Chunk) -> None:
        """Folds a piece of the answer; an error in the fold stays with this query."""
        self.answered += rows.stop - rows.start
        if self.error is not None:
            return
        try:
            self.state = self.query.fold.add(self.state, rows, chunk)
        except Exception as error:
            self.error = error


@dataclass(slots=True)
class Group:
    """Queries about the same rows, entered and viewed alike: their passes are shared."""

    rows: Rows
    view: str | None
    askers: list[Asker] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    record: Record = field(default_factory=Record)

    def join(self, asker: Asker) -> None:
        """Adds a query, its target and what it records."""
        self.askers.append(asker)
        self.record = self.record | asker.query.record
        target = asker.query.target
        if target is not None and target not in self.targets:
            self.targets.append(target)

    @property
    def alive(self) -> bool:
        """False once every query of the group has failed."""
        return any(asker.error is None for asker in self.askers)

    def dissolve(self) -> list[Group]:
        """Returns a group for each kind of query that has not failed, if there are several, and empties this one.

        What fails in a shared pass may be the fault of one query: its layer, its target, its gradient.
        """
        kinds: dict[Hashable, Group] = {}
        for asker in self.askers:
            if asker.error is None:
                kind = (asker.query.record, asker.query.target)
                kinds.setdefault(kind, Group(self.rows, self.view)).join(asker)
        if len(kinds) < 2:
            return []
        self.askers.clear()
        return list(kinds.values())

    def fail(self, error: BaseException) -> None:
        """Gives the error to every query that has none yet."""
        for asker in self.askers:
            asker.error = asker.error or error


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive rows of one group inside a batch."""

    group: Group
    start: int
    stop: int

    @property
    def rows(self) -> slice:
        """The rows as a slice of the group's rows."""
        return slice(self.start, self.stop)

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class LotKey:
    """Groups with equal keys can stand in one batch."""

    signature: Signature
    leaves: tuple[str, ...]
    entry: str | None
    view: str | None
    record: Record
    targets: int
    constants: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def of(group: Group, signature: Signature, constants: tuple[tuple[str, str], ...] = ()) -> LotKey:
        """Returns the key of a group whose rows have this signature, and these values that are no tensors."""
        rows = group.rows
        return LotKey(signature, rows.leaves, rows.entry, group.view, group.record, len(group.targets), constants)


@dataclass(slots=True)
class Lot:
    """Groups that are packed into common batches, row after row."""

    key: LotKey
    groups: list[Group] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """All rows of the lot."""
        return sum(group.rows.count for group in self.groups)


def group_queries(askers: Sequence[Asker]) -> list[Group]:
    """Returns groups of queries whose rows are equal by key."""
    groups: dict[Hashable, Group] = {}
    for index, asker in enumerate(askers):
        query = asker.query
        own = query.rows.key if query.rows.key is not None else ("alone", index)
        key = (own, query.rows.entry, query.rows.leaves, query.view)
        groups.setdefault(key, Group(query.rows, query.view)).join(asker)
    return list(groups.values())


def pack(groups: Sequence[Group]) -> list[Lot]:
    """Returns lots of groups that agree in all that a batch must have in common."""
    lots: dict[LotKey, Lot] = {}
    for group in groups:
        try:
            first = group.rows.build(slice(0, 1)) if group.rows.count else ()
            signature, constants = tree.signature(first), tree.constants(first)
        except Exception as error:
            group.fail(error)
            continue
        key = LotKey.of(group, signature, constants)
        lots.setdefault(key, Lot(key)).groups.append(group)
    return list(lots.values())


def verify_sharing(groups: Sequence[Group]) -> None:
    """Raises AssertionError if rows that share a key are not equal by content."""
    for group in groups:
        digests = {_digest(asker.query.rows) for asker in group.askers}
        assert len(digests) == 1, f"rows with the key {group.rows.key!r} differ between queries"


def _digest(rows: Rows) -> str:
    content = hashlib.blake2b(str(rows.count).encode())
    for path, leaf in tree.leaves(rows.build(slice(0, rows.count))).items():
        content.update(path.encode())
        content.update(leaf.detach().cpu().double().numpy().tobytes())
    return content.hexdigest()


def segments(lot: Lot) -> Iterator[Segment]:
    """Yields each group whole."""
    for group in lot.groups:
        yield Segment(group, 0, group.rows.count)


def split(parts: Sequence[Segment], rows: int) -> tuple[list[Segment], list[Segment]]:
    """Returns the first `rows` rows of the segments, and the rest."""
    head: list[Segment] = []
    tail: list[Segment] = []
    for part in parts:
        room = rows - sum(map(len, head))
        if len(part) <= room:
            head.append(part)
        elif room > 0 and not tail:
            head.append(Segment(part.group, part.start, part.start + room))
            tail.append(Segment(part.group, part.start + room, part.stop))
        else:
            tail.append(part)
    return head, tail
