"""Small records made by hand, for the tests of what is drawn and saved."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from seewhy.core.attribution import Attribution
from seewhy.core.errors import LayerError
from seewhy.core.explanation import Answer, Explanation, Finding, Prediction
from seewhy.core.geometry import Geometry
from seewhy.core.targets import Class

PHOTO = (12, 18)  # height, width; the model saw the middle 12 x 12, enlarged to 16 x 16


def geometry() -> Geometry:
    return Geometry(PHOTO, (16, 24), (0, 4, 16, 16))


def photo() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (*PHOTO, 3), dtype=np.uint8)


def attribution(values: Any, **changes: Any) -> Attribution:
    """One unsigned map without channels over a 16 x 16 input, unless `changes` say otherwise."""
    values = torch.as_tensor(values)
    facts: dict[str, Any] = {
        "method": "grad-cam",
        "title": "Grad-CAM",
        "targets": (Class(281),) * len(values),
        "scores": torch.ones(len(values)),
        "input_shapes": ((3, 16, 16),),
        "signed": False,
        "units": "score",
    }
    return Attribution(values, **(facts | changes))


def explanation(**changes: Any) -> Explanation:
    """Two targets; a good map, an empty one with a finding, and a method that failed."""
    ramp = torch.linspace(0, 2, 16).reshape(1, 4, 4)
    signed = torch.linspace(-3, 1, 3 * 256).reshape(1, 3, 16, 16)
    where = (geometry(),)
    facts: dict[str, Any] = {
        "source": "cat.png",
        "model": "net",
        "prediction": Prediction((Answer(281, "tabby", 0.75), Answer(285, "Egyptian cat", 0.2)), "probability", 1000),
        "targets": {"tabby": Class(281), "Egyptian cat": Class(285)},
        "attributions": {
            ("grad-cam", "tabby"): attribution(ramp, geometry=where, layer="layer4"),
            ("integrated-gradients", "tabby"): attribution(
                signed,
                method="integrated-gradients",
                title="Integrated gradients",
                signed=True,
                reduce="sum",
                geometry=where,
            ),
            ("grad-cam", "Egyptian cat"): attribution(
                torch.zeros(1, 4, 4), geometry=where, layer="layer4", counter=torch.ones(1, 4, 4)
            ),
        },
        "errors": {("integrated-gradients", "Egyptian cat"): LayerError("there is no layer5")},
        "findings": {("grad-cam", "Egyptian cat"): (Finding("empty", "No positive evidence at layer4.", "warning"),)},
        "titles": {"grad-cam": "Grad-CAM", "integrated-gradients": "Integrated gradients"},
        "picture": photo(),
        "view": np.zeros((16, 16, 3), dtype=np.uint8),
        "notes": ("The picture was cropped.",),
        "provenance": {"seed": 7, "model": "net"},
    }
    return Explanation(**(facts | changes))
