"""`explain`: pictures in, explanations out. One bad picture or method does not touch the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from ..core.attribution import Attribution
from ..core.errors import CancelledError, SeewhyError, SettingError
from ..core.evidence import Evidence
from ..core.explanation import Explanation, Prediction
from ..core.queries import outputs
from ..core.query import ask
from ..core.targets import Target
from ..engine import Engine, Options, Outcome
from ..engine.meter import Meter
from .attribute import AnyMethod, AnyModel, collect
from .diagnosis import diagnose
from .evidence import EvidencePlan
from .findings import findings
from .plan import Plan, make_plan
from .prediction import impossible, labels_note, prediction
from .provenance import versions
from .proving import with_evidence
from .subjects import Subject, subject_of

TOGETHER = 4
"""Pictures whose passes are shared."""


def explain(  # noqa: PLR0913 - the front door: each of these is a question of its own
    model: AnyModel | str,
    image: Any,
    methods: AnyMethod | Sequence[AnyMethod] | None = None,
    targets: Any = None,
    *,
    layer: Any = None,
    contrast: bool = True,
    seed: int = 0,
    options: Options | None = None,
    evidence: bool | EvidencePlan = False,
) -> Explanation:
    """Returns the model's answer to one picture and what each method says about it.

    image: a path, PIL image, array (H, W, 3); or, as the model takes it, a tensor (C, H, W) or (1, C, H, W), or a
        float array (1, C, H, W).
    methods: names or settings objects; "best" is the one of the quick methods, and of those named beside it, whose map
        fares best at the evidence test; None takes nine of the quick ones, and for a model that gives scores only every
        registered method that needs no more.
    targets: None is the top class; a class index, label, function or one of `seewhy.targets`, or a list of them.
    layer: for the class activation maps among the methods.
    contrast: with class activation maps among the methods, adds a signed Grad-CAM map of why the first class
        rather than its rival: the second of two or more given classes, else the one with the nearest score. Its
        target comes last; it costs no forward pass.
    evidence: True, or an `EvidencePlan`, compares each map with what chance gives on this picture: `evidence` of the
        result, by target, holds a verdict on each map and the map to trust. It costs up to 4,000 forward passes.

    A method that fails is reported in `errors`, and raised when its result is asked for. TargetError is raised at once
    where the model has none of the classes that were asked about.
    """
    plan = make_plan(
        model, methods, targets, layer=layer, contrast=contrast, seed=seed, options=options, evidence=evidence
    )
    found = next(_explained(plan, [subject_of(plan.model, image, plan.seed)]))
    error = impossible(found)
    if error is not None:
        raise error
    return found


def evidence(  # noqa: PLR0913 - as explain
    model: AnyModel | str,
    image: Any,
    methods: AnyMethod | Sequence[AnyMethod] | None = None,
    target: Any = None,
    *,
    layer: Any = None,
    plan: EvidencePlan | None = None,
    seed: int = 0,
    options: Options | None = None,
) -> Evidence:
    """Returns what the maps of one picture and one target are worth, beside what chance gives; settings as `explain`.

    Raises SettingError where none can be had, such as for a model of several inputs.
    """
    found = explain(
        model,
        image,
        methods,
        target,
        layer=layer,
        contrast=False,
        seed=seed,
        options=options,
        evidence=plan or True,
    )
    if not found.evidence:
        why = " ".join(note for note in found.notes if note.startswith("No evidence"))
        errors = "; ".join(str(error) for error in found.errors.values())
        raise SettingError(f"Expected maps that can be tested. {why} {errors}".strip())
    return next(iter(found.evidence.values()))


def explain_many(plan: Plan, images: Iterable[Any]) -> Iterator[tuple[Any, Explanation | SeewhyError]]:
    """Yields (image, explanation or error) for each image; a few at a time share their passes.

    An interrupt propagates once everything is yielded that was finished: of a picture that was half done, the maps
    that were there, the others as errors.
    """
    waiting = iter(images)
    while group := list(islice(waiting, 1 if plan.alone else TOGETHER)):
        subjects: list[Subject | SeewhyError] = []
        for image in group:
            try:
                subjects.append(subject_of(plan.model, image, plan.seed))
            except SeewhyError as error:
                subjects.append(error)
        done = _kept(plan, [subject for subject in subjects if isinstance(subject, Subject)])
        for image, subject in zip(group, subjects, strict=True):
            found = subject if isinstance(subject, SeewhyError) else next(done)
            if found is not None:
                yield image, found
        next(done, None)  # here it raises what interrupted it


def _explained(plan: Plan, subjects: Sequence[Subject]) -> Iterator[Explanation]:
    """Runs everything asked of some pictures together, and yields their explanations in order."""
    outcomes: dict[Any, Outcome] = {}
    _run(plan, subjects, outcomes)
    yield from _proved(plan, subjects, [_found(plan, subjects, place, outcomes) for place in range(len(subjects))])


def _kept(plan: Plan, subjects: Sequence[Subject]) -> Iterator[Explanation | None]:
    """Yields explanations in order; when interrupted, what is finished of each, None where nothing is, and raises."""
    outcomes: dict[Any, Outcome] = {}
    found: list[Explanation | None] = []
    given = 0
    try:
        _run(plan, subjects, outcomes)
        whole = [_found(plan, subjects, place, outcomes) for place in range(len(subjects))]
        found = [*whole]
        for explanation in _proved(plan, subjects, whole):
            given += 1
            yield explanation
    except KeyboardInterrupt:
        found = found or [_half(plan, subjects, place, outcomes) for place in range(len(subjects))]
        yield from found[given:]
        raise


def _run(plan: Plan, subjects: Sequence[Subject], outcomes: dict[Any, Outcome]) -> None:
    """Runs everything asked of some pictures together; `outcomes` gets each as soon as it is there."""
    flows: list[tuple[Any, Any]] = []
    for place, subject in enumerate(subjects):
        flows.append(((place, None, None), ask(outputs(subject.case.rows()))))
        for number, target, name, method in plan.asked():
            if name not in plan.unable:
                flows.append(((place, number, name), method.flow(subject.case, target)))
    if flows:
        Engine(plan.model, plan.options).run(flows, outcomes.__setitem__)


def _found(plan: Plan, subjects: Sequence[Subject], place: int, outcomes: Mapping[Any, Outcome]) -> Explanation:
    own = {key[1:]: outcome for key, outcome in outcomes.items() if key[0] == place}
    return _assemble(plan, subjects[place], own)


def _half(plan: Plan, subjects: Sequence[Subject], place: int, outcomes: Mapping[Any, Outcome]) -> Explanation | None:
    """Returns what is finished of a picture, the rest as errors; None without an answer or any map."""
    there = {key[1:] for key, outcome in outcomes.items() if key[0] == place and outcome.error is None}
    if (None, None) not in there or len(there) == 1:
        return None
    stopped = Outcome(None, CancelledError("It was interrupted before it was finished."), Meter())
    missing = {(place, number, name): stopped for number, _, name, _ in plan.asked() if name not in plan.unable}
    return _found(plan, subjects, place, missing | dict(outcomes))


def _proved(plan: Plan, subjects: Sequence[Subject], found: list[Explanation]) -> Iterator[Explanation]:
    yield from found if plan.evidence is None else with_evidence(plan, plan.evidence, subjects, found)


def _assemble(plan: Plan, subject: Subject, outcomes: Mapping[Any, Outcome]) -> Explanation:
    answer = _prediction(plan, outcomes[None, None])
    made: dict[tuple[str, str], Attribution] = {}
    errors: dict[tuple[str, str], Exception] = {}
    targets: dict[str, Target] = {}
    for number, asked, name, _ in plan.asked():
        extra = number == len(plan.targets)
        outcome = outcomes.get((number, name))
        error = plan.unable[name] if outcome is None else outcome.error
        if outcome is None or error is not None:
            if not extra:
                target, words = plan.named(asked, answer)
                targets[words] = target
                errors[name, words] = _as_exception(error)
            continue
        result = collect([outcome], plan.model, plan.seed)
        # Only the pass itself knew which class is the rival.
        target, words = plan.named(result.targets[0] if extra else asked, answer)
        targets[words] = target
        made[name, words] = replace(result, geometry=(subject.geometry,))
    shown = {*plan.methods, *(name for name, _ in made)}
    infos = {name: method.info for _, _, name, method in plan.asked() if name in shown}
    found = Explanation(
        source=subject.source,
        model=plan.model.name,
        prediction=answer,
        targets=targets,
        attributions=made,
        picture=subject.picture,
        view=subject.view,
        errors=errors,
        findings={key: findings(result) for key, result in made.items()},
        titles={name: info.title for name, info in infos.items()},
        families={name: info.family for name, info in infos.items()},
        notes=(*subject.notes, *plan.model.notes, *labels_note(plan.model, answer)),
        provenance=_provenance(plan, subject),
    )
    return replace(found, diagnosis=diagnose(found))


def _as_exception(error: BaseException | None) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError(str(error))


def _prediction(plan: Plan, outcome: Outcome) -> Prediction | None:
    return prediction(plan.model, outcome.value) if outcome.error is None else None


def _provenance(plan: Plan, subject: Subject) -> dict[str, Any]:
    return {
        "input": subject.case.id,
        "seed": plan.seed,
        "model": plan.model.name,
        "preprocessing": getattr(plan.model.preprocessing, "key", "none"),
        "device": str(plan.model.device),
        "versions": dict(versions()),
    }
