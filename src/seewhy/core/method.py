"""What every explanation method is: frozen settings, facts about itself, and one generator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar

from . import late
from .attribution import Attribution, Reduce
from .query import Flow
from .rows import Case
from .targets import Target


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """Facts that the command line, the report and the conformance kit read.

    needs: what the model must give: "gradient", "layer", "activations" (interceptable activation functions) and
        "attention" (its weights).
    cost: passes for one row, in words. reduce, signed, units: how the values are read. avoid: when not to use it.
    """

    name: str
    family: str
    title: str
    reduce: Reduce
    signed: bool
    units: str
    needs: frozenset[str]
    cost: str
    reference: str
    stochastic: bool = False
    avoid: str = ""


class Method(ABC):
    """Base of all methods: a frozen dataclass of settings with one `flow`."""

    __slots__ = ()
    info: ClassVar[MethodInfo]

    @abstractmethod
    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields queries, is sent replies, and returns the attribution of this one-row case."""

    def settings(self) -> Mapping[str, Any]:
        """Returns the settings by name."""
        assert is_dataclass(self)
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def attribute(self, model: Any, x: Any, target: Any = None, *, seed: int = 0) -> Attribution:
        """Returns the attribution of tensor input `x`; the same as `seewhy.attribute(model, x, self, ...)`."""
        result: Attribution = late.call("attribute", model, x, self, target=target, seed=seed)
        return result
