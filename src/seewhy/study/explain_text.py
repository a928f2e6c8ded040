"""`explain_text`: a text, or two, in; what each method says about its words out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ..core.attribution import Reduce
from ..core.errors import InputError, SettingError, UnsupportedModelError, nearest
from ..core.evidence import Evidence
from ..core.method import Method
from ..core.queries import outputs
from ..core.query import ask
from ..core.rows import Case
from ..core.text import TextAttribution, TextExplanation
from ..core.tokens import TokenizedText
from ..engine import Engine, Options
from ..engine.run import drive
from ..models.model import Model
from ..models.text_loading import DRAWN
from ..models.text_models import TextModel
from ..models.text_scores import Similarity
from ..models.wrapping import load
from ..text.asking import ask_about
from ..text.baselines import absent, check_baseline_name, kept, one_absent
from ..text.fitting import Fit, Fitted, fitted
from ..text.pieces import PieceUnit, check_unit, pieces
from ..text.questions import Asking, Problem, Question
from ..text.reduction import reduced
from .attribute import AnyMethod, check_seed, collect, named_methods
from .cases import cases
from .provenance import versions
from .text_evidence import text_evidence
from .text_findings import text_findings

DEFAULT_METHODS = ("integrated-gradients", "input-x-gradient", "saliency", "occlusion")
REDUCES = ("sum", "norm", "max", "absmax")


@dataclass(frozen=True, slots=True, eq=False)
class TextPlan:
    """What is asked of a text, checked before the first pass."""

    model: TextModel
    methods: Mapping[str, Method]
    baseline: str
    unit: PieceUnit
    reduce: Reduce | None
    seed: int
    options: Options
    evidence: bool = False


def explain_text(  # noqa: PLR0913 - the front door: each of these is a question of its own
    model: Model | str,
    text: str,
    pair: str | None = None,
    methods: AnyMethod | Sequence[AnyMethod] | None = None,
    target: Any = None,
    *,
    pieces: str = "words",
    baseline: str | None = None,
    reduce: str | None = None,
    truncate: bool = False,
    evidence: bool = False,
    seed: int = 0,
    options: Options | None = None,
) -> TextExplanation:
    """Returns the model's answer to a text and what each method says about its words.

    model: from `seewhy.load` or `seewhy.wrap`, or its name. What is explained depends on what it was made for: a
        classifier's label; of a sentence encoder, the cosine similarity of `text` and `pair`; where an answer to the
        question `text` starts and ends in the context `pair` (two targets); the word at the mask; a causal model's
        next word. Models that write another text go to `seewhy.generate`.
    methods: names or settings objects; None takes four quick ones. Those that hide or weigh pieces take `pieces`,
        "words", "tokens" or "sentences"; occlusion without a window hides one at a time.
    target: None is the model's own answer; a label, a word, an index, a pair (this, rather than that), one of
        `seewhy.targets`, or a list of these. For a reader of questions, the answer's words.
    baseline: what an absent word is, for methods that leave it open: the vector of "mask", "pad" or "unk", or "zero".
        None takes the first that the tokenizer has of mask and pad, else zero. Special tokens stay as they are. Of two
        texts that are compared, one is without its words and the other whole, in turn.
    reduce: how the numbers of a token's embedding become one: "sum", "norm" (Euclidean), "max" or "absmax". None is
        the sum for methods whose values are shares of the score, and the norm for the others.
    truncate: leave out what the model cannot take, and say so, instead of raising InputError.

    evidence: True follows the score as the words that a method names first are removed, and left alone: `evidence` of
        the result, by target, holds a verdict on each method beside 39 random orders of the words, and ERASER's
        comprehensiveness and sufficiency. It costs some 1,000 forward passes.

    A method that fails is reported in `errors`, and raised when its result is asked for.

    Raises InputError for a text without a word, or too long; TargetError for a target that this model does not have.
    """
    reader = text_model(model)
    plan = TextPlan(
        model=reader,
        methods=named_methods(reader, listed(DEFAULT_METHODS if methods is None else methods)),
        baseline=check_baseline_name(reader, baseline),
        unit=check_unit(pieces),
        reduce=check_reduce(reduce),
        seed=check_seed(seed),
        options=options or Options(backend="torch"),  # converting a network for one length of text is not repaid
        evidence=evidence,
    )
    texts = (text,) if pair is None else (text, pair)
    with reader.memo.lock:  # the networks that score embeddings share this one's layers
        problem = ask_about(Asking(reader, texts, answer_of(plan), truncate), target)
        return _explained(plan, problem)


def text_model(model: Model | str) -> TextModel:
    """Returns the model if it reads texts; a name is loaded first."""
    found = load(model) if isinstance(model, str) else model
    if not isinstance(found, TextModel):
        given = found.name if isinstance(found, Model) else type(found).__name__
        raise UnsupportedModelError(
            f"Expected a model that reads text; given {given!r}. Load one with seewhy.load('minilm') or "
            "seewhy.load('hf:FOLDER'), or give seewhy.wrap a network and its tokenizer=."
        )
    return found


def listed(methods: AnyMethod | Sequence[AnyMethod]) -> list[AnyMethod]:
    """Returns one or several methods as a list."""
    return [methods] if isinstance(methods, (str, Method, type)) else list(methods)


def check_reduce(reduce: str | None) -> Reduce | None:
    """Returns a valid rule or raises SettingError."""
    if reduce is not None and reduce not in REDUCES:
        raise SettingError(f"reduce takes {', '.join(REDUCES)}; given {reduce!r}." + nearest(str(reduce), REDUCES))
    return reduce  # type: ignore[return-value]


def answer_of(plan: TextPlan) -> Any:
    """Returns a function that gives a model's output for one row of inputs."""

    def run(model: Model, inputs: Any) -> Any:
        return drive(model, ask(outputs(case_of(model, inputs, plan.seed).rows())), plan.options)

    return run


