"""One pass: a batch of rows through the model, forward and back, and nothing left behind but values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..core import tree
from ..core.errors import LayerError, NoGradientError, UnsupportedModelError
from ..core.query import DEFAULT_LAYER, Head, Record
from ..core.rows import ENTRY
from ..core.targets import Target, inner_layers, is_inner
from ..models.attention import AttentionTap
from ..models.model import Model, call
from ..models.outputs import Output, understand
from ..models.tracing import LayerProbe
from ..models.views import View, open_view
from .capture import Capture, StopForward, is_scripted, leaf_and_copy, leaf_of, missing
from .clearer import explained
from .guard import seed_generators
from .scoring import Scorer, settled_kind

CUTS = "a threshold, rounding, argmax, detach, torch.no_grad, re-entrant checkpointing, or quantised layers"


@dataclass(frozen=True, slots=True)
class PassRequest:
    """Rows to run and what to bring back. `targets` holds one list of row targets for each backward pass."""

    inputs: tree.Inputs
    count: int
    targets: tuple[tuple[Target, ...], ...]
    record: Record
    leaves: tuple[str, ...]
    entry: str | None = None
    view: str | None = None
    seed: int = 0


@dataclass(slots=True)
class Scored:
    """What one set of targets gave."""

    score: Tensor
    resolved: tuple[Target, ...]
    input_gradient: tuple[Tensor, ...] = ()
    gradients: dict[str, Tensor] = field(default_factory=dict)
    attention: tuple[Tensor, ...] = ()


@dataclass(slots=True)
class PassResult:
    """What a pass brought back: values only. `answer` is the model's score tensor, where it was computed."""

    scored: list[Scored]
    activations: dict[str, Tensor]
    names: dict[str, str]
    output: Any = None
    answer: Tensor | None = None
    notes: tuple[str, ...] = ()
    backwards: int = 0
    forwards: int = 1
    head: Head | None = None
    attention: tuple[Tensor, ...] = ()


def run_pass(model: Model, module: nn.Module, request: PassRequest) -> PassResult:
    """Runs one batch on `module`, which is the model's network or a prepared copy of it.

    Raises CaptureOverwritten where the pass must be repeated: by then the default layer's name is known, and a
    named layer is safe from writes.
    """
    plan = _Plan.of(model, module, request)
    inputs, wrt = _prepare_inputs(request)
    view = open_view(request.view, module, model.memo)
    try:
        if request.entry is not None:
            plan.capture.enter_at(request.entry, wrt.get(ENTRY, inputs[ENTRY]), model.memo.calls.get(request.entry))
        plan.capture.attach()
        with plan.tap or nullcontext():  # in the backward pass, too: checkpointed layers run again there
            output = _forward(model, module, plan, inputs["inputs"] if request.entry else inputs, view)
            return _collect(model, plan, output, wrt, view)
    finally:
        plan.capture.detach()


@dataclass(slots=True)
class _Plan:
    """A request with its layers named: `alias` maps what was asked for to real names; `shape` is the input's.

    tap: where attention weights are kept, if they were asked for.
    """

    request: PassRequest
    capture: Capture
    alias: dict[str, str]
    shape: tuple[int, ...]
    tap: AttentionTap | None = None

    @staticmethod
    def of(model: Model, module: nn.Module, request: PassRequest) -> _Plan:
        wanted = {t for set_ in request.targets for t in set_}
        asked = {*request.record.layers}.union(*map(inner_layers, wanted))
        memo = model.memo
        alias = {name: name for name in asked}
        shape = lead_shape(tree.signature(request.inputs))
        if DEFAULT_LAYER in asked and shape in memo.default_layers:
            alias[DEFAULT_LAYER] = memo.default_layers[shape][0]
        named = tuple(sorted({real for real in alias.values() if real != DEFAULT_LAYER}))
        probing = DEFAULT_LAYER in alias.values()
        record = request.record
        whole = record.output or record.head or record.attends
        needs_output = whole or not request.targets or not all(map(is_inner, wanted))
        known = all(name in memo.calls for name in named)
        stop = {name: memo.calls[name] for name in named} if known and not needs_output and not probing else None
        probe = None
        if probing:
            # the graph may start at each candidate, unless a gradient is wanted of something before it
            before = record.input_gradient or record.attention_gradients or named
            starts = record.needs_gradient and not before
            probe = LayerProbe((request.count, *shape), leaf_and_copy if starts else None)
        capture = Capture(module, named, record.needs_gradient, probe, stop, record.head)
        return _Plan(request, capture, alias, shape, _tap(record))


