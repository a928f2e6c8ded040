"""Networks made around another model: they take its inputs and answer about its classes, in another way."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from .black_box import BlackBox
from .functions import function_box
from .model import Model


class Derived(nn.Module):
    """A module around a model's own network. `seewhy.wrap` gives it that model's preprocessing and labels.

    network: the network itself, not a copy. words: what is made of it. Subclasses answer with (N, K) logits, or
    log-probabilities, of the same classes.
    """

    def __init__(self, source: Model, words: str) -> None:
        super().__init__()
        self.network = source.module
        self._source = source
        self._words = words

    @property
    def source(self) -> Model:
        """The model that it is made of, around the network as it is held now: a copy of this module has its own."""
        found = self._source
        return found if found.module is self.network else replace(found, module=self.network)

    def as_model(self) -> Model:
        """Returns this network with the preprocessing, labels and range of what it is made of."""
        module: nn.Module = self
        if isinstance(self.network, BlackBox):  # its gradients would be zeros, where there are none
            module = function_box(self, False, self.source.device)
        source = self._source
        return replace(source, module=module, name=f"{self._words} of {source.name}", output=None, kind="logits")
