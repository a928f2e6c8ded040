"""Methods that follow attention: they run on the network with its attention weights open to be captured."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..core.errors import SeewhyError
from ..core.rows import Case
from ..core.targets import Target
from ..engine import Engine, Options, Outcome
from ..engine.meter import Meter
from ..methods.attention_rollout import AttentionGradient, AttentionRollout
from ..models.attention import attended
from ..models.model import Model
from ..models.text_models import evaluating
from ..models.text_scores import Similarity
from ..text.fitting import Fitted

_OWN = {cls.info.name: cls for cls in (AttentionRollout, AttentionGradient)}


def with_attention(methods: Sequence[Any]) -> list[Any]:
    """Returns the methods, those on attention given by name as their classes."""
    return [_OWN.get(method, method) if isinstance(method, str) else method for method in methods]


def follows(item: Fitted) -> bool:
    """True for a method that needs attention weights."""
    return item.method.info.family == "attention"


def on_attention(
    options: Options, model: Model, case: Case, asked: Mapping[Any, tuple[Fitted, Target]]
) -> dict[Hashable, Outcome]:
    """Returns the outcome of each method on attention, by its key; all share their passes."""
    if not asked:
        return {}
    try:
        with evaluating(model.module):
            opened, facts = attended(model, case.inputs, 2 if isinstance(model.module, Similarity) else 1)
    except SeewhyError as error:
        return {key: Outcome(None, error, Meter()) for key in asked}
    seeing = replace(case, facts=replace(case.facts, attention=facts))
    flows = [(key, item.method.flow(seeing, target)) for key, (item, target) in asked.items()]
    return Engine(opened, options).run(flows)