def case_of(model: Model, inputs: Any, seed: int) -> Case:
    """Returns the one case of one row of inputs."""
    (case,) = cases(model, dict(inputs), seed)
    readings = 2 if isinstance(model.module, Similarity) else 1
    return replace(case, facts=replace(case.facts, readings=readings))


def _explained(plan: TextPlan, problem: Problem) -> TextExplanation:
    fit = fit_of(plan, problem)
    if not bool((fit.numbers >= 0).any()):
        raise InputError("Expected a word beside the mask; given none, so that nothing can be explained.")
    ready = {name: fitted(method, fit) for name, method in plan.methods.items()}
    made: dict[tuple[str, str], TextAttribution] = {}
    errors: dict[tuple[str, str], Exception] = {}
    proofs: dict[str, Evidence] = {}
    for question in problem.questions:
        answers = _answered(plan, problem, question, (fit, ready))
        proof = _proven(plan, question, fit, answers) if plan.evidence else None
        if proof is not None:
            proofs[question.name] = proof
        for name, result in answers.items():
            if isinstance(result, Exception):
                errors[name, question.name] = result
            else:
                made[name, question.name] = replace(result, method=name)
    return TextExplanation(
        text=problem.text,
        model=plan.model.name,
        task=plan.model.task,
        prediction=problem.prediction,
        targets=tuple(question.name for question in problem.questions),
        attributions=made,
        errors=errors,
        findings={key: text_findings(result) for key, result in made.items()},
        titles={name: method.info.title for name, method in plan.methods.items()},
        evidence=proofs,
        notes=(*problem.notes, *_cut(problem), *(note for note in plan.model.notes if DRAWN in note)),
        provenance={
            "seed": plan.seed,
            "model": plan.model.name,
            "weights": "; ".join(plan.model.notes),
            "device": str(plan.model.device),
            "versions": dict(versions()),
        },
    )


def fit_of(plan: TextPlan, problem: Problem) -> Fit:
    """Returns what the text gives to methods: its absence and its pieces."""
    embeds = problem.questions[0].inputs["embeds"]
    numbers = pieces(problem.text, plan.unit, kept(plan.model, problem.text))
    empty = empty_of(plan, problem.text, embeds)
    start = one_absent(problem.text, embeds, empty) if problem.apart else empty
    return Fit(empty, start, plan.baseline, numbers, plan.unit)


def empty_of(plan: TextPlan, text: TokenizedText, embeds: Tensor) -> Tensor:
    """Returns the embeddings of a text without its words, (1, D, T)."""
    return absent(plan.model, text, embeds, plan.baseline)


def _answered(
    plan: TextPlan, problem: Problem, question: Question, how: tuple[Fit, Mapping[str, Fitted]]
) -> dict[str, TextAttribution | Exception]:
    """Returns what each method says about one question, or its error; all share their passes."""
    fit, ready = how
    case = case_of(question.model, question.inputs, plan.seed)
    flows = {name: item.method.flow(case, question.target) for name, item in ready.items()}
    outcomes = Engine(question.model, plan.options).run(flows.items())
    found: dict[str, TextAttribution | Exception] = {}
    for name, item in ready.items():
        outcome = outcomes[name]
        if isinstance(outcome.error, Exception):
            found[name] = outcome.error
            continue
        whole = collect([outcome], question.model, plan.seed)
        found[name] = reduced(whole, item, fit, (problem.text, question.name), plan.reduce)
    return found


def _proven(
    plan: TextPlan, question: Question, fit: Fit, answers: Mapping[str, TextAttribution | Exception]
) -> Evidence | None:
    """Returns what the methods' answers to one question are worth."""
    found = {name: own for name, own in answers.items() if isinstance(own, TextAttribution)}
    case = case_of(question.model, question.inputs, plan.seed)
    return text_evidence((question.model, case, question.target), fit, found, plan.options)


def _cut(problem: Problem) -> tuple[str, ...]:
    cut = problem.text.cut
    return (f"the model takes no more: {cut} tokens at the end were left out",) if cut else ()
