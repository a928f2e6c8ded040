"""Clearer words for what a network complains about when the input does not suit it."""

from __future__ import annotations

from ..core import tree
from ..core.errors import InputError


def explained(error: RuntimeError, inputs: tree.Inputs) -> InputError | None:
    """Returns a clearer error where the network complains about the input's own channels or about dtypes."""
    text = str(error)
    leaves = list(tree.leaves(inputs).values())
    shapes = ", ".join(str(tuple(leaf.shape)) for leaf in leaves)
    about_input = any(f"input{list(leaf.shape)}" in text for leaf in leaves)
    if about_input and "to have" in text and "channels, but got" in text:
        last = "; its last axis looks like the channels: x.permute(0, 3, 1, 2)" if _channels_last(inputs) else ""
        return InputError(f"x must have its channels on axis 1, (N, C, H, W); given {shapes}{last}. ({text})")
    if text.startswith("Input type (") or "must have the same dtype, but got" in text:
        dtypes = ", ".join(str(leaf.dtype) for leaf in leaves)
        return InputError(
            f"x is taken in the dtype of the network's first weights, {dtypes}, and others of its weights have "
            f"another dtype. Bring the network to one dtype, such as model.float(). ({text})"
        )
    return None


def _channels_last(inputs: tree.Inputs) -> bool:
    return any(leaf.dim() == 4 and leaf.shape[-1] in (1, 3, 4) for leaf in tree.leaves(inputs).values())
