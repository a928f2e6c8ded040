"""The command `seewhy`: exit code 0 done, 1 some input failed (the others are done), 2 wrong usage."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from .._version import __version__
from ..core.errors import SeewhyError
from . import text_commands
from .embedding_commands import embeddings
from .model_options import Checkpoint, Debug, Device, ModelSpec, OutputKind, Preprocess
from .tree_command import tree

app = typer.Typer(
    name="seewhy",
    help="Why did this neural network decide that, and how far can the answer be trusted?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"seewhy {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Why did this neural network decide that, and how far can the answer be trusted?"""


@app.command()
def explain(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Picture files.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--method",
            help="Method, repeatable, also with settings: 'rise(masks=1024)'; see `seewhy methods`. `best` is the one "
            "with the best evidence.",
        ),
    ] = None,
    model: ModelSpec = None,
    checkpoint: Checkpoint = None,
    preprocess: Preprocess = None,
    output_kind: OutputKind = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", help="Class label or index, repeatable; the top class if not given."),
    ] = None,
    rather_than: Annotated[
        str | None, typer.Option("--rather-than", help="Explain the target rather than this class.")
    ] = None,
    layer: Annotated[str | None, typer.Option("--layer", help="Layer of the class activation maps.")] = None,
    no_contrast: Annotated[
        bool, typer.Option("--no-contrast", help="Leave out the map of why this class rather than its rival.")
    ] = False,
    evidence: Annotated[
        bool,
        typer.Option("--evidence", help="Compare each map with chance, and say which one to trust. Takes longer."),
    ] = False,
    budget: Annotated[
        int | None,
        typer.Option("--budget", help="Forward passes that the evidence for a picture may take; 4000 if not given."),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "-o",
            "--output",
            help="Output, repeatable: .html, .png, .npz or .json; or a folder. Default: report.html.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of methods that draw samples.")] = 0,
    device: Device = None,
    debug: Debug = False,  # read by main, which sees every error
) -> None:
    """Explain what the model sees in each picture, and write a report."""
    from .explaining import Request, explain_files

    request = Request(
        images=tuple(images),
        methods=tuple(method or ()),
        targets=tuple(target or ()),
        rather_than=rather_than,
        layer=layer,
        contrast=not no_contrast,
        evidence=evidence or budget is not None,
        budget=budget,
        outputs=tuple(output or ()),
        seed=seed,
    )
    raise typer.Exit(
        explain_files(request, _loader(model, checkpoint, preprocess, output_kind, device), console, stderr)
    )


@app.command()
def evaluate(
    images: Annotated[list[str], typer.Argument(metavar="IMAGES...", help="Picture files and folders of them.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--method",
            help="Method, repeatable, also with settings: 'rise(masks=1024)'; see `seewhy methods`.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", help="Metric, repeatable; insertion, deletion and their difference if not given."),
    ] = None,
    model: ModelSpec = None,
    checkpoint: Checkpoint = None,
    preprocess: Preprocess = None,
    output_kind: OutputKind = None,
    target: Annotated[
        str | None, typer.Option("--target", help="Class label or index; each picture's top class if not given.")
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", help="Layer of the class activation maps, repeatable: each takes part at each."),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of the results; a run that was stopped goes on there.")
    ] = Path("evaluation"),
    truth: Annotated[
        Path | None,
        typer.Option("--truth", help="JSON file of boxes, {file name: [[x0, y0, x1, y1]]}, for pointing-game etc."),
    ] = None,
    no_baselines: Annotated[
        bool, typer.Option("--no-baselines", help="Leave out the maps that never saw the network.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of methods and metrics that draw samples.")] = 0,
    device: Device = None,
    debug: Debug = False,  # read by main, which sees every error
) -> None:
    """Compare methods on your pictures: a leaderboard with intervals, and what each method costs."""
    from .evaluating import Request, evaluate_files

    request = Request(
        images=tuple(images),
        methods=tuple(method or ()),
        metrics=tuple(metric or ()),
        layers=tuple(layer or ()),
        target=target,
        output=output,
        seed=seed,
        truth=truth,
        baselines=not no_baselines,
    )
    raise typer.Exit(
        evaluate_files(request, _loader(model, checkpoint, preprocess, output_kind, device), console, stderr)
    )


