"""Who says a long nose makes an elephant? How gradients miss the reason for a sure answer, and what finds it.

Run `python examples/elephants_trunk.py [FOLDER]`: prints three tables and writes FOLDER/elephants_trunk.png.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from elephants_figure import draw_figure
from torch import Tensor, nn

import seewhy
from seewhy import targets
from seewhy.methods import IntegratedGradients, SmoothGrad

SIDE, TRUNK, SKY = 48, slice(6, 10), (slice(4, 6), slice(10, 12))  # columns of the trunk, and of the sky beside it
CHIN, LONGEST, ENOUGH = 22, 22, 8  # the row where a trunk starts to hang, its most rows, and how many make an elephant
LENGTHS = list(range(LONGEST + 1))
SHOWN = (4, 8, 9, 10, 20)  # lengths in the tables: too short, just enough, one and two rows more, far more
METHODS = ["saliency", "input-x-gradient", SmoothGrad(), SmoothGrad(noise=0.5), IntegratedGradients(baseline="black")]
BASELINES = ("black", "white", "blur", "maximum-distance", "uniform", "gaussian")


# ------------------------------------------------------------------------------------------------------ the pictures


def animal(length: int, ear: int = 4) -> Tensor:
    """Returns a white animal at night, (1, 48, 48), whose trunk hangs `length` rows below its chin."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")

    def oval(row: int, column: int, height: int, width: int) -> Tensor:
        return ((y - row) / height) ** 2 + ((x - column) / width) ** 2 <= 1

    picture = torch.zeros(SIDE, SIDE)
    picture[oval(24, 31, 11, 13) | oval(14, 17, 8, 9)] = 1  # body, head
    for leg in (21, 27, 34, 39):
        picture[30:44, leg : leg + 4] = 1
    picture[oval(13, 22, ear + 2, ear)] = 0.5
    picture[11:13, 12:14] = 0  # eye
    picture[12 : CHIN + length, TRUNK] = 1
    return picture[None]


def zoo(lengths: list[int] = LENGTHS) -> Tensor:
    """Returns animals that differ in nothing but their trunks, (N, 1, 48, 48)."""
    return torch.stack([animal(length) for length in lengths])


def on_trunk(values: Tensor, lengths: list[int] = LENGTHS) -> Tensor:
    """Returns the sum of a map's values on each animal's own trunk, (N,)."""
    return torch.stack([v[0, CHIN : CHIN + length, TRUNK].sum() for v, length in zip(values, lengths, strict=True)])


# ------------------------------------------------------------------------------------------------------ the networks


class Rule(nn.Module):
    """Elephantness = min(1, trunk / 8 rows) + 0.1 * brightness of the body. The trunk counts against the sky beside."""

    def __init__(self) -> None:
        super().__init__()
        bar, body = torch.zeros(SIDE, SIDE), torch.zeros(SIDE, SIDE)
        rows = slice(CHIN, CHIN + LONGEST)
        bar[rows, TRUNK] = 1 / (4 * ENOUGH)
        for beside in SKY:
            bar[rows, beside] = -1 / (4 * ENOUGH)
        body[:, 12:] = 0.1 / (SIDE * (SIDE - 12))
        self.register_buffer("bar", bar)
        self.register_buffer("body", body)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the score, (N, 1)."""
        trunk = (x[:, 0] * self.bar).sum((1, 2))
        enough = trunk.relu() - (trunk - 1).relu()  # = trunk between 0 and 1, flat on both sides
        return (enough + (x[:, 0] * self.body).sum((1, 2)))[:, None]


class ByDay(nn.Module):
    """The same network for negatives: black animals before a white sky."""

    def __init__(self, night: nn.Module) -> None:
        super().__init__()
        self.night = night

    def forward(self, x: Tensor) -> Tensor:
        """Returns what the other network says to the negative."""
        return self.night(1 - x)


def trained() -> tuple[nn.Module, float]:
    """Returns a small CNN that learnt elephant (1) or not (0) from drawings, and its accuracy on new ones.

    Elephants have trunks of 8 to 22 rows, others snouts of 0 to 4; ear, place and light say nothing.
    """
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(5), nn.Flatten(), nn.Linear(16 * 5 * 5, 2)),
    )
    labels = torch.arange(800) % 2
    pictures = torch.stack([_seen(bool(label)) for label in labels])
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(12):
        for part in torch.randperm(600).split(50):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(pictures[part]), labels[part]).backward()
            optimiser.step()
    with torch.no_grad():
        right = network(pictures[600:]).argmax(1) == labels[600:]
    return network.eval(), right.double().mean().item()


def _seen(elephant: bool) -> Tensor:
    least, most = (ENOUGH, LONGEST) if elephant else (0, 4)
    picture = animal(int(torch.randint(least, most + 1, ())), ear=int(torch.randint(2, 6, ())))
    moved = torch.roll(picture, tuple(torch.randint(-2, 3, (2,)).tolist()), (1, 2))
    return (moved * (0.6 + 0.4 * torch.rand(())) + 0.1 * torch.randn(moved.shape)).clamp(0, 1)


# --------------------------------------------------------------------------------------------------------- the story


def explain(model: seewhy.Model, target: Any, dtype: torch.dtype) -> dict[str, seewhy.Attribution]:
    """Returns every method's maps of animals with trunks of 0 to 22 rows, and prints what they give to the trunk."""
    found = seewhy.attribute(model, zoo().to(dtype), METHODS, target)
    exact = found["integrated-gradients"]
    print(f"{'rows of trunk':34}" + "".join(f"{length:10}" for length in SHOWN))
    _line("score", exact.scores)
    for name, attribution in found.items():
        _line(f"{name}, on the trunk", on_trunk(attribution.values))
    _line("integrated-gradients, elsewhere", exact.values.sum((1, 2, 3)) - on_trunk(exact.values))
    _line("  their sum - score difference", exact.values.sum((1, 2, 3)) - _differences(exact))
    print("  largest completeness gap: " + format(max(exact.diagnostics["completeness_gap"]), ".2%"))
    return found


