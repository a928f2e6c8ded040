"""Attention rollout: how much of each token reaches what the score reads, if attention were all that moves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core.attribution import Attribution
from ..core.errors import InputError, SettingError, UnsupportedModelError
from ..core.method import Method, MethodInfo
from ..core.queries import stack
from ..core.query import Chunk, Flow, Query, Record, ask
from ..core.rows import Case
from ..core.targets import Target
from .common import attribution
from .layer_parts import check_reshape
from .layer_places import Reshape, place


@dataclass(frozen=True, slots=True, eq=False)
class _Reached:
    """What of each token reached the score, (T,), the target that was explained, and its score (1,)."""

    shares: Tensor
    target: Target
    score: Tensor


@dataclass(frozen=True, slots=True)
class _OnAttention(Method):
    """What methods on attention weights have in common: they follow a matrix of each layer through the stack."""

    reshape: Reshape = None

    def __post_init__(self) -> None:
        check_reshape(self.reshape)

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields one query for all attention weights and their gradients, and returns what reaches the score."""

        def pick(chunk: Chunk) -> _Reached:
            assert chunk.score is not None
            return _Reached(self._followed(chunk, case.facts.readings), chunk.resolved[0], chunk.score)

        fold = stack(pick, lambda parts: parts[0])
        found = yield from ask(Query(case.rows(), target, fold, Record(attention_gradients=True)))
        values, facts = _placed(self, case, found.shares)
        return attribution(self, case, (values,), (found.target, found.score), diagnostics=facts)

    def _followed(self, chunk: Chunk, readings: int) -> Tensor:
        """Returns what of each token reaches the score, one part of the input that is read apart after another."""
        parts = []
        for layers in _stacks(self.info.name, chunk.attention, readings):
            whole = torch.eye(chunk.attention[layers[0]].shape[-1], dtype=torch.float64, device="cpu")
            for layer in layers:
                weights, gradients = (_exact(kind[layer][0]) for kind in (chunk.attention, chunk.attention_gradients))
                whole = self._step(weights, gradients, whole)
            parts.append(readers(weights, gradients) @ whole)
        return torch.cat(parts)

    def _step(self, weights: Tensor, gradients: Tensor, before: Tensor) -> Tensor:
        raise NotImplementedError


def _exact(values: Tensor) -> Tensor:
    return values.to("cpu").double()


def readers(weights: Tensor, gradients: Tensor) -> Tensor:
    """Returns how strongly the score reads each token behind the last attention, (T,), shares that sum to 1.

    The share of |A * dS/dA| in the token's row: all of it in one row where one token is read, such as a class token.
    """
    strength = (weights * gradients).abs().sum((0, 2))
    total = strength.sum()
    return strength / total if float(total) > 0 else torch.full_like(strength, 1 / len(strength))


def _stacks(name: str, weights: Sequence[Tensor], readings: int) -> list[range]:
    """Returns the places of each stack of layers; raises UnsupportedModelError unless each is over the same tokens.

    One query over the same tokens, and perhaps itself, behind the last stack does the reading, and belongs to none.
    """
    shapes = [tuple(layer.shape[2:]) for layer in weights]
    count = len(shapes)
    while count and shapes[count - 1][0] == 1 < shapes[count - 1][1]:
        count -= 1
    each = count // readings
    stacks = [range(part * each, (part + 1) * each) for part in range(readings)]
    alike = all(len({shapes[layer] for layer in layers}) == 1 for layers in stacks)
    square = count > 0 and all(queries == keys for queries, keys in shapes[:count])
    read = square and all(keys - shapes[count - 1][1] in (0, 1) for _, keys in shapes[count:])
    if not (alike and read) or count % readings:
        raise UnsupportedModelError(
            f"{name} follows one stack of attention, of all tokens to all tokens; given a network with {len(shapes)} "
            f"attention layers of (queries, keys) {sorted(set(shapes))[:4]}. Use 'integrated-gradients', or for "
            "pictures 'grad-cam'."
        )
    return stacks


