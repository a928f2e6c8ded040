"""The commands about texts; `cli` adds them to the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import SettingError

TextModelSpec = Annotated[
    str,
    typer.Option(
        "--model", help="minilm, from an installed package (the default), or hf:FOLDER_OR_NAME, any transformers model."
    ),
]
Methods = Annotated[list[str] | None, typer.Option("-m", "--method", help="Method, repeatable; see `seewhy methods`.")]
Outputs = Annotated[
    list[Path] | None, typer.Option("-o", "--output", help="Output, repeatable: .html, .png, .json or .npz.")
]
Baseline = Annotated[
    str | None,
    typer.Option("--baseline", help="What stands for an absent word: mask, pad, unk or zero; the first that there is."),
]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda or mps; chosen automatically if not given.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def text(
    words: Annotated[str, typer.Argument(metavar="TEXT", help="The text; in question answering, the question.")],
    pair: Annotated[
        str | None, typer.Option("--pair", help="A second text: to compare with, or the context of a question.")
    ] = None,
    method: Methods = None,
    model: TextModelSpec = "minilm",
    target: Annotated[
        list[str] | None,
        typer.Option("--target", help="Label, word or answer, repeatable; the model's own if not given."),
    ] = None,
    rather_than: Annotated[
        str | None, typer.Option("--rather-than", help="Explain the target rather than this one.")
    ] = None,
    pieces: Annotated[
        str, typer.Option("--pieces", help="What is hidden together: words, tokens or sentences.")
    ] = "words",
    baseline: Baseline = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="Show tokens, not words.")] = False,
    special: Annotated[bool, typer.Option("--special", help="Show special tokens such as [CLS], too.")] = False,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Leave out what the model cannot take, instead of refusing.")
    ] = False,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Compare each method with random orders of the words. Takes longer.")
    ] = False,
    output: Outputs = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of methods that draw samples.")] = 0,
    device: Device = None,
    debug: Debug = False,  # read by main, which sees every error
) -> None:
    """Explain which words of a text decided: of two texts, what makes them alike; of a question, the answer."""
    from .cli import _loader, console
    from .texting import Request, text_on_screen

    request = Request(
        text=words,
        pair=pair,
        methods=tuple(method or ()),
        targets=tuple(target or ()),
        rather_than=rather_than,
        pieces=pieces,
        baseline=baseline,
        outputs=tuple(output or ()),
        tokens=tokens,
        special=special,
        truncate=truncate,
        evidence=evidence,
        seed=seed,
    )
    raise typer.Exit(text_on_screen(request, _loader(model, device=device), console))


def generate(
    words: Annotated[str, typer.Argument(metavar="TEXT", help="The text to go on from, or to turn into another.")],
    continuation: Annotated[
        str | None, typer.Option("--continuation", help="What follows, to be explained; the model writes if not given.")
    ] = None,
    rather_than: Annotated[
        str | None, typer.Option("--rather-than", help="Another continuation: why each token rather than its own.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", help="hf:FOLDER_OR_NAME of a causal or sequence-to-sequence model.")
    ] = "",
    method: Methods = None,
    length: Annotated[int, typer.Option("--length", help="Tokens that the model writes at most.")] = 20,
    of: Annotated[
        str, typer.Option("--of", help="What is explained of each token: log-probability, logit or probability.")
    ] = "log-probability",
    baseline: Baseline = None,
    output: Outputs = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of methods that draw samples.")] = 0,
    device: Device = None,
    debug: Debug = False,  # read by main, which sees every error
) -> None:
    """Let a model write, and explain what each token owes to each token before it."""
    from .cli import _loader, console
    from .generating import Request, generate_on_screen

    if not model:
        raise SettingError(
            "--model is required: expected hf:FOLDER_OR_NAME of a causal language model or a sequence-to-sequence "
            "model; given none. Name one, such as --model hf:HuggingFaceTB/SmolLM2-135M."
        )
    request = Request(
        words, continuation, tuple(method or ()), rather_than, length, of, baseline, tuple(output or ()), seed
    )
    raise typer.Exit(generate_on_screen(request, _loader(model, device=device), console))
