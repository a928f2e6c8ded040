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


def var_grad(network: nn.Module, noisy: Tensor, score: Score) -> tuple[Tensor, Tensor]:
    """1/(n-1) sum_i (g_i - mean)^2 with g_i = dS/dx at x_i, and sqrt((m4 - (n-3)/(n-1) variance^2) / n), its error.

    Adebayo et al. 2018; the error of an unbiased variance is a textbook formula (Mood, Graybill, Boes, 1974).
    """
    found = [input_gradient(network, row[None], score) for row in noisy]
    n = len(found)
    mean = sum(found) / n
    variance = sum((one - mean) ** 2 for one in found) / (n - 1)
    fourth = sum((one - mean) ** 4 for one in found) / n
    return variance, ((fourth - (n - 3) / (n - 1) * variance**2) / n).sqrt()


def expected_gradients(network: nn.Module, x: Tensor, draws: Sequence[tuple[Tensor, float]], score: Score) -> Tensor:
    """(1/n) sum_i (x - x'_i) * dS/dx(x'_i + a_i (x - x'_i)) over draws (x'_i, a_i): Erion et al. 2021."""
    x = x.double()
    total = torch.zeros_like(x)
    for start, position in draws:
        away = x - start.double()
        total += away * input_gradient(network, start.double() + position * away, score)
    return total / len(draws)


class _Rectifier(torch.autograd.Function):
    """A ReLU cut at `top` whose backward is `rule(x, top, gradient)`."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, top: float, rule: Rule) -> Tensor:
        ctx.save_for_backward(x)
        ctx.top, ctx.rule = top, rule
        return x.clamp(0, top)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return torch.where(ctx.rule(x, ctx.top, gradient), gradient, torch.zeros_like(gradient)), None, None


Rule = Callable[[Tensor, float, Tensor], Tensor]
"""From a rectifier's input, its upper end and the gradient that arrives, to where the gradient passes."""


def guided_rule(x: Tensor, top: float, gradient: Tensor) -> Tensor:
    """Springenberg et al. 2014, eq. in section 3.4: R^l = (f^l > 0) (R^{l+1} > 0) R^{l+1}."""
    return (x > 0) & (x < top) & (gradient > 0)


def deconvnet_rule(x: Tensor, top: float, gradient: Tensor) -> Tensor:
    """Zeiler and Fergus 2014, section 2.1, rectification: R^l = (R^{l+1} > 0) R^{l+1}."""
    return gradient > 0


class ExchangedRelu(nn.Module):
    """A ReLU, or ReLU6, with another backward."""

    def __init__(self, top: float, rule: Rule) -> None:
        super().__init__()
        self.top, self.rule = top, rule

    def forward(self, x: Tensor) -> Tensor:
        return _Rectifier.apply(x, self.top, self.rule)


def exchanged(network: nn.Module, rule: Rule) -> nn.Module:
    """Returns a copy of a twin in which every ReLU module passes gradients by the rule."""
    made = copy.deepcopy(network)
    for parent in list(made.modules()):
        for name, child in parent.named_children():
            if type(child) in (nn.ReLU, nn.ReLU6):
                setattr(parent, name, ExchangedRelu(6.0 if type(child) is nn.ReLU6 else float("inf"), rule))
    return made


def guided_backprop(network: nn.Module, x: Tensor, score: Score) -> Tensor:
    """The input gradient of the network with guided ReLUs."""
    return input_gradient(exchanged(network, guided_rule), x, score)


def deconvnet(network: nn.Module, x: Tensor, score: Score) -> Tensor:
    """The input gradient of the network whose ReLUs rectify what comes back."""
    return input_gradient(exchanged(network, deconvnet_rule), x, score)


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


# ------------------------------------------------------------------------- class activation: noise, axes, contrasts


def smooth_grad_cam_plus_plus(activation: np.ndarray, gradients: Sequence[np.ndarray]) -> np.ndarray:
    """Omeiza et al. 2019, eq. 6 to 9, before the ReLU: D1, D2, D3 are means over the noisy copies' (C, h, w)."""
    count = len(gradients)
    total = np.zeros(activation.shape[1:])
    for k, channel in enumerate(activation):
        first = sum(one[k] for one in gradients) / count
        second = sum(one[k] ** 2 for one in gradients) / count
        third = sum(one[k] ** 3 for one in gradients) / count
        whole, weight = channel.sum(), 0.0
        for i in range(channel.shape[0]):
            for j in range(channel.shape[1]):
                bottom = 2 * second[i, j] + whole * third[i, j]
                alpha = second[i, j] / bottom if bottom != 0 else 0.0
                weight += alpha * max(first[i, j], 0.0)
        total += weight * channel
    return total


def eigen_cam(activation: np.ndarray) -> np.ndarray:
    """Places along the principal axis of the channels: the top eigenvector of their covariance, no SVD."""
    matrix = activation.reshape(len(activation), -1).T
    centred = matrix - matrix.mean(0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    along = centred @ vectors[:, -1]
    return (along * np.sign(along[np.abs(along).argmax()])).reshape(activation.shape[1:])


def nearest_classes(output: Tensor, index: int, count: int) -> list[int]:
    """The classes whose scores are nearest to one class's, nearest first."""
    scores = output[0].tolist()
    others = [other for other in range(len(scores)) if other != index]
    return sorted(others, key=lambda other: abs(scores[other] - scores[index]))[:count]


def enlarged(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear interpolation, pixels as areas, edges held: written out."""
    axes = []
    for old, new in zip(values.shape, size, strict=True):
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, old - 1)
        matrix = np.zeros((new, old))
        for row, (a, b, share) in enumerate(zip(low, high, at - low, strict=True)):
            matrix[row, a] += 1 - share
            matrix[row, b] += share
        axes.append(matrix)
    return axes[0] @ values @ axes[1].T
