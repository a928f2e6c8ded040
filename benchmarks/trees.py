"""Section `trees`: how often decision rules agree with the network, what the hierarchies split, what decisions cost.

Agreement needs a folder of photographs, `--photos DIR`. Sorted by name, those at even places choose the hierarchy, as
they are and in random crops; agreement is reported on the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from seewhy.core.hierarchy import Tree
from seewhy.models.images import open_picture
from seewhy.trees import HardTree, SoftTree, induce, word_net, wordnet
from seewhy.trees.lexicon import imagenet_synsets
from seewhy.trees.rules import Rules

from .harness import Effort, contender, interleave
from .report import Goal, Section, Table, at_least, at_most
from .subject import SUFFIXES, Subject

LINKAGES, BRANCHING = ("ward", "average", "complete", "weighted"), (2, 4, 8, 16, 32, 64)
CROPS, BATCH = 8, 32
LIVING, MADE = "organism", "artifact"


def measure(subject: Subject, effort: Effort) -> Section:
    """Runs the section."""
    candidates = {
        f"{linkage}, {branching}": induce(subject.model, linkage=linkage, branching=branching)
        for linkage in LINKAGES
        for branching in BRANCHING
    }
    binary, words = candidates["ward, 2"], wordnet(subject.model)
    tables, goals = _cost(subject, {"Ward, binary": binary, "WordNet": words}, max(3, effort.repeats // 3))
    split, purity = _split(binary)
    tables.append(split)
    setting = "EfficientNet-Lite0, 1000 classes of ImageNet. No network was fine-tuned with a tree."
    if subject.folder is not None:
        agreement, goal, text = _agreement(subject, subject.folder, candidates, words)
        tables, goals = [agreement, *tables], [goal, *goals]
        setting = f"{setting} {text}"
    goals.append(at_least("purity of the top split of the binary Ward tree:", purity, 0.95, f"{purity:.1%}"))
    return Section("trees", setting, tables, goals)


def _agreement(subject: Subject, folder: Path, candidates: dict[str, Tree], words: Tree) -> tuple[Table, Goal, str]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    first, second = files[::2], files[1::2]
    chosen_on = _scores(subject, first, CROPS)
    plain, held_out = chosen_on[:: CROPS + 1], _scores(subject, second, 0)
    turns = {name: sum(map(tree.depth_of, _leaves(tree))) / tree.classes for name, tree in candidates.items()}
    agreed = {name: _agreeing(tree, chosen_on) for name, tree in candidates.items()}
    best = max(candidates, key=lambda name: (agreed[name], turns[name]))
    ward = [f"ward, {branching}" for branching in BRANCHING]
    shown = {name: candidates[name] for name in dict.fromkeys((best, *ward))} | {"WordNet": words}
    rows = [
        (
            f"**{name}**" if name == best else name,
            f"{sum(map(tree.depth_of, _leaves(tree))) / tree.classes:.1f}",
            f"{_agreeing(tree, chosen_on):.1%}",
            *(f"{part:.1%} / {other:.1%}" for part, other in _all_rules(tree, plain, held_out)),
        )
        for name, tree in shown.items()
    ]
    share = _agreeing(candidates[best], held_out)
    low, high = _wilson(share, len(second))
    columns = (
        "hierarchy (linkage, branches)",
        "turns to a class",
        "greedy marginal, choosing half with crops",
        "marginal, hard (greedy)",
        "marginal, soft",
        "embedded, hard",
        "embedded, soft",
    )
    note = (
        "Shares of photographs for which the rule names the network's own top class: choosing half / other half. "
        "Marginal is the hierarchical read-out of the network's softmax; its soft tree agrees by construction. The "
        f"hierarchy in bold agrees best on the choosing half, of {len(candidates)} (of equals the one with most turns)."
    )
    goal = at_least(
        "greedy marginal path agrees on the other half:",
        share,
        0.97,
        f"{share:.1%} (95% interval {low:.1%}-{high:.1%})",
    )
    text = (
        f"{len(files)} photographs of {folder.name}/, sorted by name: {len(first)} at even places choose the "
        f"hierarchy, each as it is and in {CROPS} random crops (half to all of its area, mirrored or not); "
        f"{len(second)} are reported on."
    )
    return Table("Agreement with the network", columns, rows, note), goal, text


def _leaves(tree: Tree) -> list[int]:
    return [tree.leaf(index).index for index in range(tree.classes)]


def _agreeing(tree: Tree, scores: Tensor) -> float:
    """Returns the share of rows on which the greedy marginal walk ends at the top class."""
    rules = Rules(tree)
    return float((rules.greedy(rules.turns(scores, "marginal")) == scores.argmax(1)).double().mean())


def _all_rules(tree: Tree, *halves: Tensor) -> list[tuple[float, ...]]:
    """Returns for hard and soft trees under both rules the share of rows that agree, on each half."""
    rules = Rules(tree)
    found = []
    for rule in ("marginal", "embedded"):
        turns = [rules.turns(half, rule) for half in halves]  # type: ignore[arg-type]
        for classes in (map(rules.greedy, turns), (rules.leaves(one).argmax(1) for one in turns)):
            pairs = zip(classes, halves, strict=True)
            found.append(tuple(float((ends == half.argmax(1)).double().mean()) for ends, half in pairs))
    return found


def _scores(subject: Subject, files: Sequence[Path], crops: int) -> Tensor:
    """Returns the network's scores of each picture, followed by those of its crops, (pictures * (1 + crops), K)."""
    change = v2.Compose([v2.RandomResizedCrop(320, scale=(0.5, 1.0)), v2.RandomHorizontalFlip()])
    steps: Any = subject.model.preprocessing
    found = []
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for path in files:
            picture = open_picture(str(path))
            pixels = torch.from_numpy(picture.pixels.copy()).permute(2, 0, 1)
            made = [open_picture(change(pixels).permute(1, 2, 0).numpy()) for _ in range(crops)]
            found.append(subject.network(torch.cat([steps(one) for one in (picture, *made)])))
    return torch.cat(found).double()


