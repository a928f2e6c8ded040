"""Scores what lies inside a layer: units, directions, energy, likeness to another input."""

from __future__ import annotations

from torch import Tensor

from ..core.errors import TargetError
from ..core.targets import Direction, Energy, Inner, Likeness, Unit


def inner(activation: Tensor, target: Inner) -> Tensor:
    """Returns the score of one row's target: activation (C, *places), or (*places, C) where the target's axis is -1.

    Raises TargetError where the layer has no such channel or place.
    """
    if isinstance(target, Energy):
        return activation.square().mean()
    if activation.dim() < 1:
        raise TargetError(f"Layer {target.layer!r} gives one number a row, which has no channels.")
    values = activation.movedim(-1, 0) if target.axis == -1 else activation
    match target:
        case Unit():
            return _at(values[_channel(values, target)], target)
        case Direction(vector=vector):
            _check_width(values, len(vector), target)
            return _at((values.movedim(0, -1) * values.new_tensor(vector)).sum(-1), target)
        case Likeness(guide=guide):
            _check_width(values, guide.shape[1], target)
            return (guide.to(values) @ values.reshape(len(values), -1)).amax(0).mean()


def _channel(values: Tensor, target: Unit) -> int:
    if target.channel >= values.shape[0]:
        raise TargetError(
            f"channel must be below {values.shape[0]}, the number of channels of layer {target.layer!r} (output "
            f"{tuple(values.shape)} a row, channels first); given {target.channel}."
        )
    return target.channel


def _check_width(values: Tensor, width: int, target: Direction | Likeness) -> None:
    if width != values.shape[0]:
        raise TargetError(
            f"A {type(target).__name__.lower()} needs one number for each channel of layer {target.layer!r}, "
            f"{values.shape[0]}; given {width}."
        )


def _at(channel: Tensor, target: Unit | Direction) -> Tensor:
    """Returns the mean over a map (*places), or its value at the target's position."""
    if target.position is None:
        return channel.mean()
    if len(target.position) != channel.dim() or any(
        not 0 <= at < size for at, size in zip(target.position, channel.shape, strict=True)
    ):
        raise TargetError(
            f"position must index a place in {tuple(channel.shape)} of layer {target.layer!r}; given {target.position}."
        )
    return channel[target.position]
