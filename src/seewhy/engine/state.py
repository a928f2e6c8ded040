"""A network while it is explained: flags set for passes, every pass from the same state, and all of it put back."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..core.errors import UnsupportedModelError
from .snapshot import Outline, Snapshot


class ModelState:
    """A network's flags, and a snapshot of all else that passes may change.

    modules: all of the network's. outline: that of an earlier snapshot of the network, which spares finding it anew.

    Raises UnsupportedModelError for a network whose tensors hold nothing yet, or can take no gradient.
    """

    def __init__(self, modules: Sequence[nn.Module], outline: Outline | None = None) -> None:
        self.outline = outline
        self.modules = tuple(modules)
        found = (p for m in self.modules for p in m._parameters.values() if p is not None)
        self.parameters = list({id(p): p for p in found}.values())
        self.training = [(m, m.training) for m in self.modules if hasattr(m, "training")]
        self.trainable = [(p, p.requires_grad) for p in self.parameters]
        self.snapshot = Snapshot()
        self.used = False

    def enter(self) -> None:
        """Sets evaluation mode, switches parameter gradients off (no pass needs them), and takes the snapshot."""
        if self.outline is None:
            buffers = (b for m in self.modules for b in m._buffers.values() if b is not None)
            _check_usable([*self.parameters, *buffers])
        self._explaining()
        self.snapshot = Snapshot.of(self.modules, self.outline)

    def fresh(self) -> None:
        """Makes the next pass start from the state that the first one found."""
        if self.used:
            self.snapshot.restore()
            self._explaining()
        self.used = True

    def leave(self) -> None:
        """Puts everything back as the user left it."""
        self.snapshot.restore()
        for m, training in self.training:
            if m.training != training:
                m.training = training
        for p, trainable in self.trainable:
            if p.requires_grad != trainable:
                p.requires_grad = trainable

    def _explaining(self) -> None:
        for m, _ in self.training:
            if m.training:
                m.training = False
        for p in self.parameters:
            if p.requires_grad:
                p.requires_grad = False


def _check_usable(tensors: Sequence[Tensor]) -> None:
    for tensor in tensors:
        if nn.parameter.is_lazy(tensor):
            raise UnsupportedModelError(
                "Expected a network with all its weights; this one has lazy layers whose shape no pass has told "
                "yet. Run it once on an input before explaining it."
            )
        if tensor.is_meta:
            raise UnsupportedModelError(
                "Expected a network with weights; this one lies on the meta device, where tensors hold no values. "
                "Load its weights onto a real device first."
            )
        if tensor.is_inference():
            raise UnsupportedModelError(
                "Expected weights that gradients can pass; this network was made under torch.inference_mode(), and "
                "its tensors never can. Explain copy.deepcopy(model), made outside inference mode."
            )
