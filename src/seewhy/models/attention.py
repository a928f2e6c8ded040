"""Attention weights of any network, fused or not: each softmax over keys is seen, kept, and handed on in one pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ..core.errors import UnsupportedModelError

_SOFTMAX = (functional.softmax, torch.softmax, Tensor.softmax)
_HALF = (torch.float16, torch.bfloat16)
_ON_TOKENS = (functional.linear, functional.layer_norm)
"""What networks do to each token by itself: it tells how many tokens there are."""


class AttentionTap(TorchFunctionMode):
    """A context in which attention weights are kept on their way to the values, (N, heads, Q, K), in order.

    Fused attention, which never shows its weights, is computed as it is defined: softmax(q k' scale + mask) v.

    keep: returns what is kept of weights, from which the graph may start; the network goes on with a copy of it.
    """

    def __init__(self, keep: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.keep = keep
        self.weights: list[Tensor] = []
        self.given: set[tuple[int, ...]] = set()
        self.closed = False

    def close(self) -> None:
        """Keeps no more; what runs again in a backward pass is still computed in the same way."""
        self.closed = True

    def found(self, rows: int) -> tuple[Tensor, ...]:
        """Returns the weights (N, heads, Q, K) of each attention of a pass over so many rows.

        Raises UnsupportedModelError where none was seen, or some are not of all tokens of a row.
        """
        if not self.weights:
            raise UnsupportedModelError(
                "A method that follows attention needs the attention weights of a transformer; given a network that "
                "called no attention that can be seen. For a CNN use 'grad-cam' or 'integrated-gradients'. Attention "
                "in a kernel of its own is not seen either: load the network with attn_implementation='eager' or "
                "'sdpa', and neither scripted nor compiled."
            )
        known = self._tokens(rows)
        other = {tuple(kept.shape[1:]) for kept in self.weights if len(kept) != rows or not _over(known, kept)}
        if other:
            raise UnsupportedModelError(
                "A method that follows attention needs the attention weights of all tokens of a row to each other; "
                "given a network that attends within windows or groups of them, or from channel to channel, with "
                f"weights (heads, queries, keys) {sorted(other)[:4]}. Use 'grad-cam' or 'integrated-gradients'."
            )
        return tuple(self.weights)

    def _tokens(self, rows: int) -> set[int]:
        """Returns the numbers of tokens a row that linear layers and norms were given; empty if it cannot be told."""
        first = {math.prod(shape[1:-1]) for shape in self.given if shape[0] == rows}
        return first | {shape[0] for shape in self.given if len(shape) == 3 and shape[1] == rows}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            return self._attend(*args, **named)
        if func is functional.multi_head_attention_forward:
            return self._multi_head(func, args, named)
        if func is torch.autograd.grad:  # checkpointed layers run again in it, and must as they did before
            with self:
                return _unwatched(func)(*args, **named)
        if func in _ON_TOKENS and not self.closed and args and args[0].dim() > 2:
            self.given.add(tuple(args[0].shape))
        out = func(*args, **named)
        over = named.get("dim", args[1] if len(args) > 1 else None)
        if func in _SOFTMAX and isinstance(out, Tensor) and over in (-1, out.dim() - 1):
            return self._seen(out)
        return out

    def _seen(self, weights: Tensor) -> Tensor:
        """Returns what the network goes on with. Weights of one head, (N, T, T), are kept with an axis for it."""
        single = weights.dim() == 3 and weights.shape[-1] == weights.shape[-2]
        if not single and weights.dim() != 4:
            return weights  # such as the probabilities of classes
        kept = self.keep(weights.unsqueeze(1) if single else weights)
        if not self.closed:
            self.weights.append(kept)
        handed = kept.clone()  # so that later in-place operations leave what is kept alone
        return handed.squeeze(1) if single else handed

    def _multi_head(self, func: Any, args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """Runs the function behind nn.MultiheadAttention, in which no context sees what is called, on our softmax."""
        heads: int = named["num_heads"] if "num_heads" in named else args[4]

        def softmax(scores: Tensor, dim: int) -> Tensor:
            """Of (N * heads, Q, K)."""
            weights = functional.softmax(scores, dim=dim)
            return self._seen(weights.reshape(-1, heads, *weights.shape[1:])).flatten(0, 1)

        twin = _unwatched(func, scaled_dot_product_attention=self._attend, softmax=softmax)
        return twin(*args, **named)

    def _attend(  # noqa: PLR0913 - torch's own parameters
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if enable_gqa:
            groups = query.shape[-3] // key.shape[-3]
            key, value = (part.repeat_interleave(groups, -3) for part in (key, value))
        wide = torch.float32 if query.dtype in _HALF else query.dtype  # as fused attention does: products overflow
        factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = query.to(wide) @ key.to(wide).transpose(-2, -1) * factor
        if is_causal:
            ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(ahead, -torch.inf)
        if attn_mask is not None:
            hidden = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -torch.inf) if hidden else scores + attn_mask
        blank = scores.isneginf().all(-1, keepdim=True)  # a query that may see nothing gets nothing
        weights = scores.masked_fill(blank, 0.0).softmax(-1).masked_fill(blank, 0.0)
        return self._seen(functional.dropout(weights, dropout_p).to(query.dtype)) @ value


def _over(tokens: set[int], weights: Tensor) -> bool:
    """False for weights of as many queries as keys that are no number of tokens, such as of channels to each other."""
    queries, keys = weights.shape[-2:]
    return queries != keys or keys in tokens or not tokens


def _unwatched(func: Any, **others: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function of torch that does not ask contexts to run it, and calls `others` by the names it knows."""
    known = {**func.__globals__, "has_torch_function": lambda _: False, **others}
    twin = FunctionType(func.__code__, known, func.__name__, func.__defaults__)
    twin.__kwdefaults__ = func.__kwdefaults__
    return twin
