"""Hooks in PyTorch: what they can change, what they cannot, where they bite, and that seewhy leaves none behind.

Run `python examples/hooks.py`: every line that it prints was checked just before.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import seewhy

METHODS = ["saliency", "integrated-gradients", "smoothgrad", "guided-backprop", "grad-cam"]
KINDS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def claim(text: str, holds: bool) -> None:
    """Prints a claim that holds, and stops the script at one that does not."""
    assert holds, f"not true: {text}"
    print(f"  ok  {text}")


def raised(kind: type[BaseException], work: Callable[[], Any]) -> str:
    """Returns the message of the error that `work` ends with; empty if it ends without one."""
    try:
        work()
    except kind as error:
        return str(error) or kind.__name__
    return ""


def forward_hooks() -> None:
    """Forward hooks stand in the way of values: they may look, replace, or write."""
    print("\nForward hooks: hook(module, inputs, output), after the module; pre-hook(module, inputs), before it")
    double, x = nn.Linear(1, 1, bias=False), torch.tensor([[3.0]])
    nn.init.constant_(double.weight, 2)  # says 6 to 3
    seen = []

    def write_seven(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        output.fill_(7)

    with double.register_forward_hook(lambda module, inputs, output: seen.append(output.item())):
        claim("one that returns None only looks: 2 * 3 stays 6", double(x).item() == 6 and seen == [6])
    with double.register_forward_hook(lambda module, inputs, output: output + 100):
        claim("one that returns a value replaces the output: 106", double(x).item() == 106)
    with double.register_forward_hook(write_seven):
        claim("one that writes to the output in place changes it without returning anything: 7", double(x).item() == 7)
    with double.register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1,)):
        claim("a pre-hook that returns a value replaces the input: 2 * (3 + 1) = 8", double(x).item() == 8)
    claim("`with module.register_...(...)` removes the hook at the end: 6 again", double(x).item() == 6)


def backward_hooks() -> None:
    """Full backward hooks see gradients and may replace the one that leaves the module, and no more."""
    print("\nFull backward hooks: hook(module, grad_input, grad_output), after the module's own backward step")
    first, second = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(first.weight, 2)
    nn.init.constant_(second.weight, 5)

    def run() -> tuple[float, float, float, float]:
        """Returns the value, and the gradients of the input and of both weights."""
        x = torch.tensor([[3.0]], requires_grad=True)
        value = second(first(x))
        wanted = torch.autograd.grad(value, (x, first.weight, second.weight))
        return value.item(), *(gradient.item() for gradient in wanted)

    claim("without hooks: value 30, gradients 10 (input), 15 and 6 (weights)", run() == (30, 10, 15, 6))
    seen: list[float] = []
    with second.register_full_backward_hook(lambda m, gi, go: seen.extend((gi[0].item(), go[0].item()))):
        run()
    claim("it is told grad_input = 5 * grad_output: 5 and 1", seen == [5, 1])
    with second.register_full_backward_hook(lambda m, gi, go: (gi[0] * 10,)):
        value, at_input, at_first, at_second = run()
    claim("what it returns replaces grad_input for all before it: 100 and 150", (at_input, at_first) == (100, 150))
    claim("it comes too late for grad_output: the gradient of the module's own weight stays 6", at_second == 6)
    claim("it cannot change the forward pass: the value stays 30", value == 30)
    with second.register_full_backward_pre_hook(lambda m, go: (go[0] * 10,)):
        claim("to change grad_output, register a full backward pre-hook: the weight's is 60 now", run()[3] == 60)


def tensor_hooks() -> None:
    """A hook on a tensor belongs to one value in one graph; no module is needed."""
    print("\nTensor hooks: hook(gradient), on one tensor of one graph")
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    middle = x * 3
    middle.register_hook(lambda gradient: gradient.clamp(min=0))
    (gradient,) = torch.autograd.grad((middle * torch.tensor([1.0, -1.0])).sum(), x)
    claim("what it returns replaces the gradient that flows on: [3, 0] and not [3, -3]", gradient.tolist() == [3, 0])
    (gradient,) = torch.autograd.grad((x * 3 * torch.tensor([1.0, -1.0])).sum(), x)
    claim("it goes with its tensor: the next graph has none, [3, -3]", gradient.tolist() == [3, -3])


def in_place() -> None:
    """In-place activations write over what hooks hold."""
    print("\nIn-place ReLU, which writes its answer over its input")
    network = nn.Sequential(nn.Linear(3, 3, bias=False), nn.ReLU(inplace=True))
    nn.init.eye_(network[0].weight)
    x = torch.tensor([[1.0, -2.0, 3.0]], requires_grad=True)
    for place, name in enumerate(("the layer before it", "the ReLU itself")):
        with network[place].register_full_backward_hook(lambda m, gi, go: None):
            error = raised(RuntimeError, lambda: network(x))
        claim(f"a full backward hook on {name} is an error", "view and is being modified inplace" in error)

    kept: list[Tensor] = []
    with network[0].register_forward_hook(lambda m, inputs, output: kept.append(output)):
        network(x)
    claim("a stored activation is overwritten: [1, 0, 3], not [1, -2, 3]", kept[0].tolist() == [[1, 0, 3]])
    with network[0].register_forward_hook(lambda m, inputs, output: kept.append(output.clone())):
        network(x)
    claim("a stored clone is not: [1, -2, 3]", kept[1].tolist() == [[1, -2, 3]])


def forgotten() -> None:
    """A hook lives as long as its module, with all that it refers to."""
    print("\nA hook that nobody removes")
    module, runs = nn.Identity(), []

    def keep_a_batch() -> tuple[Any, weakref.ref[Tensor]]:
        batch = torch.zeros(1000)
        return module.register_forward_hook(lambda *_: runs.append(len(batch))), weakref.ref(batch)

    handle, batch = keep_a_batch()
    gc.collect()
    claim("keeps what it refers to in memory when the function that made it is long over", batch() is not None)
    module(module(torch.zeros(1)))
    claim("runs at every later call: twice in two", runs == [1000, 1000])
    keep_a_batch()
    module(torch.zeros(1))
    claim("and one more each time that the cell of a notebook is run again: 4 after three calls", len(runs) == 4)
    handle.remove()
    gc.collect()
    claim("handle.remove() ends both", batch() is None)


class Spy(nn.Module):
    """Passes its input on, and calls `during()` in the middle of every pass."""

    during: Any = staticmethod(lambda: None)

    def forward(self, x: Tensor) -> Tensor:
        """Returns `x`."""
        self.during()
        return x


def all_hooks(network: nn.Module) -> list[int]:
    """Returns the identity of every hook on every module, in order."""
    return [id(hook) for m in network.modules() for kind in KINDS for hook in getattr(m, kind).values()]


def seewhy_leaves_none() -> None:
    """Counts, before, during and after: in peace, after an error, after Ctrl-C."""

    def stop(error: BaseException) -> None:
        raise error

    print("\nseewhy hooks your network while it explains, and only then")
    torch.manual_seed(0)
    spy, head, conv = Spy(), nn.Linear(4, 3), nn.Conv2d(1, 4, 3)
    network = nn.Sequential(conv, nn.ReLU(inplace=True), spy, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    x, counts = torch.rand(2, 1, 8, 8), []
    spy.during = lambda: counts.append(len(all_hooks(network)))
    seewhy.attribute(network, x, METHODS, target=0)
    claim("the network has hooks of seewhy's in the middle of a pass", max(counts) > 0)
    claim(f"and none after {len(METHODS)} methods, in-place ReLU and all", all_hooks(network) == [])
    called: list[str] = []
    head.register_forward_pre_hook(lambda m, inputs: called.append("before"))
    conv.register_forward_hook(lambda m, inputs, output: called.append("after"))
    head.register_full_backward_hook(lambda m, gi, go: called.append("backward"))
    yours = all_hooks(network)
    seewhy.attribute(network, x, METHODS, target=0)
    claim("your own three hooks are still there, and no other", len(yours) == 3 and all_hooks(network) == yours)
    claim("and all three were called", set(called) == {"before", "after", "backward"})
    for error in (ValueError("your network broke"), KeyboardInterrupt()):
        spy.during, name = lambda error=error: stop(error), type(error).__name__
        for method in METHODS:
            assert raised(type(error), lambda m=method: seewhy.attribute(network, x, m, target=0)), method
            assert all_hooks(network) == yours, f"{method} left hooks behind after {name}"
        claim(f"{name} inside the network reaches you, and leaves just your three", all_hooks(network) == yours)
    spy.during = lambda: None
    head.register_forward_hook(lambda m, inputs, output: output * 2)
    scores = seewhy.attribute(network, x, "saliency", target=0).scores
    claim("a hook of yours that changes the output is explained with it", torch.equal(scores, network(x)[:, 0]))


def main() -> None:
    """Goes through all of it."""
    for part in (forward_hooks, backward_hooks, tensor_hooks, in_place, forgotten, seewhy_leaves_none):
        part()


if __name__ == "__main__":
    main()
