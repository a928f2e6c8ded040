"""The diagnosis must say what the records hold: analytic maps whose agreement and place are known."""

from __future__ import annotations

import pytest
import torch

from seewhy.core.attribution import Attribution
from seewhy.core.errors import LayerError
from seewhy.core.explanation import Answer, Explanation, Finding, Prediction
from seewhy.core.targets import Class, Difference, Function, Target
from seewhy.study.diagnosis import diagnose
from seewhy.study.regions import concentration, region

SIDE = 28
RAMP = torch.linspace(1, 2, SIDE * SIDE).reshape(SIDE, SIDE)
ANSWERS = (Answer(1, "tabby", 0.75), Answer(2, "lynx", 0.2), Answer(3, "dog", 0.03))


def blob(row: int, column: int, height: int = 5, width: int = 5) -> torch.Tensor:
    """Returns a map that is 1 in a box with this upper left corner and 0 elsewhere."""
    values = torch.zeros(SIDE, SIDE)
    values[row : row + height, column : column + width] = 1.0
    return values


def record(maps: dict[str, torch.Tensor], target: Target | None = None, **changes: object) -> Explanation:
    """Names of maps that begin with "cam" are class activation maps; those that begin with "signed" are signed."""
    asked = target or Class(1)
    words = {Class(1): "tabby", Class(2): "lynx", Class(9): "cup", Difference(1, 2): "tabby rather than lynx"}
    name = words.get(asked, "the sum")
    made = {
        (method, name): Attribution(
            values[None], method, (asked,), torch.ones(1), ((3, SIDE, SIDE),), signed=method.startswith("signed")
        )
        for method, values in maps.items()
    }
    facts = {
        "source": "cat.png",
        "model": "net",
        "prediction": Prediction(ANSWERS, "probability", 10),
        "targets": {name: asked},
        "attributions": made,
        "families": {method: "class activation" if method.startswith("cam") else "gradient" for method in maps},
    }
    return Explanation(**(facts | changes))  # type: ignore[arg-type]


def said(explanation: Explanation) -> str:
    """Returns all sentences about the only target."""
    (sentences,) = diagnose(explanation).values()
    assert len(sentences) <= 5
    return " ".join(sentences)


def test_equal_maps_agree_and_reversed_maps_contradict_each_other() -> None:
    equal = said(record({"cam a": RAMP, "cam b": 3 * RAMP}))
    assert "The 2 class activation maps agree closely (rank correlation 1.00)" in equal
    turned = said(record({"cam a": RAMP, "grad": 3 - RAMP}))
    assert "Maps of different families contradict each other (rank correlation −1.00)" in turned
    assert "class activation maps" not in turned


def test_agreement_is_told_apart_inside_the_family_and_between_families() -> None:
    text = said(record({"cam a": RAMP, "cam b": RAMP, "grad": 3 - RAMP}))
    assert "The 2 class activation maps agree closely (rank correlation 1.00); maps of different families" in text
    assert "contradict each other (median rank correlation −1.00; 0 of 2 pairs reach 0.5)" in text


def test_the_evidence_against_does_not_count_as_agreement() -> None:
    mixed = torch.where(RAMP > 1.5, RAMP, -5 * RAMP)  # positive where the other map is strong
    text = said(record({"cam a": torch.where(RAMP > 1.5, RAMP, 0.0), "signed b": mixed}))
    assert "(rank correlation 1.00)" in text


def test_empty_maps_and_single_maps_have_nothing_to_agree_with() -> None:
    assert "agree" not in said(record({"cam a": RAMP}))
    assert "agree" not in said(record({"cam a": RAMP, "cam b": torch.zeros(SIDE, SIDE)}))
    assert "agree" not in said(record({"cam a": RAMP, "cam b": torch.full((SIDE, SIDE), float("nan"))}))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (blob(2, 2), "in the upper left quarter (100% of it)"),
        (blob(2, 20), "in the upper right quarter (100% of it)"),
        (blob(20, 2), "in the lower left quarter (100% of it)"),
        (blob(20, 20), "in the lower right quarter (100% of it)"),
        (blob(12, 12, 4, 4), "in the middle (100% of it)"),
        (blob(0, 2, 28, 2), "in the left half (100% of it)"),
        (blob(26, 0, 2, 28), "in the lower half (100% of it)"),
    ],
)
def test_the_place_of_the_evidence_is_named(values: torch.Tensor, words: str) -> None:
    assert f"In cam, the strongest tenth of the area holds 100% of the evidence and lies {words}." in said(
        record({"cam": values})
    )