@app.command()
def filters(
    images: Annotated[list[str], typer.Argument(metavar="IMAGES...", help="Picture files and folders of them.")],
    layer: Annotated[str, typer.Option("--layer", help="The layer; `seewhy layers` lists them.")],
    channel: Annotated[
        list[int] | None, typer.Option("--channel", help="Channel number, repeatable; all if not given.")
    ] = None,
    top: Annotated[int, typer.Option("--top", help="Pictures kept for each channel, of the most and the least.")] = 9,
    model: ModelSpec = None,
    checkpoint: Checkpoint = None,
    preprocess: Preprocess = None,
    output_kind: OutputKind = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Sheet of the channels' maps on the first picture, .png.")
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "-o",
            "--output",
            help="Output, repeatable: .html, an atlas to browse; .csv, a table; .json or .npz, all data. Default: "
            "filters.html.",
        ),
    ] = None,
    visualize: Annotated[
        bool, typer.Option("--visualize", help="Make the image that drives each channel most, of at most 24: minutes.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the images that are made.")] = 0,
    device: Device = None,
    debug: Debug = False,  # read by main, which sees every error
) -> None:
    """Show what the channels of a layer answer to, over any number of pictures."""
    from .filtering import Request, filter_files

    request = Request(tuple(images), layer, tuple(channel or ()), top, sheet, tuple(output or ()), visualize, seed)
    raise typer.Exit(
        filter_files(request, _loader(model, checkpoint, preprocess, output_kind, device), console, stderr)
    )


@app.command()
def dream(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Picture file.")],
    layer: Annotated[
        str | None, typer.Option("--layer", help="Layer whose answer is made stronger; chosen if not given.")
    ] = None,
    channel: Annotated[int | None, typer.Option("--channel", help="Only this channel of the layer.")] = None,
    octaves: Annotated[int, typer.Option("--octaves", help="Sizes that the picture is changed at.")] = 4,
    steps: Annotated[int, typer.Option("--steps", help="Steps at each size.")] = 10,
    guide: Annotated[
        str | None, typer.Option("--guide", help="Picture whose features are brought out instead.")
    ] = None,
    model: ModelSpec = None,
    checkpoint: Checkpoint = None,
    preprocess: Preprocess = None,
    output_kind: OutputKind = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Output, .png, .jpg, .json or .npz.")] = Path(
        "dream.png"
    ),
    seed: Annotated[int, typer.Option("--seed", help="Seed of the shifts.")] = 0,
    device: Device = None,
    debug: Debug = False,  # read by main, which sees every error
) -> None:
    """Change a picture towards what a layer sees in it."""
    from .dreaming import Request, dream_file

    request = Request(image, layer, channel, octaves, steps, guide, output, seed)
    raise typer.Exit(dream_file(request, _loader(model, checkpoint, preprocess, output_kind, device), console, stderr))


@app.command()
def methods(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the whole table in Markdown.")] = False,
) -> None:
    """List the explanation methods: what each costs, needs and means, and when not to use it."""
    from ..methods import all_methods, broken_methods
    from ..methods.table import markdown as as_markdown
    from .tables import method_table

    if markdown:
        console.print(as_markdown(all_methods().values()), markup=False, highlight=False, soft_wrap=True)
    else:
        console.print(method_table(dict(all_methods())))
    for text in broken_methods().values():
        stderr.print(f"seewhy: {text}", markup=False, soft_wrap=True)


@app.command()
def layers(
    model: ModelSpec = None,
    checkpoint: Checkpoint = None,
    preprocess: Preprocess = None,
    output_kind: OutputKind = None,
    image: Annotated[
        str | None,
        typer.Option("--image", help="Picture to trace the network with, where its input size is not known."),
    ] = None,
    rank: Annotated[
        list[str] | None,
        typer.Option("--rank", help="Picture to rank layers on, repeatable: where Grad-CAM shows what counts."),
    ] = None,
    device: Device = None,
    debug: Debug = False,  # read by main, which sees every error
) -> None:
    """List the model's layers, their output shapes, and the default layer of class activation maps."""
    from .layering import rank_layers, show_layers

    load = _loader(model, checkpoint, preprocess, output_kind, device)
    if rank:
        rank_layers(load, rank, console)
    else:
        show_layers(load, image, console)


app.command()(tree)
app.command()(text_commands.text)
app.command()(text_commands.generate)
app.command()(embeddings)


def _loader(
    spec: str | None,
    checkpoint: Path | None = None,
    preprocess: str | None = None,
    output_kind: str | None = None,
    device: str | None = None,
) -> Any:
    """Returns a function that loads the model: everything else is checked first."""

    def load_it() -> Any:
        from ..models.wrapping import load

        return load(spec, checkpoint, preprocess=preprocess, output_kind=output_kind, device=device)

    return load_it


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; errors are one line on stderr, and never a traceback without --debug."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app(args=given, standalone_mode=True)
    except SeewhyError as error:
        if "--debug" in given:
            raise
        stderr.print(f"seewhy: {error}", markup=False, soft_wrap=True)
        sys.exit(2)
    except SystemExit as ended:
        if isinstance(getattr(ended.__context__, "__cause__", None), KeyboardInterrupt):  # no command has caught it
            stderr.print("seewhy: interrupted.")
        raise
