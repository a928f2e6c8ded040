"""Slow float64 formulas of every method, on functions that write over nothing: what 'the right map' means here.

Nothing here uses seewhy. An oracle answers, for one row x (1, ...) in float64, the score and the activation of the
explained layer; `relu` is the activation it must use, so that guided backpropagation and deconvnet can exchange it.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Relu = Callable[[Tensor], Tensor]
Answer = tuple[Tensor, "Tensor | None"]
Oracle = Callable[[Tensor, Relu], Answer]
CAMS = (
    "cam",
    "grad-cam",
    "grad-cam++",
    "xgrad-cam",
    "layer-cam",
    "hires-cam",
    "smooth-grad-cam++",
    "eigen-cam",
    "finer-cam",
    "guided-grad-cam",
)


class _Exchanged(torch.autograd.Function):
    """phi with another backward: only positive gradients pass, times the slope of phi where `guided`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, phi: Relu, guided: bool) -> Tensor:
        ctx.save_for_backward(x)
        ctx.phi, ctx.guided = phi, guided
        return phi(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        if not ctx.guided:
            return gradient.clamp(min=0), None, None
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(ctx.phi(leaf).sum(), leaf)
        return gradient.clamp(min=0) * slope.clamp(min=0), None, None


def guided_relu(x: Tensor) -> Tensor:
    """ReLU that passes positive gradients only: Springenberg et al. 2014, section 3.4."""
    return _Exchanged.apply(x, F.relu, True)


def deconvnet_relu(x: Tensor) -> Tensor:
    """ReLU that passes positive gradients, wherever it was open: Zeiler and Fergus 2014, section 2.1."""
    return _Exchanged.apply(x, F.relu, False)


def gradient(oracle: Oracle, x: Tensor, relu: Relu = F.relu) -> Tensor:
    """dS/dx at one row."""
    leaf = x.double().clone().requires_grad_()
    score, _ = oracle(leaf, relu)
    return torch.autograd.grad(score, leaf)[0]


def score_of(oracle: Oracle, x: Tensor) -> float:
    """S at one row."""
    return float(oracle(x.double(), F.relu)[0].detach())


def integrated(oracle: Oracle, x: Tensor, steps: int) -> Tensor:
    """x * mean of dS/dx at the midpoints of `steps` equal pieces of the path from zero."""
    total = sum(gradient(oracle, (step + 0.5) / steps * x.double()) for step in range(steps))
    return x.double() * total / steps


def variance(oracle: Oracle, x: Tensor, noise: Tensor) -> Tensor:
    """1/(n-1) sum of (g_i - mean)^2, g_i = dS/dx at x + noise_i."""
    found = [gradient(oracle, x.double() + one) for one in noise[:, None]]
    mean = sum(found) / len(found)
    return sum((one - mean) ** 2 for one in found) / (len(found) - 1)


def expected(oracle: Oracle, x: Tensor, positions: list[float]) -> Tensor:
    """Mean of x * dS/dx(a x) over positions a between zero, the only example, and x."""
    return x.double() * sum(gradient(oracle, a * x.double()) for a in positions) / len(positions)


def occlusion(oracle: Oracle, x: Tensor, window: int, stride: int) -> Tensor:
    """Mean over the windows around a place of S(x) - S(x with zeros in the window)."""
    places = x.shape[2:] if x.dim() > 2 else x.shape[1:]
    total, count = torch.zeros(places, dtype=torch.float64), torch.zeros(places, dtype=torch.float64)
    whole = score_of(oracle, x)
    starts = [range(0, max(1, size - window + stride), stride) for size in places]
    for corner in itertools.product(*starts):
        where = tuple(slice(start, start + window) for start in corner)
        hidden = x.double().clone()
        hidden[(..., *where)] = 0
        total[where] += whole - score_of(oracle, hidden)
        count[where] += 1
    return (total / count)[None]


def coalition(oracle: Oracle, x: Tensor, labels: Tensor, kept: list[int]) -> float:
    """S(x with zeros in all but the kept pieces)."""
    return score_of(oracle, x.double() * torch.isin(labels, torch.tensor(kept, dtype=torch.long)))


def shapley(oracle: Oracle, x: Tensor, labels: Tensor) -> Tensor:
    """At each place its piece's mean gain over all orders in which the pieces arrive."""
    pieces = labels.unique().tolist()
    known: dict[frozenset[int], float] = {}

    def worth(kept: tuple[int, ...]) -> float:
        if frozenset(kept) not in known:
            known[frozenset(kept)] = coalition(oracle, x, labels, list(kept))
        return known[frozenset(kept)]

    found = torch.zeros(labels.shape, dtype=torch.float64)
    orders = list(itertools.permutations(pieces))
    for order in orders:
        for place, piece in enumerate(order):
            found[labels == piece] += (worth(order[: place + 1]) - worth(order[:place])) / len(orders)
    return found[None]


def lime(oracle: Oracle, x: Tensor, labels: Tensor, keep: Tensor) -> Tensor:
    """At each place its piece's weight, by least squares whose last rows are the ridge of 1; keep: the samples."""
    count = keep.shape[1]
    scores = [coalition(oracle, x, labels, torch.nonzero(row)[:, 0].tolist()) for row in keep]
    likeness = keep.double().sum(1) / (keep.double().sum(1) * count).sqrt().clamp(min=1e-9)
    roots = torch.exp(-((1 - likeness) ** 2) / 0.25**2).sqrt().sqrt()[:, None]
    rows = torch.cat([roots * torch.cat([torch.ones(len(keep), 1), keep], 1), torch.eye(count + 1)[1:].double()])
    values = torch.cat([roots * torch.tensor(scores, dtype=torch.float64)[:, None], torch.zeros(count, 1)])
    return torch.linalg.lstsq(rows, values).solution[1:, 0][labels][None]


def ablation(oracle: Oracle, x: Tensor, labels: Tensor) -> Tensor:
    """S(x) - S(x with zeros in the piece) at each place of a piece."""
    found = torch.zeros(labels.shape, dtype=torch.float64)
    for piece in labels.unique():
        found[labels == piece] = score_of(oracle, x) - score_of(oracle, x.double() * (labels != piece))
    return found[None]


def visible_score(oracle: Oracle, x: Tensor, masks: Tensor) -> Tensor:
    """sum of S(x M) M / sum of M over masks M (n, *places); the plain mean where no mask shows a place."""
    seen = [score_of(oracle, x.double() * mask) for mask in masks]
    total = sum(score * mask for score, mask in zip(seen, masks, strict=True))
    weight = masks.sum(0)
    return torch.where(weight > 0, total / weight.clamp(min=1e-300), sum(seen) / len(seen))[None]


def input_map(method: str, oracle: Oracle, x: Tensor, drawn: Any = None) -> Tensor:
    """The values of a method that explains the input, at one row. drawn: the noise or the positions of its draws."""
    match method:
        case "saliency" | "smoothgrad":  # run without noise
            return gradient(oracle, x).abs()
        case "input-x-gradient":
            return gradient(oracle, x) * x.double()
        case "integrated-gradients":
            return integrated(oracle, x, 8)
        case "adaptive":
            return integrated(oracle, x, 96)
        case "guided-backprop":
            return gradient(oracle, x, guided_relu)
        case "deconvnet":
            return gradient(oracle, x, deconvnet_relu)
        case "vargrad":
            return variance(oracle, x, drawn)
        case "expected-gradients":
            return expected(oracle, x, drawn)
    raise AssertionError(method)


def layer_map(method: str, oracle: Oracle, x: Tensor, place: Callable[[Tensor], Tensor], weights: Any = None) -> Tensor:
    """The map of a class activation method at one row.

    place: brings the layer's tensors to (1, C, *places). weights: CAM's, (C,), of the class.
    """
    if method in ("cam", "eigen-cam"):  # which need no gradient
        a = place(activation(oracle, x))
        return torch.einsum("c,nc...->n...", weights, a) if method == "cam" else first_axis(a)
    if method == "guided-grad-cam":
        coarse = layer_map("grad-cam", oracle, x, place)
        mode = {3: "linear", 4: "bilinear", 5: "trilinear"}[x.dim()]
        fine = F.interpolate(coarse[:, None], size=x.shape[2:], mode=mode, align_corners=False)
        return gradient(oracle, x, guided_relu) * fine
    leaf = x.double().clone().requires_grad_()
    score, layer = oracle(leaf, F.relu)
    (slope,) = torch.autograd.grad(score, layer, allow_unused=True)
    a, g = place(layer.detach()), place(torch.zeros_like(layer) if slope is None else slope)
    places = tuple(range(2, a.dim()))
    mean = g.mean(places, keepdim=True)
    match method:
        case "grad-cam" | "finer-cam":  # with nothing taken off for the neighbours
            return (mean * a).sum(1).relu()
        case "grad-cam++" | "smooth-grad-cam++":  # run without noise
            bottom = 2 * g**2 + g**3 * a.sum(places, keepdim=True)
            alpha = torch.where(bottom == 0, torch.zeros_like(g), g**2 / torch.where(bottom == 0, 1.0, bottom))
            return ((alpha * g.relu()).sum(places, keepdim=True) * a).sum(1).relu()
        case "xgrad-cam":
            total = a.sum(places, keepdim=True)
            share = (g * a).sum(places, keepdim=True)
            weight = torch.where(total == 0, torch.zeros_like(total), share / torch.where(total == 0, 1.0, total))
            return (weight * a).sum(1).relu()
        case "layer-cam":
            return (g.relu() * a).sum(1).relu()
        case "hires-cam":
            return (g * a).sum(1).relu()
    raise AssertionError(method)


def activation(oracle: Oracle, x: Tensor) -> Tensor:
    """The layer's values at one row."""
    _, layer = oracle(x.double(), F.relu)
    assert layer is not None
    return layer.detach()


def first_axis(a: Tensor) -> Tensor:
    """Places (1, *places) along the axis of the largest variance of the channels, the largest magnitude positive."""
    flat = a[0].flatten(1)
    centred = flat - flat.mean(1, keepdim=True)
    sizes, axes = torch.linalg.eigh(centred @ centred.T)
    along = axes[:, -1] @ centred
    if not bool(sizes[-1] > 1e-20 * flat.square().sum()):  # equal everywhere: no axis
        return torch.zeros_like(a[:, 0])
    assert len(sizes) == 1 or float(sizes[-2]) < (1 - 1e-3) * float(sizes[-1]), (
        "two axes are as good: nothing to compare"
    )
    high, low = float(along.max()), float(-along.min())
    assert abs(high - low) > 1e-3 * max(high, low), "two signs are as good: nothing to compare"
    return (along if high > low else -along).reshape(a[:, 0].shape)


def pooled_scores(a: Tensor, weight: Tensor, bias: Tensor, index: int) -> dict[str, list[float]]:
    """What a linear layer (K, C) says of a class by each pooling of a (1, C, *places), as it is and squashed."""
    flat, count = a[0].flatten(1), a[0, 0].numel()
    said = {
        "average": weight @ flat.mean(1) + bias,
        "maximum": weight @ flat.amax(1) + bias,
        "sum": weight @ flat.sum(1) + count * bias,
    }
    kinds = (lambda z: z, torch.sigmoid, lambda z: torch.softmax(z, 0), lambda z: torch.log_softmax(z, 0))
    return {name: [float(kind(logits)[index]) for kind in kinds] for name, logits in said.items()}


class _Exchangeable(nn.Module):
    """A rectifier as it is, or with a rule, which is generalised to rectifiers that fall somewhere."""

    def __init__(self, phi: Relu) -> None:
        super().__init__()
        self.phi = phi
        self.rule: str | None = None

    def forward(self, x: Tensor) -> Tensor:
        return self.phi(x) if self.rule is None else _Exchanged.apply(x, self.phi, self.rule == "guided")


def twin_oracle(network: nn.Module, layer: str | None, score: Callable[[Any], Tensor], read: Any = None) -> Oracle:
    """An oracle from a copy of any network: float64, eval mode, no write in place; of a layer the last use.

    score: from the output to the number explained. read: from the layer's output to its tensor.
    """
    twin = copy.deepcopy(network).double().eval()
    rectifiers: list[_Exchangeable] = []
    for parent in list(twin.modules()):
        if hasattr(parent, "inplace"):
            parent.inplace = False
        for name, child in parent.named_children():
            if type(child) in (nn.ReLU, nn.ReLU6, nn.GELU):
                rectifiers.append(_Exchangeable(type(child)()))
                setattr(parent, name, rectifiers[-1])
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Any) -> Any:
        kept.append(output)
        return output.clone()

    if layer is not None:
        twin.get_submodule(layer).register_forward_hook(keep)

    def oracle(x: Tensor, relu: Relu) -> Answer:
        kept.clear()
        for rectifier in rectifiers:
            rectifier.rule = {guided_relu: "guided", deconvnet_relu: "deconvnet"}.get(relu)
        with torch.enable_grad():
            number = score(twin(x))
        return number, kept[-1] if kept else None

    return oracle
