"""Copies of a network whose weights are shuffled from the top down: whose maps should not stay what they were."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .layers import Layers
from .model import Model

_NUMBER = re.compile(r"(^|_)\d+$")


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of the cascade: what is shuffled by then, in words, and the parts of the network that this step adds."""

    name: str
    parts: tuple[str, ...]


def stages(model: Model, layers: Layers) -> tuple[Stage, ...]:
    """Returns the cascade from the top: the classifier, all down to the last block, and the whole network.

    layers: the table of layers in the order of their calls. A part is what lies below a name up to its first number,
    such as `blocks.3` or `layer4.1`; the last block is the last part with more than one layer of weights, beside the
    classifier's. Small networks have fewer stages.
    """
    held = [
        name for name, part in model.module.named_modules() if any(p is not None for p in part._parameters.values())
    ]
    if held == [""]:
        return (Stage("classifier", ("",)),)  # all weights are the network's own
    called = {row.name: place for place, row in enumerate(layers) if row.calls}
    parts: dict[str, list[str]] = {}
    for name, part in _parts(sorted((name for name in held if name in called), key=called.__getitem__)).items():
        if part:
            parts.setdefault(part, []).append(name)
    order = list(parts)[::-1]
    if not order:
        return ()
    found = [Stage("classifier", (order[0],))]
    block = next((place for place, name in enumerate(order) if place and len(parts[name]) > 1), None)
    if block is not None and block < len(order) - 1:
        found.append(Stage("last block", tuple(order[1 : block + 1])))
    rest = tuple(order[sum(len(stage.parts) for stage in found) :])
    return (*found, Stage("whole network", rest)) if rest else tuple(found)


def twin(model: Model) -> Model:
    """Returns the model with a copy of its network, whose weights may be shuffled."""
    other = replace(model, module=copy.deepcopy(model.module))
    other.refresh()
    other.memo.dependent = model.memo.dependent  # whether rows depend on their company is no matter of weights
    return other


def shuffle(model: Model, parts: Sequence[str], seed: int) -> None:
    """Shuffles, in place, the numbers of every weight tensor below the named parts; statistics and buffers stay.

    A tensor keeps its numbers and loses their order: its scale is right for the layer, and what was learned is gone.

    Differences: Adebayo et al. draw new weights as before training, after which deep networks in evaluation mode answer
    next to nothing at all.
    """
    modules = dict(model.module.named_modules())
    with torch.no_grad():
        for part in parts:
            for name, parameter in modules[part].named_parameters():
                _shuffle(parameter, f"{seed}/{part}.{name}")


def _shuffle(parameter: nn.Parameter | Tensor, key: str) -> None:
    digest = hashlib.blake2b(key.encode(), digest_size=7).digest()
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest, "big"))
    order = torch.randperm(parameter.numel(), generator=generator, device="cpu").to(parameter.device)
    parameter.copy_(parameter.reshape(-1)[order].reshape(parameter.shape))


def part_of(name: str) -> str:
    """Returns the beginning of a module's name up to its first number, or its first word.

    A number is a word such as `3` or `encoder_layer_3`.
    """
    words = name.split(".")
    number = next((place for place, word in enumerate(words) if _NUMBER.search(word)), 0)
    return ".".join(words[: number + 1])


def _parts(names: Sequence[str]) -> dict[str, str]:
    """Returns the part of each module. What has other parts below is none: its own modules stand alone.

    Of a network inside another, `net.fc` must not stand for all of `net`. What such a container holds itself, a
    position embedding, belongs to no part.
    """
    found = {name: part_of(name) for name in names}
    split = {part for part in found.values() if any(other.startswith(f"{part}.") for other in found.values())}
    alone = {name: name for name in names if not any(other.startswith(f"{name}.") for other in names)}
    return {name: alone.get(name, "") if part in split else part for name, part in found.items()}
