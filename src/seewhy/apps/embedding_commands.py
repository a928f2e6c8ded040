"""The command `embeddings`; `cli` adds it to the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .text_commands import Debug, Device, TextModelSpec


def embeddings(
    texts: Annotated[
        list[str],
        typer.Argument(metavar="TEXT...", help="The text or question; with --word, the sentences, two or more."),
    ],
    pair: Annotated[str | None, typer.Option("--pair", help="The question's context, or any second text.")] = None,
    answer: Annotated[
        str | None, typer.Option("--answer", help="The answer, as it stands in the context; marked and measured.")
    ] = None,
    word: Annotated[
        str | None, typer.Option("--word", help="Compare this word in the sentences; whatever its case.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", help="With --word: its sense in a sentence, repeatable, one for each in order."),
    ] = None,
    layer: Annotated[
        list[int] | None,
        typer.Option("--layer", help="Layer number, repeatable; 0 is the embedding layer, -1 the last."),
    ] = None,
    model: TextModelSpec = "minilm",
    reduction: Annotated[str, typer.Option("--reduction", help="pca, tsne or umap.")] = "pca",
    common: Annotated[bool, typer.Option("--common", help="One fit for all layers, instead of one each.")] = False,
    distance: Annotated[
        str, typer.Option("--distance", help="euclidean or cosine, for the stages, t-SNE and UMAP.")
    ] = "euclidean",
    words: Annotated[bool, typer.Option("--words", help="Points are words, not tokens.")] = False,
    special: Annotated[bool, typer.Option("--special", help="Show special tokens such as [CLS], too.")] = False,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Leave out what the model cannot take, instead of refusing.")
    ] = False,
    output: Annotated[
        list[Path] | None,
        typer.Option("-o", "--output", help="Output, repeatable: .html, .png, .svg, .json or .npz."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the shuffling, and of t-SNE and UMAP.")] = 0,
    device: Device = None,
    debug: Debug = False,  # read by main, which sees every error
) -> None:
    """Show a text's tokens as points, layer by layer; or one word in many sentences."""
    from .cli import _loader, console
    from .embedding import Request, WordRequest, show_embeddings, show_word

    load, files, layers = _loader(model, device=device), tuple(output or ()), tuple(layer or ()) or None
    if word is not None:
        given = {"--pair": pair, "--answer": answer, "--common": common, "--words": words, "--special": special}
        asked = WordRequest(tuple(texts), word, tuple(label or ()), layers, truncate, files, seed)
        asked.check([name for name, value in given.items() if value])
        raise typer.Exit(show_word(asked, load, console))
    request = Request(
        texts=tuple(texts),
        pair=pair,
        answer=answer,
        layers=layers,
        reduction=reduction,
        common=common,
        distance=distance,
        unit="word" if words else "token",
        special=special,
        truncate=truncate,
        outputs=files,
        seed=seed,
    )
    request.check(labelled=bool(label))
    raise typer.Exit(show_embeddings(request, load, console))
