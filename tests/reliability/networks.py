"""Hostile networks: one small convolutional network, and what people do to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .oracle import Answer, Oracle, Relu

CLASSES = 5


class Plain(nn.Module):
    """conv1, relu, conv2, relu, global average pooling, linear."""

    def __init__(self, channels: int = 3, classes: int = CLASSES) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4, 3, padding=1)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(4, 6, 3, padding=1)
        self.act2 = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(6, classes)

    def first(self, x: Tensor) -> Tensor:
        return self.act1(self.conv1(x))

    def features(self, x: Tensor) -> Tensor:
        return self.act2(self.conv2(self.first(x)))

    def head(self, features: Tensor) -> Tensor:
        return self.fc(self.pool(features).flatten(1))

    def forward(self, x: Tensor) -> Any:
        return self.head(self.features(x))


def made(cls: Callable[..., nn.Module], *args: Any, train: bool = False, **kwargs: Any) -> Any:
    """A network with the same weights in every test."""
    torch.manual_seed(1)
    network = cls(*args, **kwargs)
    for name, parameter in network.named_parameters():
        if name.endswith("fc.weight") or name == "fc.weight":
            parameter.data.mul_(3)  # else the biases decide
    return network.train(train)


def plain_oracle(
    network: Any,
    layer: str = "act2",
    score: Callable[[Tensor], Tensor] = lambda logits: logits[0, 2],
    *,
    enter: Callable[[Tensor], Tensor] = lambda x: x,
    middle: Callable[[Tensor], Tensor] = lambda a: a,
) -> Oracle:
    """The plain network in float64 by its formula, with what a variant does to x and behind conv2."""
    state = {
        name: tensor.detach().dequantize().double() if tensor.is_quantized else tensor.detach().double()
        for name, tensor in network.state_dict().items()
        if isinstance(tensor, Tensor)
    }

    def oracle(x: Tensor, relu: Relu) -> Answer:
        layers: dict[str, Tensor] = {}
        layers["conv1"] = F.conv2d(enter(x), state["conv1.weight"], state["conv1.bias"], padding=1)
        if not layers["conv1"].requires_grad:  # the variant cuts the path to x
            layers["conv1"].requires_grad_()
        layers["act1"] = relu(layers["conv1"])
        layers["conv2"] = F.conv2d(layers["act1"], state["conv2.weight"], state["conv2.bias"], padding=1)
        layers["act2"] = relu(middle(layers["conv2"]))
        logits = F.linear(layers["act2"].mean((2, 3)), state["fc.weight"], state["fc.bias"])
        return score(logits), layers.get(layer)

    return oracle


class InPlaceModules(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.act1 = nn.ReLU(inplace=True)
        self.act2 = nn.ReLU(inplace=True)


class ReusedRelu(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.act2 = self.act1


class InPlaceArithmetic(Plain):
    def features(self, x: Tensor) -> Tensor:
        a = self.conv2(self.first(x))
        a += 1
        a *= 2
        return F.relu_(a)


class Dropping(Plain):
    """Dropout and batch-norm: what train mode changes."""

    def __init__(self) -> None:
        super().__init__()
        self.drop1 = nn.Dropout(0.5)
        self.norm = nn.BatchNorm2d(6)
        self.drop2 = nn.Dropout(0.5)

    def features(self, x: Tensor) -> Tensor:
        return self.act2(self.norm(self.conv2(self.drop1(self.first(x)))))

    def head(self, features: Tensor) -> Tensor:
        return self.fc(self.drop2(self.pool(features).flatten(1)))


class Wrapped(Plain):
    """Hands its logits and features to a function that makes the output of them."""

    def __init__(self, output: Callable[[Tensor, Tensor], Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.output = output

    def forward(self, x: Tensor) -> Any:
        features = self.features(x)
        return self.output(self.head(features), features)


class Pair(NamedTuple):
    logits: Tensor
    aux: Tensor


class Segmenter(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.classify = nn.Conv2d(6, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))


def detections(logits: Tensor, features: Tensor) -> list[dict[str, Tensor]]:
    return [
        {"scores": row.sigmoid(), "labels": torch.arange(CLASSES), "boxes": torch.zeros(CLASSES, 4)} for row in logits
    ]


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(3 * 8 * 8, 12)
        self.act = nn.ReLU()
        self.two = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.act(self.one(x.flatten(1))))


class Volume(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3, padding=1)
        self.act = nn.ReLU()
        self.fc = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.act(self.conv(x)).mean((2, 3, 4)))


class Signal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 4, 3, padding=1)
        self.act = nn.ReLU()
        self.fc = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.act(self.conv(x)).mean(2))


class Functional(nn.Module):
    """No submodule at all."""

    def __init__(self) -> None:
        super().__init__()
        source = Plain()
        self.w = nn.ParameterList([p for m in (source.conv1, source.conv2, source.fc) for p in m.parameters()])

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(F.conv2d(x, self.w[0], self.w[1], padding=1))
        h = torch.relu(F.conv2d(h, self.w[2], self.w[3], padding=1))
        return F.linear(h.mean((2, 3)), self.w[4], self.w[5])


class FunctionalRelu(Plain):
    def first(self, x: Tensor) -> Tensor:
        return F.relu(self.conv1(x))

    def features(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv2(self.first(x)))


class Thresholded(Plain):
    def first(self, x: Tensor) -> Tensor:
        return self.act1(self.conv1((x > 0.5).to(x.dtype)))


class Restless(Plain):
    """Dropout and noise that are always on."""

    def features(self, x: Tensor) -> Tensor:
        h = F.dropout(self.first(x), 0.3, training=True)
        return self.act2(self.conv2(h) + 0.1 * torch.randn(len(x), 6, 1, 1))


class Failing(Plain):
    """Raises `error` half-way, once `armed`."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error
        self.armed = True

    def head(self, features: Tensor) -> Tensor:
        if self.armed:
            raise self.error
        return super().head(features)


class _RaisingBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, owner: Any) -> Tensor:
        ctx.owner = owner
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        if ctx.owner.armed:
            raise ctx.owner.error
        return gradient, None


class FailingBackward(Failing):
    def head(self, features: Tensor) -> Tensor:
        return Plain.head(self, _RaisingBackward.apply(features, self))


class TwiceUsed(nn.Module):
    """One convolution used twice in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU()
        self.fc = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.conv1(x))
        h = self.act(self.conv2(h))
        return self.fc(self.act(self.conv2(h)).mean((2, 3)))


class Unused(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.aside = nn.Conv2d(4, 4, 1)

    def features(self, x: Tensor) -> Tensor:
        h = self.first(x)
        self.aside(h)
        return self.act2(self.conv2(h))


class Checkpointed(Plain):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant

    def features(self, x: Tensor) -> Tensor:
        h = checkpoint(self.first, x, use_reentrant=self.reentrant)
        return checkpoint(lambda t: self.act2(self.conv2(t)), h, use_reentrant=self.reentrant)


class NormalisesInPlace(Plain):
    def first(self, x: Tensor) -> Tensor:
        return super().first(x.mul_(2).add_(-0.5))


class Parameterless(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(x - 0.3)
        return torch.stack([h[:, i].mean((1, 2)) * (i + 1) for i in range(3)], 1)


class NeedsKeyword(Plain):
    def forward(self, x: Tensor, *, temperature: float) -> Tensor:
        return super().forward(x) / temperature


class Overflowing(Plain):
    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        infinite = torch.zeros_like(logits)
        infinite[:, 2] = float("inf")
        return logits + infinite
