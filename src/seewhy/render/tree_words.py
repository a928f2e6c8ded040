"""What figures and pages say about a tree and a decision in it, so that both say the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..core.attribution import Attribution
from ..core.decisions import WALKS, Decision, TreeReading, Walk
from ..core.errors import SeewhyError
from ..core.hierarchy import Tree
from .panels import Ground, Panel, attribution_panels, ground_of
from .scales import Scale, scale_for
from .wording import error_text, plain, shorten

WALK_ORDER: tuple[Walk, ...] = ("soft", "hard", "network")


def percent(share: float) -> str:
    """Returns a probability in words: two digits behind the point, and never 0 or 100 % for what is neither."""
    if share <= 0:
        return "0%"
    if share >= 1:
        return "100%"
    if share < 0.0001:
        return "<0.01%"
    return ">99.99%" if share > 0.9999 else f"{share:.2%}"


def classes_words(tree: Tree, node: int) -> str:
    """Returns how many classes lie below a node; empty for a class."""
    if tree[node].leaf is not None:
        return ""
    count = len(tree.classes_below(node))
    return "1 class" if count == 1 else f"{count} classes"


def tree_lead(tree: Tree) -> str:
    """Returns what kind of tree this is, in one line."""
    parts = [
        plain(tree.origin),
        f"{tree.classes} classes",
        f"{len(tree.inner)} inner nodes",
        f"at most {tree.depth} turns",
    ]
    return " · ".join(filter(None, parts))


@dataclass(frozen=True, slots=True)
class WalkLine:
    """One way of deciding: its name, the class that it ends at, the probability of that, and whether others differ.

    meaning: what the probability is.
    """

    walk: Walk
    title: str
    label: str
    probability: str
    differs: bool
    meaning: str


def walk_lines(reading: TreeReading) -> tuple[WalkLine, ...]:
    """Returns what soft tree, hard tree and network answer. A class that the soft tree does not name is marked."""
    own = reading.paths["soft"].index if "soft" in reading.paths else None
    return tuple(
        WalkLine(
            walk,
            WALKS[walk],
            plain(path.name),
            percent(path.probability),
            path.index != own,
            f"product of the {len(path.steps)} turns to {plain(path.name)}, {reading.rule_words}",
        )
        for walk in WALK_ORDER
        if (path := reading.paths.get(walk)) is not None
    )


def partings_words(reading: TreeReading) -> tuple[tuple[str, int], ...]:
    """Returns where the answers part, in sentences, each with the node; empty where all agree."""
    return tuple((plain(parting), parting.node) for parting in reading.partings)


def agreement_words(reading: TreeReading) -> str:
    """Returns one sentence on whether soft tree, hard tree and network name the same class."""
    if reading.agree:
        return f"Soft tree, hard tree and network all say {plain(reading.path.name)!r}."
    return "Soft tree, hard tree and network do not name the same class."


def goes_on(reading: TreeReading, node: int) -> tuple[tuple[Walk, str], ...]:
    """Returns (walk, class) of the walks that pass a node although the soft tree does not."""
    own = {step.child for step in reading.path.steps}
    if node in own:
        return ()
    return tuple(
        (walk, plain(path.name))
        for walk in WALK_ORDER[1:]
        if (path := reading.paths.get(walk)) is not None and any(step.child == node for step in path.steps)
    )


def rather_than(step: Decision) -> str:
    """Returns what a turn was taken instead of; empty where there was nothing to decide."""
    if not step.alternatives:
        return ""
    first = plain(step.alternatives[0].name)
    more = len(step.alternatives) - 1
    return f"rather than {first}" + (f" or {more} more" if more else "")


@dataclass(frozen=True, slots=True)
class StepMap:
    """The map of one turn, ready to be drawn; `error` in its place where there is none."""

    panel: Panel | None = None
    scale: Scale | None = None
    error: str = ""

    @property
    def drawn(self) -> bool:
        """Whether there is a map in two dimensions."""
        return self.panel is not None and self.panel.drawn is not None and self.panel.drawn.ndim == 2


def step_maps(reading: TreeReading, longest: int) -> Mapping[int, StepMap]:
    """Returns the maps of the turns, by the node turned to, over the picture with no side longer than `longest`."""
    ground = ground_of(reading.picture, reading.view, longest)
    found = {node: _step_map(attribution, ground) for node, attribution in reading.maps.items()}
    return {**{node: StepMap(error=plain(why)) for node, why in reading.reasons.items()}, **found}


def _step_map(attribution: Attribution, ground: Ground) -> StepMap:
    try:
        panel = attribution_panels(attribution, rows=(0,), grounds=(ground,))[0]
    except (SeewhyError, IndexError) as error:  # one map that cannot be drawn must not cost the reader the path
        return StepMap(error=error_text(error))
    if panel.values is None or panel.drawn is None or panel.drawn.ndim != 2:
        return StepMap(error=panel.error or "This map has no picture; read its numbers in .values.")
    return StepMap(panel, scale_for([panel.values], signed=panel.signed, units=panel.units))


def method_words(reading: TreeReading) -> str:
    """Returns the methods that made the maps, in words; empty without maps."""
    titles = dict.fromkeys(plain(found.title or found.method) for found in reading.maps.values())
    return shorten(", ".join(titles), 80)