def _placed(method: _OnAttention, case: Case, shares: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """Returns shares of tokens (T,) where they lie in the input, (1, *places), and what is known about that."""
    name, x = method.info.name, case.x[0]
    if method.reshape is None and x.dim() == 3 and len(shares) == x.shape[2]:
        return shares[None], {}
    if method.reshape is None and x.dim() != 4:
        raise InputError(
            f"{name} knows where tokens lie in pictures (N, C, H, W), and in sequences (N, C, L) of one token a place; "
            f"given {len(shares)} tokens of an input {tuple(x.shape)}. Say where they lie: reshape=, a function from "
            "(N, T, D) to (N, D, *places)."
        )
    placed, how = place(shares[None, :, None], x.shape, method.reshape, "attention")
    if placed.shape[:2] != (1, 1):
        raise SettingError(
            f"reshape must return (N, D, *places), here (1, 1, *places), from (1, {len(shares)}, 1), the share of each "
            f"token; it returned {tuple(placed.shape)}."
        )
    lost = float(1 - placed.sum() / shares.sum())
    facts = {"tokens": len(shares), "tokens_placed": how, "share_without_place": max(lost, 0.0)}
    return placed[:, 0], facts


def _info(name: str, title: str, **more: Any) -> MethodInfo:
    return MethodInfo(
        name=name,
        family="attention",
        title=title,
        reduce="none",
        signed=False,
        needs=frozenset({"gradient", "attention"}),
        cost="1 forward, 1 backward",
        **more,
    )


@dataclass(frozen=True, slots=True)
class AttentionRollout(_OnAttention):
    """Share of each token in what the score reads, by attention alone, from 0 to 1; (N, h, w), or (N, T) of a text.

    r' (A_L + I)/2 ... (A_1 + I)/2, with A_l the mean over heads of layer l's attention (T, T), and r how strongly the
    score reads each token at the end: the share of |A_L * dS/dA_L| in its row. All shares sum to 1; of a picture, what
    fell on tokens without a place (class token, registers) is `diagnostics["share_without_place"]`.

    It does not depend on the target, but for r. Where attention is fused, it is computed as it is defined.

    reshape: how tokens lie, where they make no grid of the picture's proportions: a function from (N, T, D) to
        (N, D, h, w), or (rows, columns).

    Raises UnsupportedModelError for networks without attention of all tokens to all tokens, such as CNNs and Swin.

    Differences: the paper takes the row of one token; so does r where the score reads one, such as a class token, and
    all tokens where they are pooled. Discarding weak attention, as some code does, is left out.

    Reference: Abnar, Zuidema, "Quantifying attention flow in transformers", ACL 2020, arXiv 2005.00928, sec. 3.
    """

    info: ClassVar[MethodInfo] = _info(
        "attention-rollout",
        "Attention rollout",
        units="share of attention",
        reference="Abnar and Zuidema 2020, arXiv 2005.00928",
        avoid="Not to tell for from against, nor one target from another: attention is not evidence.",
    )

    def _step(self, weights: Tensor, gradients: Tensor, before: Tensor) -> Tensor:
        own = torch.eye(len(before), dtype=torch.float64, device="cpu")
        mixed: Tensor = (weights.mean(0) + own) / 2 @ before
        return mixed


@dataclass(frozen=True, slots=True)
class AttentionGradient(_OnAttention):
    """Relevance of each token by attention weighed by its gradient, not negative; (N, h, w), or (N, T) of a text.

    R = I, then for each layer R <- R + mean over heads of max(A * dS/dA, 0) R; the rows of R are weighed by how
    strongly the score reads each token at the end. `diagnostics["share_without_place"]` is the share of all relevance
    on tokens without a place in the picture: the class token's is at least 1, its own row of I.

    reshape, errors: as for `AttentionRollout`.

    Differences: the paper takes the row of the class token and no more; see `AttentionRollout`.

    Reference: Chefer, Gur, Wolf, "Generic attention-model explainability", ICCV 2021, arXiv 2103.15679, eq. 5 and 6.
    """

    info: ClassVar[MethodInfo] = _info(
        "attention-gradient",
        "Attention × gradient",
        units="relevance",
        reference="Chefer et al. 2021, arXiv 2103.15679",
        avoid="Not for evidence against the target, which it leaves out, nor for shares: it does not add up.",
    )

    def _step(self, weights: Tensor, gradients: Tensor, before: Tensor) -> Tensor:
        moved: Tensor = before + (weights * gradients).clamp(min=0).mean(0) @ before
        return moved