def test_evidence_in_all_corners_is_spread() -> None:
    corners = blob(0, 0) + blob(0, 23) + blob(23, 0) + blob(23, 23)
    assert region(corners.double()) == ("", 0.0)
    assert "is spread over the picture" in said(record({"cam": corners}))


def test_concentration_is_the_share_of_the_strongest_tenth() -> None:
    assert concentration(torch.ones(20, 10)) == pytest.approx(0.1)
    assert concentration(torch.arange(100.0).reshape(10, 10)) == pytest.approx(sum(range(90, 100)) / sum(range(100)))
    assert concentration(torch.full((10, 10), 1e308, dtype=torch.float64)) == pytest.approx(0.1)


def test_both_sides_of_a_difference_have_their_place() -> None:
    text = said(record({"signed": blob(2, 2) - 2 * blob(20, 20)}, Difference(1, 2)))
    assert "The model gives “tabby” (75%) against “lynx” (20%)." in text
    assert "of the evidence for “tabby” and lies in the upper left quarter" in text
    assert "of the evidence for “lynx” and lies in the lower right quarter" in text


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (Class(1), "The model is fairly sure: its answer is “tabby” (75%), 55 points ahead of “lynx” (20%)."),
        (Class(2), "You ask about “lynx”, which the model gives 20%; its answer is “tabby” (75%)."),
        (
            Class(9),
            "You ask about “cup”, which the model ranks below its best 3 (under 3%); its answer is “tabby” (75%).",
        ),
        (
            Function(torch.sum, "the sum"),
            "The target “the sum” is none of the model's classes; its answer is “tabby” (75%).",
        ),
    ],
)
def test_whether_the_target_is_the_answer_and_by_what_margin(target: Target, sentence: str) -> None:
    assert diagnose(record({"cam": RAMP}, target)).popitem()[1][0] == sentence


@pytest.mark.parametrize(("score", "words"), [(0.95, "is sure:"), (0.5, "is fairly sure:"), (0.49, "is unsure:")])
def test_how_sure_the_model_is(score: float, words: str) -> None:
    found = Prediction((Answer(1, "tabby", score), Answer(2, "lynx", 0.01)), "probability", 10)
    assert f"The model {words} its answer is “tabby”" in said(record({"cam": RAMP}, prediction=found))


def test_scores_that_are_no_probabilities_are_not_called_sure() -> None:
    found = Prediction((Answer(1, "tabby", -1.5), Answer(2, "lynx", -4.0)), "score", 10)
    assert said(record({"cam": RAMP}, prediction=found)).startswith(
        "The model's answer is “tabby” (−1.5), 2.5 above “lynx” (−4)."
    )


def test_maps_to_read_with_care_are_named_in_one_sentence() -> None:
    maps = {"cam": RAMP, "a": torch.zeros(SIDE, SIDE), "b": torch.zeros(SIDE, SIDE), "c": RAMP, "d": RAMP}
    key = {name: (name, "tabby") for name in maps}
    text = said(
        record(
            maps,
            titles={"a": "A", "b": "B", "c": "C", "d": "D", "e": "E"},
            findings={
                key["a"]: (Finding("empty", "", "warning"),),
                key["b"]: (Finding("empty", "", "warning"),),
                key["c"]: (Finding("gap", "", "warning"), Finding("noisy", "")),
                key["d"]: (Finding("gap", "a small gap"),),
            },
            errors={("e", "tabby"): LayerError("none")},
        )
    )
    assert text.endswith("Read with care: A and B show nothing; C did not converge; C is noisy; E failed.")


def test_an_explanation_without_a_prediction_or_maps_has_no_sentences() -> None:
    assert diagnose(record({}, prediction=None)) == {"tabby": ()}


@pytest.mark.parametrize(
    ("rival", "margin"), [(0.2, "55 points"), (0.737, "1 point"), (0.74, "1 point"), (0.7493, "0.07 points")]
)
def test_the_margin_is_in_points(rival: float, margin: str) -> None:
    answers = (Answer(1, "tabby", 0.75), Answer(2, "lynx", rival))
    assert f", {margin} ahead of “lynx”" in said(
        record({"cam": RAMP}, prediction=Prediction(answers, "probability", 10))
    )
