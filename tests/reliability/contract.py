"""What every call owes, whatever happens: network, input and global state exactly as they were found."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seewhy
from seewhy import SeewhyError
from seewhy.core.tree import leaves
from seewhy.methods import (
    Cam,
    Deconvnet,
    EigenCam,
    ExpectedGradients,
    FeatureAblation,
    FinerCam,
    GradCam,
    GradCamPlusPlus,
    GuidedBackprop,
    GuidedGradCam,
    HiResCam,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    LayerCam,
    Lime,
    Occlusion,
    Rise,
    Saliency,
    SmoothGrad,
    SmoothGradCamPlusPlus,
    VarGrad,
    XGradCam,
)
from seewhy.methods.lime import draw
from seewhy.methods.noisy import noisy_rows
from seewhy.ops.masks import Layout, Masks, unit_points
from seewhy.ops.seeds import generator
from seewhy.study.cases import cases

from . import oracle as oracles
from .oracle import CAMS, Oracle

SAMPLED = ("vargrad", "expected-gradients")
INPUTS = ("saliency", "input-x-gradient", "smoothgrad", "integrated-gradients", "adaptive", *SAMPLED)
GUIDED = ("guided-backprop", "deconvnet")
COALITIONS = ("lime", "kernel-shap")
HIDING = ("occlusion", "feature-ablation", "rise", *COALITIONS)
ALL = (*INPUTS, *HIDING, *GUIDED, *CAMS)
NO_GRADIENT = ("cam", "eigen-cam")
NOISE, POINTS = 0.1, 6
WINDOW, MASKS, BLOCK, DRAWS = 8, 8, 4, 12
_CAM_CLASSES: tuple[Callable[..., Any], ...] = (
    Cam,
    GradCam,
    GradCamPlusPlus,
    XGradCam,
    LayerCam,
    HiResCam,
    partial(SmoothGradCamPlusPlus, samples=3, noise=0.0),
    EigenCam,
    partial(FinerCam, strength=0.0),
    GuidedGradCam,
)


def halves(shown: np.ndarray) -> np.ndarray:
    """Two halves along each of the first two axes of a picture, or of the only one: four pieces, or two."""
    places = shown.shape[:-1] or shown.shape
    labels = np.zeros(places, dtype=int)
    for axis, size in enumerate(places[:2]):
        along = (2 * np.arange(size) // size).reshape([-1 if other == axis else 1 for other in range(len(places))])
        labels = 2 * labels + along
    return labels


def kinds(name: str) -> tuple[str, ...]:
    """The kinds of refusals that concern a method, the closest first: of its needs, then of everybody."""
    if name in HIDING:  # scores are all they ask for: what has no gradient is no obstacle
        return (name, "no gradient", "all")
    guided = ("guided",) if name in GUIDED or name == "guided-grad-cam" else ()
    if name not in CAMS:
        return (name, *(guided or ("input",)), "all")
    return (name, *guided, "no gradient" if name in NO_GRADIENT else "gradient", "layer", "all")


def method(name: str, layer: Any = None, reshape: Any = None) -> Any:
    """The settings object of a method, cheap and comparable with the oracle."""
    plain = {
        "saliency": Saliency(),
        "input-x-gradient": InputXGradient(),
        "smoothgrad": SmoothGrad(samples=3, noise=0.0),
        "integrated-gradients": IntegratedGradients(steps=8, baseline="zero"),
        "adaptive": IntegratedGradients(baseline="zero", tolerance=0.005),
        "vargrad": VarGrad(samples=3, noise=NOISE),
        "expected-gradients": ExpectedGradients(background="zero", samples=POINTS),
        "occlusion": Occlusion(window=WINDOW, stride=WINDOW, baseline="zero"),
        "feature-ablation": FeatureAblation(segments=3, baseline="zero"),
        "lime": Lime(segments=halves, baseline="zero", samples=DRAWS),
        "kernel-shap": KernelShap(segments=halves, baseline="zero"),
        "rise": Rise(masks=MASKS, cells=2, baseline="zero", estimator="mean"),
        "guided-backprop": GuidedBackprop(),
        "deconvnet": Deconvnet(),
    }
    if name in plain:
        return plain[name]
    return _CAM_CLASSES[CAMS.index(name)](layer=layer, reshape=reshape)


def _tensor(value: Tensor | None) -> Any:
    if value is None:
        return None
    value = value.detach()
    if value.is_quantized or value.layout is not torch.strided:
        return str(value)
    flat = value.cpu().resolve_neg().reshape(-1).contiguous()
    return tuple(value.shape), value.dtype, flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def _plain(value: Any, depth: int = 0) -> Any:
    """A value that can be compared later: tensors and containers by content, other objects by identity."""
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, torch.Generator):
        return _tensor(value.get_state())
    if isinstance(value, (list, tuple)):
        return type(value), tuple(_plain(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return tuple((key, _plain(item, depth + 1)) for key, item in value.items())
    if isinstance(value, (int, float, str, bool, type(None), set, frozenset)):
        return repr(value)
    return id(value)


def fingerprint(network: nn.Module, *inputs: Tensor) -> dict[str, Any]:
    """Everything about a network, its inputs and torch that a call must leave alone."""
    found: dict[str, Any] = {}
    for path, part in network.named_modules():
        found[f"{path} class"] = type(part)
        if hasattr(part, "training"):
            found[f"{path} training"] = part.training
        if not isinstance(part, torch.jit.ScriptModule):
            for name, value in vars(part).items():
                if name.endswith("_hooks"):
                    found[f"{path} {name}"] = tuple(value)
                elif name not in ("_parameters", "_buffers", "_modules"):
                    found[f"{path} {name}"] = _plain(value)
        for name, value in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
            hooks = value._backward_hooks
            found[f"{path} tensor {name}"] = (id(value), _tensor(value), value.requires_grad, _tensor(value.grad))
            found[f"{path} tensor hooks {name}"] = tuple(hooks) if hooks else ()
        for name, _ in part.named_children():
            found[f"{path} child {name}"] = True
    for place, x in enumerate(inputs):
        grad = x.grad if x.is_leaf else None
        found[f"x {place}"] = (_tensor(x), x.requires_grad, _tensor(grad), x.stride(), bool(x._backward_hooks))
    return found | {
        "torch random": torch.get_rng_state().numpy().tobytes(),
        "numpy random": pickle.dumps(np.random.get_state()),
        "python random": random.getstate(),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "default dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "modes": (torch._C._len_torch_function_stack(), torch._C._len_torch_dispatch_stack()),
        "global hooks": tuple(
            tuple(value)
            for name, value in vars(nn.modules.module).items()
            if name.startswith("_global_") and name.endswith("_hooks")
        ),
    }


@contextmanager
def unchanged(network: nn.Module, *inputs: Tensor) -> Iterator[None]:
    """Asserts, also when an exception passes, that nothing was left behind."""
    before = fingerprint(network, *inputs)
    try:
        yield
    finally:
        after = fingerprint(network, *inputs)
        changed = [name for name in {**before, **after} if before.get(name, "absent") != after.get(name, "absent")]
        assert not changed, f"left changed: {changed}"


@dataclass(frozen=True)
class Refusal:
    """A clear error: its type, words that its message must hold, or the very exception that must come through."""

    kind: type[BaseException] = SeewhyError
    words: tuple[str, ...] = ()
    same: BaseException | None = None

    def check(self, error: BaseException) -> None:
        if self.same is not None:
            assert error is self.same
            return
        assert isinstance(error, self.kind), repr(error)
        text = str(error)
        missing = [word for word in self.words if word not in text]
        assert not missing, f"{missing} not in: {text}"


def refusal(kind: type[BaseException], *words: str) -> Refusal:
    return Refusal(kind, words)


def same(error: BaseException) -> Refusal:
    return Refusal(type(error), same=error)


@contextmanager
def refused(expected: Refusal) -> Iterator[None]:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - checked below, by type, words or identity
        yield
    expected.check(caught.value)


def close(got: Tensor, wanted: Tensor, tolerance: float, least: float = 1e-30) -> None:
    """Asserts that a map equals the oracle's, relative to its largest value, or to `least` where that is larger."""
    assert got.shape == wanted.shape, (tuple(got.shape), tuple(wanted.shape))
    assert bool(torch.isfinite(got).all())
    scale = max(float(wanted.abs().max()), least) if wanted.numel() else 1.0
    gap = float((got.double() - wanted).abs().max()) / scale
    assert gap <= tolerance, f"differs by {gap:.2e} of the largest value"


