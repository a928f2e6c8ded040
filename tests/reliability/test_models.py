"""Every model of the reliability list: the right map, or a clear error, and nothing left behind."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from seewhy.core.errors import LayerError
from seewhy.study.attribute import run
from seewhy.study.cases import cases
from seewhy.study.targets import row_targets

from . import networks_and_outputs, precision_and_failure  # noqa: F401 - importing them files their cases
from .cases import CASES, explain
from .contract import ALL, CAMS, check_map, method, seewhy, unchanged


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("identifier", CASES)
def test_model(identifier: str, name: str) -> None:
    case = CASES[identifier]()
    explain(case, name)
    case.after()


@pytest.mark.parametrize("identifier", [name for name in CASES if name not in ("M85", "M86")])
def test_methods_together(identifier: str) -> None:
    """All methods in one run: each gets the map or the error that it gets alone."""
    case = CASES[identifier]()
    network = case.model if case.model is not None else case.network
    names = [name for name in ALL if name not in ("adaptive", "integrated-gradients")]
    model = seewhy.wrap(network)
    chosen = {}
    for name in names:
        settings = method(name, case.layer, case.reshape)
        if name in CAMS and isinstance(case.layer, str):
            try:
                settings = replace(settings, layer=model.layer_name(case.layer))
            except LayerError:  # known before any pass
                continue
        chosen[name] = settings
    with unchanged(case.network, case.x), case.around():
        rows = cases(model, case.x, 0)
        asked = list(zip(rows, row_targets(model, case.target, len(rows)), strict=True))
        outcomes = run(model, chosen, asked, None)
    for name in chosen:
        for row, x in enumerate(case.x):
            outcome = outcomes[name, row]
            expected = case.refusal(name)
            if expected is not None:
                assert outcome.error is not None
                expected.check(outcome.error)
            else:
                with torch.inference_mode(False):
                    check_map(name, outcome.result(), case.oracle, x[None], case)  # type: ignore[arg-type]