def _tap(record: Record) -> AttentionTap | None:
    """Returns the context that keeps attention weights; the graph starts at those that nothing needing one led to."""
    if not record.attends:
        return None
    starts = record.needs_gradient
    return AttentionTap(lambda weights: leaf_of(weights) if starts and not weights.requires_grad else weights)


def _prepare_inputs(request: PassRequest) -> tuple[tree.Inputs, dict[str, Tensor]]:
    """Returns the inputs to hand on, and the leaves that gradients are taken of.

    Every tensor is copied: a model may write to its input, and rows are views of the caller's tensors.
    """
    wrt: dict[str, Tensor] = {}

    def prepare(path: str, tensor: Tensor) -> Tensor:
        tensor = tensor.detach().clone()
        if request.record.input_gradient and path in request.leaves:
            wrt[path] = tensor.requires_grad_()
            return tensor if path == ENTRY else tensor.clone()
        return tensor

    with torch.inference_mode(False), torch.enable_grad():
        return tree.map_leaves(prepare, request.inputs), wrt


def _forward(model: Model, module: nn.Module, plan: _Plan, inputs: tree.Inputs, view: View) -> Output | None:
    """Returns the output, or None where the pass stopped at a layer."""
    request = plan.request
    seed_generators(model.device, request.seed)
    try:
        with ExitStack() as stack:
            if not request.record.needs_gradient:
                stack.enter_context(torch.no_grad())
            stack.enter_context(view)
            raw = call(module, inputs)
    except StopForward:
        return None
    except RuntimeError as error:
        clearer = explained(error, inputs)
        if clearer is None:
            raise
        raise clearer from error
    finally:
        plan.capture.stop_after = None  # gradient checkpointing calls layers again in the backward pass
        if plan.tap is not None:
            plan.tap.close()
    _learn_calls(model, plan)
    return understand(raw, model.output, request.count)


def _learn_calls(model: Model, plan: _Plan) -> None:
    """Remembers how often each captured layer is called, so that a later pass knows where to stop."""
    for name, count in plan.capture.calls.items():
        if count:
            model.memo.calls[name] = count


def _collect(model: Model, plan: _Plan, output: Output | None, wrt: dict[str, Tensor], view: View) -> PassResult:
    request = plan.request
    tensors = _captured(model, plan)
    attention = () if plan.tap is None else plan.tap.found(request.count)
    kind = None if output is None or output.scores is None else settled_kind(model, output.scores)
    scorer = Scorer(output, kind, tensors, request.count)
    names = {asked: _real(model, plan, asked) for asked in plan.alias}
    keep = len(request.targets)
    scored = []
    for targets in request.targets:
        keep -= 1
        scored.append(_backward(_Sources(request, wrt, tensors, names, attention), scorer.score(targets), keep > 0))
    return PassResult(
        scored,
        {name: tensors[name].detach() for name in request.record.activations},
        names,
        _detached(output.raw) if output is not None and request.record.output else None,
        output.scores.detach() if output is not None and output.scores is not None else None,
        view.notes(),
        len(request.targets) if request.record.needs_gradient else 0,
        head=_head(plan),
        attention=tuple(weights.detach() for weights in attention),
    )


def _head(plan: _Plan) -> Head | None:
    """Returns the linear layer that was called last, where it spoke once for each row."""
    head = None if plan.capture.spoken is None else plan.capture.spoken.head()
    return head if head is not None and len(head.output) == plan.request.count else None


def _real(model: Model, plan: _Plan, asked: str) -> str:
    real = plan.alias[asked]
    return model.memo.default_layers[plan.shape][0] if real == DEFAULT_LAYER else real


