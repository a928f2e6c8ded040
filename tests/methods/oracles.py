"""Slow float64 oracles, written from the papers' formulas with plain loops: what every method is held against.

Nothing here uses seewhy. A network is copied to float64 with its in-place operations taken out, so that a captured
layer is what the layer gave, and gradients come from one ordinary backward pass.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

Score = Callable[[Tensor], Tensor]
"""From the network's output (1, K) to the number that is explained."""


def twin(network: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Returns a copy in eval mode whose activations do not write over their inputs."""
    made = copy.deepcopy(network).to(dtype).eval()
    for part in made.modules():
        if hasattr(part, "inplace"):
            part.inplace = False
    return made


def class_score(index: int) -> Score:
    """Returns the score function of one class."""
    return lambda output: output[0, index]


@dataclass(frozen=True)
class Layer:
    """A layer's activation A and the gradient dS/dA, (C, h, w) each, and the score."""

    activation: np.ndarray
    gradient: np.ndarray
    score: float


def input_gradient(network: nn.Module, x: Tensor, score: Score) -> Tensor:
    """Returns dS/dx at one row (1, C, H, W), in the network's own dtype: float64 for a twin."""
    leaf = x.detach().to(next(network.parameters()).dtype).requires_grad_()
    (found,) = torch.autograd.grad(score(network(leaf)), leaf)
    return found


def layers_at(network: nn.Module, x: Tensor, score: Score, names: Sequence[str]) -> dict[str, Layer]:
    """Returns activation and gradient of layers at one row; of a layer that runs several times, the last run."""
    kept: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[[nn.Module, object, Tensor], Tensor]:
        def keep(_: nn.Module, __: object, output: Tensor) -> Tensor:
            output.retain_grad()
            kept[name] = output
            return output.clone()  # what an in-place addition behind the layer writes to is not what it gave

        return keep

    handles = [network.get_submodule(name).register_forward_hook(hook(name)) for name in names]
    try:
        value = score(network(x.detach().to(next(network.parameters()).dtype).requires_grad_()))
        value.backward()
    finally:
        for handle in handles:
            handle.remove()
        network.zero_grad()
    return {name: _layer(tensor, float(value.detach())) for name, tensor in kept.items()}


def _layer(tensor: Tensor, score: float) -> Layer:
    assert tensor.grad is not None
    activation, gradient = (part.detach()[0].double().numpy() for part in (tensor, tensor.grad))
    return Layer(activation, gradient, score)


# ------------------------------------------------------------------------------------------- gradients of the input


def saliency(network: nn.Module, x: Tensor, score: Score) -> Tensor:
    """|dS/dx|: Simonyan et al. 2013, section 3."""
    return input_gradient(network, x, score).abs()


def input_x_gradient(network: nn.Module, x: Tensor, score: Score) -> Tensor:
    """x * dS/dx: Shrikumar et al. 2016."""
    return x.double() * input_gradient(network, x, score)


def smooth_grad(network: nn.Module, noisy: Tensor, score: Score, power: Callable[[Tensor], Tensor]) -> Tensor:
    """(1/n) sum_i f(dS/dx at x_i) over the given noisy inputs (n, C, H, W): Smilkov et al. 2017, eq. in section 3."""
    total = torch.zeros_like(noisy[:1], dtype=torch.float64)
    for row in noisy:
        total += power(input_gradient(network, row[None], score))
    return total / len(noisy)


def integrated_gradients(
    network: nn.Module, ends: tuple[Tensor, Tensor], score: Score, steps: Sequence[tuple[float, float]]
) -> Tensor:
    """(x - x') * sum_k w_k dS/dx(x' + a_k (x - x')): Sundararajan et al. 2017, eq. 3; steps are (a_k, w_k)."""
    start, x = (end.double() for end in ends)
    total = torch.zeros_like(x)
    for position, weight in steps:
        total += weight * input_gradient(network, start + position * (x - start), score)
    return (x - start) * total


class _Guided(torch.autograd.Function):
    """Springenberg et al. 2014, eq. in section 3.4: R^l = (f^l > 0) (R^{l+1} > 0) R^{l+1}."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, top: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.top = top
        return x.clamp(0, top)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        passes = (x > 0) & (x < ctx.top) & (gradient > 0)
        return torch.where(passes, gradient, torch.zeros_like(gradient)), None


class GuidedRelu(nn.Module):
    """A ReLU, or ReLU6, that lets only positive evidence back."""

    def __init__(self, top: float) -> None:
        super().__init__()
        self.top = top

    def forward(self, x: Tensor) -> Tensor:
        return _Guided.apply(x, self.top)


def guided(network: nn.Module) -> nn.Module:
    """Returns a copy of a twin in which every ReLU module is a guided one."""
    made = copy.deepcopy(network)
    for parent in list(made.modules()):
        for name, child in parent.named_children():
            if type(child) in (nn.ReLU, nn.ReLU6):
                setattr(parent, name, GuidedRelu(6.0 if type(child) is nn.ReLU6 else float("inf")))
    return made


def guided_backprop(network: nn.Module, x: Tensor, score: Score) -> Tensor:
    """The input gradient of the network with guided ReLUs."""
    return input_gradient(guided(network), x, score)


# --------------------------------------------------------------------------------------------- class activation maps


def _places(layer: Layer) -> list[tuple[int, int]]:
    _, height, width = layer.activation.shape
    return [(i, j) for i in range(height) for j in range(width)]


def _pairs(layer: Layer) -> list[tuple[list[list[float]], list[list[float]]]]:
    """Each channel's (activation, gradient) as lists of rows."""
    return list(zip(layer.activation.tolist(), layer.gradient.tolist(), strict=True))


def _weighted(layer: Layer, weights: Sequence[float]) -> np.ndarray:
    """sum_k w_k A_k."""
    total = np.zeros(layer.activation.shape[1:])
    for weight, channel in zip(weights, layer.activation, strict=True):
        total += weight * channel
    return total


def cam(layer: Layer, row_of_weights: Sequence[float]) -> np.ndarray:
    """M_c(x, y) = sum_k w_k^c f_k(x, y): Zhou et al. 2016, eq. 2; the weights are the linear layer's own."""
    return _weighted(layer, row_of_weights)


def grad_cam(layer: Layer) -> np.ndarray:
    """alpha_k = 1/Z sum_ij dS/dA_k,ij; L = sum_k alpha_k A_k (before its ReLU): Selvaraju et al. 2017, eq. 1, 2."""
    places = _places(layer)
    return _weighted(layer, [sum(g[i][j] for i, j in places) / len(places) for _, g in _pairs(layer)])


def grad_cam_plus_plus(layer: Layer) -> np.ndarray:
    """Chattopadhay et al. 2018, eq. 19 (alpha) and eq. 5 (weights), before the map's ReLU; exp(S) dropped."""
    places, weights = _places(layer), []
    for a, g in _pairs(layer):
        total = sum(a[i][j] for i, j in places)
        weight = 0.0
        for i, j in places:
            slope = g[i][j]
            denominator = 2 * slope**2 + total * slope**3
            alpha = slope**2 / denominator if denominator != 0 else 0.0
            weight += alpha * max(slope, 0.0)
        weights.append(weight)
    return _weighted(layer, weights)


def xgrad_cam(layer: Layer) -> np.ndarray:
    """alpha_k = sum_xy A_k(x,y) / (sum_xy A_k) * dS/dA_k(x,y): Fu et al. 2020, eq. 8; before the ReLU."""
    places, weights = _places(layer), []
    for a, g in _pairs(layer):
        total = sum(a[i][j] for i, j in places)
        share = sum(a[i][j] * g[i][j] for i, j in places)
        weights.append(share / total if total != 0 else 0.0)
    return _weighted(layer, weights)


def layer_cam(layer: Layer) -> np.ndarray:
    """w_ij = relu(g_ij); M_ij = sum_k w_k,ij A_k,ij (before its ReLU): Jiang et al. 2021, eq. 5 to 7."""
    total = np.zeros(layer.activation.shape[1:])
    for a, g in _pairs(layer):
        for i, j in _places(layer):
            total[i, j] += max(g[i][j], 0.0) * a[i][j]
    return total


def hires_cam(layer: Layer) -> np.ndarray:
    """sum_k dS/dA_k * A_k at every place: Draelos and Carin 2020, eq. 4 (signed)."""
    total = np.zeros(layer.activation.shape[1:])
    for a, g in _pairs(layer):
        for i, j in _places(layer):
            total[i, j] += g[i][j] * a[i][j]
    return total


CAMS: dict[str, Callable[[Layer], np.ndarray]] = {
    "grad-cam": grad_cam,
    "grad-cam++": grad_cam_plus_plus,
    "xgrad-cam": xgrad_cam,
    "layer-cam": layer_cam,
    "hires-cam": hires_cam,
}
"""The signed map of each method that needs a layer and its gradient, and nothing else."""


# ------------------------------------------------------------------------------------------------------- comparing


def gap(given: Tensor | np.ndarray, wanted: Tensor | np.ndarray) -> float:
    """Returns the largest difference as a share of the largest wanted value."""
    a, b = (torch.as_tensor(value).detach().double() for value in (given, wanted))
    assert a.shape == b.shape, f"{tuple(a.shape)} against {tuple(b.shape)}"
    scale = float(b.abs().max())
    assert scale > 0, "an oracle that is zero everywhere proves nothing"
    return float((a - b).abs().max()) / scale


def gap_in_norm(given: Tensor, wanted: Tensor) -> float:
    """Returns the norm of the difference as a share of the wanted norm: what one flipped rectifier hardly moves."""
    a, b = given.detach().double(), wanted.detach().double()
    assert a.shape == b.shape
    return float((a - b).norm() / b.norm())
