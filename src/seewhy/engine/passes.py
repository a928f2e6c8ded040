"""One pass: a batch of rows through the model, forward and back, and nothing left behind but values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..core import tree
from ..core.errors import InputError, LayerError, NoGradientError, UnsupportedModelError
from ..core.query import DEFAULT_LAYER, Record
from ..core.rows import ENTRY
from ..core.targets import Target, Unit
from ..models.model import Model, call
from ..models.outputs import Output, understand
from ..models.tracing import LayerProbe
from ..models.views import View, open_view
from .capture import Capture, CaptureOverwritten, StopForward, is_scripted, missing
from .scoring import Scorer


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


def run_pass(model: Model, module: nn.Module, request: PassRequest) -> PassResult:
    """Runs one batch on `module`, which is the model's network or a prepared copy of it."""
    try:
        return _run(model, module, request)
    except CaptureOverwritten:  # by now the layer's name is known, and a named layer is safe from writes
        pass
    result = _run(model, module, request)
    result.forwards += 1
    return result


def _run(model: Model, module: nn.Module, request: PassRequest) -> PassResult:
    plan = _Plan.of(model, module, request)
    inputs, wrt = _prepare_inputs(request)
    view = open_view(request.view, module)
    try:
        if request.entry is not None:
            plan.capture.enter_at(request.entry, wrt.get(ENTRY, inputs[ENTRY]))
        plan.capture.attach()
        output = _forward(model, module, plan, inputs["inputs"] if request.entry else inputs, view)
        return _collect(model, plan, output, wrt, view)
    finally:
        plan.capture.detach()


@dataclass(slots=True)
class _Plan:
    """A request with its layers named: `alias` maps what was asked for to real names."""

    request: PassRequest
    capture: Capture
    alias: dict[str, str]
    needs_output: bool

    @staticmethod
    def of(model: Model, module: nn.Module, request: PassRequest) -> _Plan:
        units = {t.layer for set_ in request.targets for t in set_ if isinstance(t, Unit)}
        asked = {*request.record.layers, *units}
        memo = model.memo
        alias = {name: name for name in asked}
        if DEFAULT_LAYER in asked and memo.default_layer is not None:
            alias[DEFAULT_LAYER] = memo.default_layer[0]
        named = tuple(sorted({real for real in alias.values() if real != DEFAULT_LAYER}))
        probing = DEFAULT_LAYER in alias.values()
        record = request.record
        needs_output = (
            record.output
            or not request.targets
            or any(not isinstance(t, Unit) for set_ in request.targets for t in set_)
        )
        known = all(name in memo.calls for name in named)
        stop = {name: memo.calls[name] for name in named} if known and not needs_output and not probing else None
        probe = None
        if probing:
            shape = next(iter(tree.leaves(request.inputs).values())).shape
            layer_only = record.needs_gradient and not record.input_gradient
            probe = LayerProbe(tuple(shape), Tensor.clone if layer_only else None)
        return _Plan(request, Capture(module, named, record.needs_gradient, probe, stop), alias, needs_output)


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
    torch.manual_seed(request.seed)
    try:
        with ExitStack() as stack:
            if not request.record.needs_gradient:
                stack.enter_context(torch.no_grad())
            stack.enter_context(view)
            raw = call(module, inputs)
    except StopForward:
        return None
    except RuntimeError as error:
        clearer = _explained(error, inputs)
        if clearer is None:
            raise
        raise clearer from error
    _learn_calls(model, plan)
    return understand(raw, model.output, request.count)


def _explained(error: RuntimeError, inputs: tree.Inputs) -> InputError | None:
    """Returns a clearer error where the network's complaint is about the input's channels or dtype."""
    text = str(error)
    shapes = ", ".join(str(tuple(leaf.shape)) for leaf in tree.leaves(inputs).values())
    if "to have" in text and "channels, but got" in text:
        last = "; its last axis looks like the channels: x.permute(0, 3, 1, 2)" if _channels_last(inputs) else ""
        return InputError(f"x must have its channels on axis 1, (N, C, H, W); given {shapes}{last}. ({text})")
    if "should be the same" in text and "type" in text:
        return InputError(f"x must have the dtype of the network's weights; given {shapes}. ({text})")
    return None


def _channels_last(inputs: tree.Inputs) -> bool:
    return any(leaf.dim() == 4 and leaf.shape[-1] in (1, 3, 4) for leaf in tree.leaves(inputs).values())


