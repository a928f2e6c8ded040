"""The command `tree`; `cli` adds it to the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .model_options import Checkpoint, Debug, Device, ModelSpec, OutputKind, Preprocess


def tree(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Picture files.")],
    hierarchy: Annotated[
        str | None,
        typer.Option(
            "--hierarchy",
            help="wordnet, induced (from the network's weights), or a .json file. Default: wordnet if it knows them.",
        ),
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(
            "--rule",
            help="marginal, a hierarchical read-out of the network's softmax (the default), or embedded, for networks "
            "fine-tuned with the tree.",
        ),
    ] = None,
    method: Annotated[str, typer.Option("-m", "--method", help="Method that explains each turn.")] = "grad-cam",
    no_maps: Annotated[bool, typer.Option("--no-maps", help="Leave out the maps of the turns.")] = False,
    model: ModelSpec = None,
    checkpoint: Checkpoint = None,
    preprocess: Preprocess = None,
    output_kind: OutputKind = None,
    layer: Annotated[str | None, typer.Option("--layer", help="Layer of the class activation maps.")] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option("-o", "--output", help="Output, repeatable: .html, .svg, .png; or a folder. Default: tree.html."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of methods that draw samples.")] = 0,
    device: Device = None,
    debug: Debug = False,  # read by main, which sees every error
) -> None:
    """Read each decision along a tree of the classes: which turns led there, how sure each was, and why."""
    from .cli import _loader, console, stderr
    from .treeing import Request, tree_files

    outputs = tuple(output or (Path("tree.html"),))
    request = Request(tuple(images), hierarchy, rule, None if no_maps else method, layer, outputs, seed)
    raise typer.Exit(tree_files(request, _loader(model, checkpoint, preprocess, output_kind, device), console, stderr))
