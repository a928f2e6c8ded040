"""Controls: maps that never saw the network, as methods, so that a leaderboard shows what they get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..core.attribution import Attribution
from ..core.method import Method, MethodInfo
from ..core.queries import anchor
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Target
from ..methods.common import attribution
from ..ops.chance import centre_map, edge_map, random_smooth_maps
from ..ops.segments import spatial

FAMILY = "control"


def _info(name: str, title: str, stochastic: bool = False) -> MethodInfo:
    return MethodInfo(
        name=name,
        family=FAMILY,
        title=title,
        reduce="none",
        signed=False,
        units="",
        needs=frozenset(),
        cost="1 forward (to know the target)",
        reference="",
        stochastic=stochastic,
        avoid="A yardstick for other maps, no explanation.",
    )


class _Control(Method):
    """A map that is made of the input alone, or of nothing."""

    __slots__ = ()

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields the input, to know what is explained, and returns the map."""
        scored = yield from anchor(case, target)
        maps = tuple(self._map(case, place, leaf) for place, leaf in enumerate(case.x))
        return attribution(self, case, maps, scored)

    def _map(self, case: Case, place: int, leaf: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class RandomMap(_Control):
    """A random smooth map, another for each picture and seed."""

    info: ClassVar[MethodInfo] = _info("random", "Random map", stochastic=True)

    def _map(self, case: Case, place: int, leaf: Tensor) -> Tensor:
        return random_smooth_maps(spatial(leaf), 1, case.seed, f"{case.id} {place}" if place else case.id)


@dataclass(frozen=True, slots=True)
class CentreMap(_Control):
    """A bump in the middle, the same for all pictures."""

    info: ClassVar[MethodInfo] = _info("centre", "Centre of the picture")

    def _map(self, case: Case, place: int, leaf: Tensor) -> Tensor:
        return centre_map(spatial(leaf))[None]


@dataclass(frozen=True, slots=True)
class EdgeMap(_Control):
    """The picture's edges."""

    info: ClassVar[MethodInfo] = _info("edges", "Edges of the picture")

    def _map(self, case: Case, place: int, leaf: Tensor) -> Tensor:
        return edge_map(leaf)


CONTROLS: tuple[type[Method], ...] = (RandomMap, CentreMap, EdgeMap)
