"""From a network to a runtime: out of the cache where the same network was converted before, else converted anew."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...core import tree
from ..content import digest
from ..outputs import Selector
from . import cache
from .flat import FlatNetwork, skeleton
from .graph import graph_of
from .kinds import Kind, RuntimeFailed

FORMAT = 1
"""Counts up when what is kept on disk changes its meaning."""
_one_at_a_time = threading.Lock()  # converters exchange stdout and the filters of warnings, of all threads


@dataclass(frozen=True, slots=True)
class Job:
    """A network to run elsewhere: its inputs' example, as many rows as every pass will have, and its key.

    key: graph, weights, dtypes, shapes and torch's version. plain: True if the network answers with nothing but scores.
    """

    network: nn.Module
    inputs: tree.Inputs
    output: Selector
    key: str
    plain: bool

    @staticmethod
    def of(network: nn.Module, inputs: tree.Inputs, output: Selector) -> Job:
        """Returns the job; costs one pass of one row on the network itself.

        Raises RuntimeFailed where no fixed list of operations can stand for the network.
        """
        flat = FlatNetwork(network, inputs, output)
        try:
            graph = graph_of(flat, tuple(tree.leaves(tree.take(inputs, slice(0, 1))).values()))
        except Exception as error:
            raise RuntimeFailed(f"its operations cannot be written down: {_first_line(error)}") from error
        if graph.problem:
            raise RuntimeFailed(graph.problem)
        shapes = [(path, leaf.shape, leaf.dtype) for path, leaf in tree.leaves(inputs).items()]
        text = (FORMAT, torch.__version__, graph.key, digest(network), shapes)
        key = hashlib.blake2b(repr(text).encode(), digest_size=20).hexdigest()
        return Job(network, inputs, output, key, flat.plain)

    def key_on(self, kind: Kind) -> str:
        """Returns the key of this network on a kind of runtime of the version that is installed.

        Raises RuntimeFailed where it is installed and cannot be imported.
        """
        try:
            return f"{kind.name}-{kind.version()}-{self.key}"
        except Exception as error:
            raise RuntimeFailed(f"{type(error).__name__}: {_first_line(error)}") from error


@dataclass(frozen=True, slots=True)
class Runtime:
    """A converted network.

    skeleton: the structure and constants of the inputs that it takes. call: tensors one by one, always `rows` rows, to
    scores. seconds: what it took to get it.
    """

    kind: Kind
    rows: int
    skeleton: Any
    call: Callable[..., Tensor]
    plain: bool
    seconds: float
    kept: bool

    @property
    def name(self) -> str:
        """The runtime in words."""
        version = self.kind.version()
        shown = {"openvino": "OpenVINO", "onnxruntime": "onnxruntime"}.get(self.kind.name, self.kind.name)
        return f"{shown} {version}" if self.kind.packages else shown

    def scores(self, inputs: tree.Inputs) -> Tensor:
        """Returns the scores (n, ...) of up to `rows` rows; what is missing is filled up with copies of the last."""
        if skeleton(inputs) != self.skeleton:
            raise RuntimeFailed("the inputs have another structure or other constants")
        leaves = [leaf.detach() for leaf in tree.leaves(inputs).values()]
        count = tree.row_count(inputs)
        missing = self.rows - count
        if missing:
            leaves = [_longer(leaf, missing) if leaf.dim() else leaf for leaf in leaves]
        return self.call(*leaves)[:count]


def _longer(leaf: Tensor, missing: int) -> Tensor:
    return torch.cat([leaf, leaf[-1:].expand(missing, *leaf.shape[1:])])


def is_kept(job: Job, kind: Kind) -> bool:
    """True where the network was converted before and lies on disk."""
    return kind.load is not None and cache.find(job.key_on(kind)) is not None


def converted(job: Job, kind: Kind) -> Runtime:
    """Returns the network on a runtime. Raises RuntimeFailed, with the reason, where it cannot be had."""
    begin = time.perf_counter()
    key = job.key_on(kind)
    place = cache.find(key) if kind.load is not None else None
    call = None
    if place is not None and kind.load is not None:
        try:
            call = kind.load(place)
        except Exception:  # damaged, or half removed by somebody else: made anew
            cache.forget(key)
    kept = call is not None
    if call is None:
        try:
            call = _convert(job, kind, key)
        except Exception as error:
            raise RuntimeFailed(f"{type(error).__name__}: {_first_line(error)}") from error
    rows, seconds = tree.row_count(job.inputs), time.perf_counter() - begin
    return Runtime(kind, rows, skeleton(job.inputs), call, job.plain, seconds, kept)


def discard(job: Job, kind: Kind) -> None:
    """Removes a converted network that did not prove equal from the disk."""
    if kind.load is not None:
        cache.forget(job.key_on(kind))


def _convert(job: Job, kind: Kind, key: str) -> Callable[..., Tensor]:
    """Converts a copy: a converter may patch what it reads."""
    flat = FlatNetwork(copy.deepcopy(job.network), job.inputs, job.output).eval()
    for parameter in flat.parameters():
        parameter.requires_grad_(False)
    inputs = tuple(leaf.detach().clone() for leaf in tree.leaves(job.inputs).values())
    with _one_at_a_time, contextlib.ExitStack() as stack:
        folder = stack.enter_context(cache.writing(key)) if kind.load is not None else None
        call: Callable[..., Tensor] = kind.convert(flat, inputs, folder)
        return call


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.partition("\n")[0][:200] if text else "no reason given"
