"""What a network computes, written down while it runs: the key of its conversion, and what forbids one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ..content import named_tensors, tensor_bytes

_DRAWS_IF = ("dropout_p", "train", "training")
"""Arguments that say whether an operation which can draw random numbers does: 0 or False where it does not."""
_LEAVES_TORCH: tuple[object, ...] = (Tensor.numpy, Tensor.__array__, Tensor.tolist, Tensor.__dlpack__)


@dataclass(frozen=True, slots=True)
class Graph:
    """The operations of one pass.

    key: a hash of all operations in order, their numbers, which result each one reads, and which is the answer. It
    tells apart networks that differ in a functional activation, an order or a constant only. problem: why a fixed list
    of operations cannot stand for the network; empty where it can.
    """

    key: str
    problem: str


def graph_of(network: nn.Module, inputs: Sequence[Tensor]) -> Graph:
    """Returns the graph of `network(*inputs)`; one pass on the network itself, under `no_grad`."""
    recorder = _Recorder(network, inputs)
    with torch.no_grad(), _Leaving() as leaving, recorder:
        recorder.answers(network(*inputs))
    return Graph(recorder.content.hexdigest(), leaving.problem or recorder.problem)


class _Leaving(TorchFunctionMode):
    """Notices values that are read where no operation shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.problem = ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _LEAVES_TORCH:
            self.problem = "it computes on values outside torch"
        return func(*args, **(kwargs or {}))


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own lack of types
    """Writes down every operation. Tensors are named in the order in which they are met."""

    def __init__(self, network: nn.Module, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.content = hashlib.blake2b(digest_size=32)
        self.problem = ""
        self.names: dict[int, str] = {}
        self.held: list[Tensor] = []  # an address may be given again to another tensor once this one is gone
        self.state: set[int] = set()  # storages: buffers may be written through views
        for place, module in network.named_modules():
            for key, tensor in named_tensors(module):
                self._name(tensor, f"{place}.{key}")
                self.state.add(_storage(tensor))
        for number, tensor in enumerate(inputs):
            self._name(tensor, f"input {number} {tensor.dtype} {tuple(tensor.shape)}")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        self.problem = self.problem or self._problem(func, args, named)
        read = [self._described(item) for item in (*args, *named.items())]
        result = func(*args, **named)
        self.content.update(repr((str(func), read, self._described(result, made=True))).encode())
        return result

    def answers(self, result: Any) -> None:
        """Writes down which of the results is the answer."""
        self.content.update(repr(self._described(result)).encode())

    def _name(self, tensor: Tensor, name: str) -> str:
        self.held.append(tensor)
        return self.names.setdefault(id(tensor), name)

    def _described(self, item: Any, made: bool = False) -> Any:
        """Returns an operand in words: a tensor by its name, everything else by its value."""
        if isinstance(item, Tensor):
            known = self.names.get(id(item))
            if known is None:
                known = self._name(item, f"{len(self.held)} {item.dtype} {tuple(item.shape)}")
                if not made:  # a constant that the network's code holds, or makes outside torch
                    for block in tensor_bytes(item):
                        self.content.update(block)
            return known
        if isinstance(item, (list, tuple)):
            return [self._described(part, made) for part in item]
        if isinstance(item, Mapping):
            return {name: self._described(part, made) for name, part in item.items()}
        return repr(item)

    def _problem(self, func: Any, args: Sequence[Any], named: Mapping[str, Any]) -> str:
        if torch.Tag.nondeterministic_seeded in func.tags and _draws(func, args, named):
            return "it draws random numbers"
        if torch.Tag.data_dependent_output in func.tags:
            return "what it does depends on values in its tensors"
        if torch.Tag.dynamic_output_shape in func.tags and not _picks_by_number(func, args):
            return "the shapes of its tensors depend on their values"
        written = [
            given
            for given, declared in zip(args, func._schema.arguments, strict=False)
            if declared.alias_info is not None and declared.alias_info.is_write
        ]
        written += [named["out"]] if "out" in named else []
        changed = any(isinstance(item, Tensor) and _storage(item) in self.state for item in written)
        return "it changes its own buffers" if changed else ""


def _storage(tensor: Tensor) -> int:
    """Returns what tensors that share memory have in common; the tensor's own identity where it has no memory."""
    try:
        return tensor.untyped_storage().data_ptr() or id(tensor)
    except (RuntimeError, NotImplementedError):
        return id(tensor)


def _draws(func: Any, args: Sequence[Any], named: Mapping[str, Any]) -> bool:
    """True unless an argument says that this call draws no random numbers: attention without dropout does not."""
    declared = func._schema.arguments
    given = {item.name: item.default_value for item in declared}
    given.update(zip((item.name for item in declared), args, strict=False))
    given.update(named)
    switches = [given[name] for name in _DRAWS_IF if name in given]
    return not switches or any(value is None or bool(value) for value in switches)


def _picks_by_number(func: Any, args: Sequence[Any]) -> bool:
    """True for an index made of whole numbers, whose shape is known; a mask's depends on its values."""
    if func is not torch.ops.aten.index.Tensor:
        return False
    return all(item is None or item.dtype not in (torch.bool, torch.uint8) for item in args[1])