def check_map(name: str, made: Any, oracle: Oracle, rows: Tensor, how: Any) -> None:
    """Asserts that each row's map is the oracle's. `how` has `tolerance`, `place`, and `large` for costly networks.

    For CAM it has the network, the name of its last linear layer as `head`, the class as `index`, and `pooling`.
    `how.ids` are the cases that draws belong to, where x is not all that the network was given.
    """
    for row, x in enumerate(rows):
        x = x[None].detach()
        got = made.values[row : row + 1].detach()
        if name in CAMS:
            weights = check_pooling(made, row, oracle, x, how) if name == "cam" else None
            close(got, oracles.layer_map(name, oracle, x, how.place, weights), how.tolerance)
            continue
        if name == "adaptive":
            difference = oracles.score_of(oracle, x) - oracles.score_of(oracle, torch.zeros_like(x))
            assert abs(float(got.double().sum()) - difference) <= 0.02 * abs(difference) + 1e-6
            if how.large:
                continue
        if name in HIDING:
            check_hidden(name, made, row, oracle, x, how)
            continue
        wanted = oracles.input_map(name, oracle, x, drawn(name, x, how.ids[row] if how.ids else None))
        if name == "adaptive":
            close(got, wanted, max(0.06, how.tolerance))
            continue
        # Equal rows of a batch may differ by rounding, 1e-7 of the gradient, and their variance by its square.
        slope = float(oracles.gradient(oracle, x).abs().max()) if name == "vargrad" and x.numel() else 0.0
        close(got, wanted, how.tolerance, max(1e-30, (1e-4 * slope) ** 2))