def _captured(model: Model, plan: _Plan) -> dict[str, Tensor]:
    """Returns the captured tensors under the names they were asked for."""
    capture = plan.capture
    if any(not count for count in capture.calls.values()):
        raise missing(capture.layers, capture.calls, is_scripted(capture.module))
    if capture.probe is not None:
        best = capture.probe.best
        if best is not None:
            model.memo.default_layers[plan.shape] = (best.name, best.why)
        capture.finish_default()
    return {asked: capture.tensors[real] for asked, real in plan.alias.items()}


@dataclass(frozen=True, slots=True)
class _Sources:
    """What gradients are taken of: input leaves, captured layers, attention; `names` are the layers' real names."""

    request: PassRequest
    wrt: Mapping[str, Tensor]
    tensors: Mapping[str, Tensor]
    names: Mapping[str, str]
    attention: tuple[Tensor, ...]


def _backward(sources: _Sources, scored: tuple[Tensor, tuple[Target, ...]], keep: bool) -> Scored:
    """Takes the gradients of one set of targets."""
    score, resolved = scored
    record, wrt = sources.request.record, sources.wrt
    if not record.needs_gradient:
        return Scored(score.detach(), resolved)
    attention = sources.attention if record.attention_gradients else ()
    wanted = [*wrt.values(), *(sources.tensors[name] for name in record.gradients), *attention]
    found = iter(_gradients(score, wanted, keep))
    inputs = {path: next(found) for path in wrt}
    layers = {name: next(found) for name in record.gradients}
    slopes = list(found)
    _check_paths(sources, inputs, layers, slopes)
    filled = {path: wrt[path].detach() * 0 if part is None else part for path, part in inputs.items()}
    return Scored(
        score.detach(),
        resolved,
        tuple(filled[path] for path in sources.request.leaves) if wrt else (),
        {name: gradient for name, gradient in layers.items() if gradient is not None},
        tuple(
            torch.zeros_like(weights) if slope is None else slope
            for weights, slope in zip(attention, slopes, strict=True)
        ),
    )


def _check_paths(
    sources: _Sources,
    inputs: Mapping[str, Tensor | None],
    layers: Mapping[str, Tensor | None],
    attention: Sequence[Tensor | None],
) -> None:
    """Raises the error that says where no gradient leads from the score."""
    for name, gradient in layers.items():
        if gradient is None:
            raise LayerError(
                f"The output of layer {sources.names[name]!r} does not influence the target, or the network cuts the "
                f"gradient between them ({CUTS}). Choose a layer between the input and the score: model.layers() "
                "lists them."
            )
    if inputs and all(gradient is None for gradient in inputs.values()):
        raise NoGradientError(
            f"No gradient path leads from the target to the input: the network cuts it ({CUTS}). Use a method that "
            "needs no gradient of the input, such as 'grad-cam' at a layer behind the cut."
        )
    if attention and all(gradient is None for gradient in attention):
        raise NoGradientError(
            f"No gradient path leads from the target to the attention weights: the network cuts it ({CUTS}). Use a "
            "method that needs no gradient, such as 'occlusion'."
        )


def _gradients(score: Tensor, wanted: Sequence[Tensor], keep: bool) -> list[Tensor | None]:
    """Returns the gradient of each wanted tensor, None where no path leads to it."""
    wanted_live = [tensor for tensor in wanted if tensor.requires_grad]
    if not score.requires_grad or not wanted_live:
        return [None] * len(wanted)
    try:
        found = iter(torch.autograd.grad(score.sum(), wanted_live, retain_graph=keep, allow_unused=True))
    except RuntimeError as error:
        if "torch.utils.checkpoint is incompatible with .grad()" in str(error):
            raise UnsupportedModelError(
                "This network uses re-entrant gradient checkpointing, which cannot give gradients of chosen "
                "tensors. Build it with use_reentrant=False, or without checkpointing."
            ) from error
        raise
    return [next(found) if tensor.requires_grad else None for tensor in wanted]


def lead_shape(signature: Sequence[tuple[str, tuple[int, ...], str]]) -> tuple[int, ...]:
    """Returns the row shape of the input that class activation maps are laid over: the first with real values."""
    return next((shape for _, shape, dtype in signature if "float" in dtype), ())


def _detached(raw: Any) -> Any:
    return tree.map_leaves(lambda _, leaf: leaf.detach(), raw)