def _line(name: str, numbers: Tensor) -> None:
    print(f"{name:34}" + "".join(f"{float(numbers[length]):10.4f}" for length in SHOWN))


def _differences(attribution: seewhy.Attribution) -> Tensor:
    return torch.tensor(attribution.diagnostics["score_difference"], dtype=attribution.values.dtype)


def by_day(length: int = 20) -> dict[str, seewhy.Attribution]:
    """Returns integrated gradients of a black elephant on white from six baselines, and prints what changes."""
    model = seewhy.wrap(ByDay(Rule().double()), value_range=(0, 1), output_kind="value")
    day = 1 - zoo([length]).double()
    found = {}
    print(f"{'baseline':34}{'its score':>10}{'trunk':>10}{'sky':>10}{'sum':>10}{'gap':>10}")
    for name in BASELINES:
        method = IntegratedGradients(baseline=[name] * (8 if name in ("uniform", "gaussian") else 1))
        found[name] = seewhy.attribute(model, day, method, target=0)
        values, facts = found[name].values, found[name].diagnostics
        trunk = on_trunk(values, [length]).item()
        sky = values[0, 0, CHIN:44, 4:12].sum().item() - trunk
        own = found[name].scores.item() - facts["score_difference"]
        print(f"{name:34}{own:10.3f}{trunk:10.3f}{sky:10.3f}{values.sum().item():10.3f}", end="")
        print(f"{facts['completeness_gap']:10.2%}")
    return found


def main(folder: str = ".") -> dict[str, Any]:
    """Tells the story, draws it, and returns everything that was found."""
    print("1. A rule on paper: 8 rows of trunk are enough, more change nothing. Where the score is flat, its gradient")
    print("   is exactly zero: saliency and input x gradient lose the trunk. SmoothGrad looks as far as its noise,")
    print("   0.15 of the input's range, or 0.5 (smoothgrad 2): it still sees the trunk a little way up the plateau.")
    print("   Integrated gradients walk the whole way from black, and add up to the score's difference.\n")
    rule = explain(seewhy.wrap(Rule().double(), value_range=(0, 1), output_kind="value"), 0, torch.float64)

    network, accuracy = trained()
    print(f"\n2. A network that learnt it ({accuracy:.0%} of 200 new drawings right), explained by its probability,")
    print("   which saturates for another reason: softmax. Now the gradient of everything fades, trunk included.\n")
    model = seewhy.wrap(network, value_range=(0, 1))
    learnt = explain(model, targets.Class(1, of="probability"), torch.float32)
    logits = seewhy.attribute(model, zoo(), "saliency", targets.Difference(1, 0))
    _line("saliency of the logits' difference", on_trunk(logits.values))
    print("   The logits do not saturate here: ask for them when probabilities are close to 0 or 1.")

    print("\n3. What is absence? The rule again, by day: a black elephant with 20 rows of trunk before a white sky.")
    print("   A black baseline equals the trunk, so the trunk gets exactly zero and the sky beside it the credit.")
    print("   Gaussian noise keeps the elephant recognisable: no difference, nothing to explain.\n")
    day = by_day()
    path = Path(folder) / "elephants_trunk.png"
    draw_figure(path, zoo(), (rule, learnt), day)
    print(f"\nWrote {path}")
    found = {"rule": rule, "learnt": learnt, "logits": logits, "day": day}
    return {**found, "network": network, "accuracy": accuracy, "figure": path}


if __name__ == "__main__":
    main(*sys.argv[1:2])
