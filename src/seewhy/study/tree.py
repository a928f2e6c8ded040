"""`tree`: the way to a decision, read along a hierarchy of the classes, with a map of why for each turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch

from ..core.attribution import Attribution
from ..core.decisions import RULES, DecisionPath, Rule, TreeReading
from ..core.errors import CancelledError, NotFiniteError, OutputError, SeewhyError
from ..core.hierarchy import Tree
from ..core.method import Method
from ..core.queries import outputs
from ..core.query import ask
from ..engine import Engine, Options, Outcome
from ..methods import GradCam
from ..models.model import Model
from ..models.outputs import understand
from ..models.wrapping import load, wrap
from ..trees.choice import tree_for
from ..trees.head import class_vectors
from ..trees.induce import source_of
from ..trees.reading import path_to
from ..trees.rules import Rules, check_rule
from ..trees.turns import turn
from ..trees.views import TreeView, own_log_probabilities
from .attribute import AnyMethod, AnyModel, check_seed, collect, named_methods
from .needs import unsupported
from .prediction import labels_note, prediction
from .provenance import versions
from .subjects import Subject, subject_of

TOGETHER = 4
"""Pictures whose passes are shared."""
UNTRAINED = (
    "The embedded rules are meant for networks that were fine-tuned with the tree; without that, their answers are "
    "often not the network's."
)


def tree(  # noqa: PLR0913 - the front door: each of these is a question of its own
    model: AnyModel | str,
    image: Any,
    hierarchy: Any = None,
    *,
    rule: Rule | None = None,
    method: AnyMethod | None = "grad-cam",
    layer: Any = None,
    seed: int = 0,
    options: Options | None = None,
) -> TreeReading:
    """Returns the way to the model's answer for one picture, turn by turn, and a map of why each was taken.

    model: as `seewhy.explain` takes it; or a `SoftTree` or `HardTree`, whose tree and rule are used unless given.
    image: a path, PIL image, array (H, W, 3), or a tensor (C, H, W) or (1, C, H, W) as the model takes it.
    hierarchy: a `seewhy.trees.Tree`, "wordnet", "induced", the path of a JSON file, nested dicts and lists, or a graph
        of networkx; None is WordNet's where it knows all of the model's labels, else the induced one.
    rule: "marginal", the hierarchical read-out of the network's softmax, or "embedded", the paper's rules for networks
        fine-tuned with the tree; see `seewhy.trees.SoftTree`.
    method: explains the turns of the soft tree's way, each as "this node rather than its siblings"; None explains none.
        Grad-CAM is signed here: the siblings' evidence counts against. What fails leaves a reason and no map.
    layer: for class activation maps.

    Raises OutputError for a model whose answer is not one probability divided among classes.
    """
    plan = reading_plan(model, hierarchy, rule=rule, method=method, layer=layer, seed=seed, options=options)
    return next(_read(plan, [subject_of(plan.model, image, plan.seed)]))


@dataclass(frozen=True, slots=True)
class ReadingPlan:
    """What any number of pictures are read with. method: None explains no turn. unable: why the method cannot."""

    model: Model
    tree: Tree
    rule: Rule
    method: Method | None
    unable: str
    seed: int
    options: Options
    rules: Rules


def reading_plan(  # noqa: PLR0913 - as tree
    model: AnyModel | str,
    hierarchy: Any = None,
    *,
    rule: Rule | None = None,
    method: AnyMethod | None = "grad-cam",
    layer: Any = None,
    seed: int = 0,
    options: Options | None = None,
) -> ReadingPlan:
    """Returns the checked plan for any number of pictures."""
    wrapped = load(model) if isinstance(model, str) else wrap(model)
    laid = wrapped.module if isinstance(wrapped.module, TreeView) else None
    if laid is not None:
        hierarchy, rule = laid.tree if hierarchy is None else hierarchy, rule or laid.rule
    source = source_of(wrapped)
    chosen = check_rule("marginal" if rule is None else rule)
    made = _method(source, method, layer)
    unable = "" if made is None else " ".join(map(str, unsupported(source, {made.info.name: made}).values()))
    found = tree_for(source, hierarchy)
    if chosen == "embedded":
        class_vectors(source)
    rules = Rules(found)
    return ReadingPlan(source, found, chosen, made, unable, check_seed(seed), options or Options(), rules)


def _method(model: Model, method: AnyMethod | None, layer: Any) -> Method | None:
    if method is None:
        return None
    ((_, found),) = named_methods(model, [method], layer).items()
    return replace(found, relu=False) if isinstance(found, GradCam) and method == "grad-cam" else found


def read_many(plan: ReadingPlan, images: Iterable[Any]) -> Iterator[tuple[Any, TreeReading | Exception]]:
    """Yields (image, reading or error) for each image; a few at a time share their passes."""
    waiting = iter(images)
    while group := list(islice(waiting, TOGETHER)):
        found: list[Subject | SeewhyError] = []
        for image in group:
            try:
                found.append(subject_of(plan.model, image, plan.seed))
            except SeewhyError as error:
                found.append(error)
        subjects = [subject for subject in found if isinstance(subject, Subject)]
        done = _read_each(plan, subjects)
        for image, subject in zip(group, found, strict=True):
            yield image, subject if isinstance(subject, SeewhyError) else next(done)


def _read(plan: ReadingPlan, subjects: Sequence[Subject]) -> Iterator[TreeReading]:
    for found in _read_each(plan, subjects):
        if isinstance(found, Exception):
            raise found
        yield found


def _read_each(plan: ReadingPlan, subjects: Sequence[Subject]) -> Iterator[TreeReading | Exception]:
    """Yields the reading of each picture, or its error: one pass for the answers, then one for all turns' maps."""
    engine = Engine(plan.model, plan.options)
    answers = engine.run([(place, ask(outputs(subject.case.rows()))) for place, subject in enumerate(subjects)])
    readings: dict[int, TreeReading | Exception] = {}
    for place, subject in enumerate(subjects):
        try:
            readings[place] = _reading(plan, subject, answers[place].result())
        except CancelledError:
            raise
        except Exception as error:
            readings[place] = error
    flows: list[tuple[Any, Any]] = []
    for place, reading in readings.items():
        if isinstance(reading, TreeReading):
            flows += [((place, node), flow) for node, flow in _flows(plan, subjects[place], reading)]
    maps = engine.run(flows) if flows else {}
    for place, reading in readings.items():
        if isinstance(reading, TreeReading):
            own = {key[1]: outcome for key, outcome in maps.items() if key[0] == place}  # type: ignore[index]
            yield _explained(plan, subjects[place], reading, own)
        else:
            yield reading