def _learn_calls(model: Model, plan: _Plan) -> None:
    """Remembers how often each captured layer is called, so that a later pass knows where to stop."""
    for name, count in plan.capture.calls.items():
        if count:
            model.memo.calls[name] = count


def _collect(
    model: Model, plan: _Plan, output: Output | None, wrt: dict[str, Tensor], view: View
) -> PassResult:
    request, capture = plan.request, plan.capture
    tensors = _captured(model, plan)
    scorer = Scorer(output, model.kind, tensors, request.count)
    keep = len(request.targets)
    scored = []
    for targets in request.targets:
        keep -= 1
        scored.append(_backward(request, scorer.score(targets), wrt, tensors, keep > 0))
    names = {asked: _real(model, plan, asked) for asked in plan.alias}
    return PassResult(
        scored,
        {name: tensors[name].detach() for name in request.record.activations},
        names,
        _detached(output.raw) if output is not None and request.record.output else None,
        output.scores.detach() if output is not None and output.scores is not None else None,
        view.notes(),
        len(request.targets) if request.record.needs_gradient else 0,
    )


def _real(model: Model, plan: _Plan, asked: str) -> str:
    real = plan.alias[asked]
    if real == DEFAULT_LAYER and model.memo.default_layer is not None:
        return model.memo.default_layer[0]
    return real


def _captured(model: Model, plan: _Plan) -> dict[str, Tensor]:
    """Returns the captured tensors under the names they were asked for."""
    capture = plan.capture
    if any(not count for count in capture.calls.values()):
        raise missing(capture.layers, capture.calls, is_scripted(capture.module))
    if capture.probe is not None:
        best = capture.probe.best
        if best is not None:
            model.memo.default_layer = (best.name, best.why)
        capture.finish_default()
    return {asked: capture.tensors[real] for asked, real in plan.alias.items()}


def _backward(
    request: PassRequest,
    scored: tuple[Tensor, tuple[Target, ...]],
    wrt: dict[str, Tensor],
    tensors: Mapping[str, Tensor],
    keep: bool,
) -> Scored:
    """Takes the gradients of one set of targets."""
    score, resolved = scored
    record = request.record
    if not record.needs_gradient:
        return Scored(score.detach(), resolved)
    sources = [*wrt.values(), *(tensors[name] for name in record.gradients)]
    gradients = _gradients(score, sources, keep)
    inputs = gradients[: len(wrt)]
    if wrt and all(gradient is None for gradient in inputs):
        raise NoGradientError(_no_path("the input"))
    for name, gradient in zip(record.gradients, gradients[len(wrt) :], strict=True):
        if gradient is None:
            raise LayerError(
                f"The output of layer {_shown(name)} does not influence the target, so there is no gradient to "
                "weight it by. Choose a layer between the input and the score: model.layers() lists them."
            )
    filled = {
        path: torch.zeros_like(leaf) if gradient is None else gradient
        for (path, leaf), gradient in zip(wrt.items(), inputs, strict=True)
    }
    layers = dict(zip(record.gradients, gradients[len(wrt) :], strict=True))
    return Scored(
        score.detach(),
        resolved,
        tuple(filled[path] for path in request.leaves) if wrt else (),
        {name: gradient for name, gradient in layers.items() if gradient is not None},
    )


def _shown(name: str) -> str:
    return "chosen by default" if name == DEFAULT_LAYER else repr(name)


def _no_path(what: str) -> str:
    return (
        f"No gradient path leads from the target to {what}: the network cuts it (a threshold, rounding, argmax, "
        "detach, or quantised layers). Use a method that needs no gradient of the input."
    )


def _gradients(score: Tensor, sources: Sequence[Tensor], keep: bool) -> list[Tensor | None]:
    if not score.requires_grad:
        raise NoGradientError(_no_path("the input or the layer"))
    try:
        return list(torch.autograd.grad(score.sum(), sources, retain_graph=keep, allow_unused=True))
    except RuntimeError as error:
        if "checkpoint" in str(error):
            raise UnsupportedModelError(
                "This network uses re-entrant gradient checkpointing, which cannot give gradients of chosen "
                "tensors. Build it with use_reentrant=False, or without checkpointing."
            ) from error
        raise


def _detached(raw: Any) -> Any:
    return tree.map_leaves(lambda _, leaf: leaf.detach(), raw)
