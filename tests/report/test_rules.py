from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convc.report import intervals, run_curves, thresholds
from convc.report.rules import rules
from convc.report.run_curves import chance_bound
from convc.report.verdict import Outcome


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("MIN_EPOCHS", 41, "Fewer than 41 epochs"),
        ("LEVEL_EPOCHS", 17, "median over 17 neighbouring"),
        ("CHANCE_ERRORS", 7, "7 standard errors of it"),
        ("DROP_ERRORS", 9, "9 standard errors of the difference"),
        ("KEPT", 0.37, "less than 37%"),
        ("LOST_ACCURACY", 0.29, "more than 29 points"),
        ("SLOW_START_SHARE", 0.83, "at least 83% of"),
        ("LOSS_SWING", 0.38, "more than 38%"),
        ("TRAIN_SWING", 0.53, "more than 53%"),
        ("TRAIN_RISES", 0.61, "at least 61%"),
        ("WILD_SWING", 0.79, "more than 79%"),
        ("NEAR", 0.13, "Near is 13%"),
        ("LEARNED_BY_HEART", 0.77, "above 77%"),
        ("LOSS_FLOOR", 0.0123, "with 0.0123 added"),
        ("LOWEST_SWINGS", 8, "and 8 swings"),
        ("THIRD_SWINGS", 6.5, "Noise is 6.5 swings"),
    ],
)
def test_the_stated_rules_follow_the_constants(
    monkeypatch: pytest.MonkeyPatch, name: str, value: float, shown: str
) -> None:
    assert shown not in " ".join(text for _, text in rules(10))
    for module in (thresholds, run_curves):  # which has taken some by name
        monkeypatch.setattr(module, name, value, raising=False)
    assert shown in " ".join(text for _, text in rules(10))


def test_every_constant_of_the_verdicts_is_stated() -> None:
    stated = {name for name, *_ in _cases()}
    constants = {name for name in vars(thresholds) if name.isupper() and not name.startswith("_")}
    assert constants - stated == {"IMAGES"}


def _cases() -> list[tuple[str, float, str]]:
    (mark,) = test_the_stated_rules_follow_the_constants.pytestmark  # type: ignore[attr-defined]
    return list(mark.args[1])


def test_every_outcome_has_its_rule() -> None:
    assert {outcome.value for outcome in Outcome} <= {name for name, _ in rules(10)}


def test_every_rule_that_decides_is_named() -> None:
    text = " ".join(text for _, text in rules(10))
    for rule in ("not finite", "too short", "ended low", "lost", "at chance", "dip", "fell back", "swings", "wild"):
        assert f"({rule})" in text
    for rule in ("overfits", "unsettled", "late", "near the lowest"):
        assert f"({rule})" in text


def test_the_document_states_the_rules() -> None:
    document = (Path(__file__).parents[2] / "docs" / "study-statistics.md").read_text()
    for name, text in rules(10):
        assert f"**{name}**: {text}" in " ".join(document.split())


@given(st.integers(2, 1000), st.integers(50, 10_000))
def test_chance_and_images_are_stated(classes: int, images: int) -> None:
    text = " ".join(text for _, text in rules(classes, images))
    assert f"{chance_bound(classes, images):.1%}" in text
    assert f"on {images} images" in text
    assert f"{intervals.LEVEL:.0%} interval" in text