def _wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Returns Wilson's interval of a share."""
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


def _split(tree: Tree) -> tuple[Table, float]:
    """Returns what lies on either side of the root, and the share of living things and artifacts on their own side."""
    known, synsets = word_net(), imagenet_synsets()
    counts = []
    for child in tree.root.children:
        above = [known.above(synsets[leaf]) for leaf in tree.classes_below(child)]
        living, made = (sum(known.find(word) in one for one in above) for word in (LIVING, MADE))
        counts.append((tree[child].name, len(above), living, made))
    sided = sum(max(living, made) for _, _, living, made in counts)
    total = sum(living + made for _, _, living, made in counts)
    purity = sided / total
    rows = [(name, str(size), str(living), str(made), str(size - living - made)) for name, size, living, made in counts]
    note = (
        f"Purity: {sided} of the {total} classes that WordNet calls an {LIVING} or an {MADE} lie on the side where "
        "most are like them. The others are food, places, fruit and the like, which are neither."
    )
    columns = ("side", "classes", LIVING, MADE, "neither")
    return Table("Top split of the induced tree (Ward, binary)", columns, rows, note), purity


def _cost(subject: Subject, trees: dict[str, Tree], repeats: int) -> tuple[list[Table], list[Goal]]:
    """Returns what the decisions of a batch add to the network's own forward pass."""
    x = subject.batch(1).expand(BATCH, -1, -1, -1).contiguous()
    network = subject.network
    with torch.no_grad():
        answer = network(x)

    def forward() -> None:
        with torch.no_grad():
            network(x)

    class Answered(torch.nn.Module):
        """The network's answer without its work: what is left is what a tree adds."""

        def forward(self, x: Tensor) -> Tensor:
            return answer

    rows, worst = [], 0.0
    for name, tree in trees.items():
        for kind in (SoftTree, HardTree):
            added = kind(Answered(), tree, "marginal")
            calls = {"forward": forward, "decisions": lambda view=added: view.decisions(x)}
            times = interleave([contender(*pair) for pair in calls.items()], repeats, 1)
            ratio = times.ratio("decisions", "forward")
            worst = max(worst, ratio.median)
            rows.append(
                (
                    name,
                    kind.__name__,
                    times.milliseconds("forward"),
                    times.milliseconds("decisions"),
                    f"{ratio.median:.2%}",
                )
            )
    columns = ("hierarchy", "tree", "network's forward pass", "what decisions(x) adds", "added / forward")
    note = f"Batch of {BATCH}; medians of {repeats} rounds. The tree's part is timed on a stored answer."
    goal = at_most("decisions of a batch of 32 add, as a share of the forward pass,", worst, 0.1, f"{worst:.2%}")
    return [Table("Cost", columns, rows, note)], [goal]