def check_pooling(made: Any, row: int, oracle: Oracle, x: Tensor, how: Any) -> Tensor:
    """Returns CAM's weights, having asserted that the layer is pooled as the case says, and that CAM says so too.

    The arithmetic must make the score by that pooling; where it is unknown it must make it by none.
    """
    part = how.network.get_submodule(how.head)
    with torch.no_grad():
        weight, bias = part.weight.double().flatten(1), part.bias.double()
    a, score = how.place(oracles.activation(oracle, x)), oracles.score_of(oracle, x)
    said = oracles.pooled_scores(a, weight, bias, how.index)
    met = {name for name, numbers in said.items() if any(abs(n - score) <= 1e-6 * abs(score) for n in numbers)}
    missed = {name for name, numbers in said.items() if all(abs(n - score) > 1e-3 * abs(score) for n in numbers)}
    facts = {key: made.diagnostics[key] for key in ("pooling", "additivity_gap", "head")}
    facts = {key: value[row] if isinstance(value, list) else value for key, value in facts.items()}
    assert facts["pooling"] == how.pooling
    assert facts["head"] == how.head
    if how.pooling != "unknown":
        assert how.pooling in met
        assert facts["additivity_gap"] == 0
        return weight[how.index]
    assert len(missed) == len(said), "the score can be made of the pooled layer: nothing is unknown here"
    given = float(made.scores[row])
    gap = abs(said["average"][0] - given) / abs(given)
    assert abs(facts["additivity_gap"] - gap) <= how.tolerance * max(1.0, gap)
    assert gap > 1e-3
    return weight[how.index]


def check_hidden(name: str, made: Any, row: int, oracle: Oracle, x: Tensor, how: Any) -> None:
    """Asserts that a map of scores of hidden or masked copies is the oracle's, up to the rounding of the scores."""
    case = how.ids[row] if how.ids else None
    if name == "rise":
        wanted = oracles.visible_score(oracle, x, masks(x, case))
    elif name == "occlusion":
        wanted = oracles.occlusion(oracle, x, WINDOW, WINDOW)
    elif name in COALITIONS:
        labels = made.segments[row]
        assert torch.equal(labels.unique(), torch.arange(len(made.segment_values[row])))
        if name == "kernel-shap":
            wanted = oracles.shapley(oracle, x, labels)
        else:
            if case is None:
                (case,) = cases(seewhy.wrap(nn.Identity()), x, 0)
            wanted = oracles.lime(oracle, x, labels, draw(len(made.segment_values[row]), DRAWS, 0, case.id))
    else:
        wanted = oracles.ablation(oracle, x, made.segments[row])
        assert made.segments[row].max() + 1 == len(made.segment_values[row])
    # A score has 1e-7 of its size in rounding; of a difference of two that may be much more.
    coarse = max(how.tolerance, how.coarse)
    size = abs(oracles.score_of(oracle, x)) * (1.0 if coarse > 1e-3 else 0.02)
    close(made.values[row : row + 1].detach(), wanted, coarse, max(1e-30, size))


def masks(x: Tensor, case: Any = None) -> Tensor:
    """The masks (n, *places) that RISE draws for one row with seed 0."""
    if case is None:
        (case,) = cases(seewhy.wrap(nn.Identity()), x, 0)
    places = x.shape[2:] if x.dim() > 2 else x.shape[1:]
    layout = Layout.of(places, places if x.dim() == 2 else [2] * len(places))
    found = []
    for block in range(MASKS // BLOCK):
        points = unit_points(BLOCK, layout.numbers, "sobol", 0, case.id, "rise", block)
        found.append(Masks.of(layout, points, 0.5).build(torch.arange(BLOCK), "cpu", torch.float64))
    return torch.cat(found)


def drawn(name: str, x: Tensor, case: Any = None) -> Any:
    """What a sampling method draws for one row with seed 0: noise (3, ...), or positions; else None.

    case: the row as seewhy has it; None where it is x alone.
    """
    if name not in SAMPLED:
        return None
    if case is None:
        (case,) = cases(seewhy.wrap(nn.Identity()), x, 0)
    if name == "vargrad":
        noisy = leaves(noisy_rows(case, NOISE, 0, 3).build(slice(0, 3)))[case.leaves[0]]
        return noisy.double() - x.double()
    inside = torch.rand(POINTS, generator=generator(0, case.id, "expected-gradients", 0), dtype=torch.float64)
    return [(part + float(place)) / POINTS for part, place in enumerate(inside)]


Call = Callable[[], Any]
__all__ = [
    "ALL",
    "CAMS",
    "GUIDED",
    "HIDING",
    "INPUTS",
    "NO_GRADIENT",
    "Refusal",
    "check_map",
    "check_pooling",
    "close",
    "drawn",
    "kinds",
    "method",
    "refusal",
    "refused",
    "same",
    "seewhy",
    "unchanged",
]
