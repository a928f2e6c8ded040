"""Attention rollout: how much of each token reaches what the score reads, if attention were all that moves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core.attribution import Attribution
from ..core.errors import UnsupportedModelError
from ..core.method import Method, MethodInfo
from ..core.queries import resolve, stack
from ..core.query import Chunk, Flow, Query, Record, ask
from ..core.rows import Case
from ..core.targets import Target
from .common import attribution


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """Attention weights and the score's gradients with respect to them, by layer, (heads, T, T); the score."""

    weights: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    score: Tensor


class _OnAttention(Method):
    """What methods on attention weights have in common: they follow a matrix of each layer through the stack."""

    __slots__ = ()

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields one query for all attention weights and their gradients, and returns what reaches the score."""
        facts = case.facts.attention
        if facts is None:
            raise UnsupportedModelError(
                f"{self.info.name} needs the attention weights of a model that reads text: use seewhy.explain_text or "
                "seewhy.generate. For other models use 'integrated-gradients'."
            )
        target = yield from resolve(case, target)
        names = tuple(name for layers in facts.stacks for name in layers)
        seen = yield from ask(_query(case, target, names))
        parts = [self._followed(seen, layers) for layers in facts.stacks]
        return attribution(self, case, (torch.cat(parts)[None],), (target, seen.score))

    def _followed(self, seen: _Seen, layers: tuple[str, ...]) -> Tensor:
        whole = torch.eye(seen.weights[layers[0]].shape[-1], dtype=torch.float64)
        for name in layers:
            whole = self._step(seen.weights[name], seen.gradients[name], whole)
        return readers(seen.weights[layers[-1]], seen.gradients[layers[-1]]) @ whole

    def _step(self, weights: Tensor, gradients: Tensor, before: Tensor) -> Tensor:
        raise NotImplementedError


def readers(weights: Tensor, gradients: Tensor) -> Tensor:
    """Returns how strongly the score reads each token behind the last attention, (T,), shares that sum to 1.

    The share of |A * dS/dA| in the token's row: all of it in one row where one token is read, such as a class token.
    """
    strength = (weights * gradients).abs().sum((0, 2))
    total = strength.sum()
    return strength / total if float(total) > 0 else torch.full_like(strength, 1 / len(strength))


def _query(case: Case, target: Target, names: tuple[str, ...]) -> Query[_Seen]:
    def pick(chunk: Chunk) -> _Seen:
        assert chunk.score is not None
        weights, gradients = (
            {name: found[name][0].detach().to("cpu", torch.float64) for name in names}
            for found in (chunk.activations, chunk.gradients)
        )
        return _Seen(weights, gradients, chunk.score)

    return Query(case.rows(), target, stack(pick, lambda parts: parts[0]), Record(activations=names, gradients=names))


def _info(name: str, title: str, **more: Any) -> MethodInfo:
    return MethodInfo(
        name=name,
        family="attention",
        title=title,
        reduce="none",
        signed=False,
        needs=frozenset({"gradient", "layer"}),
        cost="3 forward, 1 backward",
        **more,
    )


@dataclass(frozen=True, slots=True)
class AttentionRollout(_OnAttention):
    """Share of each token in what the score reads, by attention alone; (N, T), from 0 to 1, which sum to 1.

    r' (A_L + I)/2 ... (A_1 + I)/2, with A_l the mean over heads of layer l's attention (T, T), and r how strongly the
    score reads each token at the end.

    It does not depend on the target, but for r. Where attention is fused, it is computed as it is defined.

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
        own = torch.eye(len(before), dtype=torch.float64)
        mixed: Tensor = (weights.mean(0) + own) / 2 @ before
        return mixed


@dataclass(frozen=True, slots=True)
class AttentionGradient(_OnAttention):
    """Relevance of each token by attention weighed by its gradient; (N, T), not negative.

    R = I, then for each layer R <- R + mean over heads of max(A * dS/dA, 0) R; the rows of R are weighed by how
    strongly the score reads each token at the end.

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