def _reading(plan: ReadingPlan, subject: Subject, raw: Any) -> TreeReading:
    """Returns the picture's ways under the rule, from the network's own answer."""
    hierarchy = plan.tree
    answer = prediction(plan.model, raw)
    if answer is None:
        raise OutputError("A tree reads one score per class; the model's answer is none. Name the part: output=.")
    output = understand(raw, None, 1)  # the engine has applied the selector already
    scores = own_log_probabilities(plan.model, output, hierarchy.classes)
    scores = scores.detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(scores).all()):
        raise NotFiniteError(
            f"The network's scores for {subject.source} hold NaN or infinity. Look for it in the weights."
        )
    turns = plan.rules.turns(scores, plan.rule)
    reach = plan.rules.reach(turns)
    leaves = scores if plan.rule == "marginal" else plan.rules.leaves(turns)
    ends = {"soft": leaves, "network": scores}
    classes = {walk: int(values[0].argmax()) for walk, values in ends.items()}
    classes["hard"] = int(plan.rules.greedy(turns)[0])
    odds = turns[0].exp().tolist()
    paths: Mapping[str, DecisionPath] = {
        walk: path_to(hierarchy, walk, plan.rule, classes[walk], odds) for walk in ("soft", "hard", "network")
    }
    return TreeReading(
        source=subject.source,
        model=plan.model.name,
        tree=hierarchy,
        rule=plan.rule,
        prediction=answer,
        paths=paths,
        reach=np.asarray(reach[0].exp().numpy()),
        turns=np.asarray(odds),
        picture=subject.picture,
        view=subject.view,
        notes=(
            *plan.model.notes,
            *labels_note(plan.model, answer),
            *subject.notes,
            *((UNTRAINED,) if plan.rule == "embedded" else ()),
        ),
        provenance={
            "rule": RULES[plan.rule],
            "hierarchy": hierarchy.origin,
            **dict(hierarchy.settings),
            "seed": plan.seed,
            "versions": versions(),
        },
    )


def _flows(plan: ReadingPlan, subject: Subject, reading: TreeReading) -> Iterator[tuple[int, Any]]:
    if plan.method is None or plan.unable:
        return
    for step in reading.path.steps:
        if step.alternatives:
            yield step.child, plan.method.flow(subject.case, turn(plan.tree, step.child, plan.rule))


def _explained(
    plan: ReadingPlan, subject: Subject, reading: TreeReading, outcomes: Mapping[int, Outcome]
) -> TreeReading:
    """Returns the reading with the turns' maps, and why there is none where there is none."""
    maps: dict[int, Attribution] = {}
    reasons: dict[int, str] = {}
    for step in reading.path.steps:
        outcome = outcomes.get(step.child)
        if outcome is None:
            if plan.method is not None:
                reasons[step.child] = plan.unable if step.alternatives else "There is no other way to turn here."
        elif outcome.error is not None:
            reasons[step.child] = str(outcome.error)
        else:
            maps[step.child] = replace(collect([outcome], plan.model, plan.seed), geometry=(subject.geometry,))
    return replace(reading, maps=maps, reasons=reasons)
