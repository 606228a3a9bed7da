"""Whether one method is better than another, as far as the standard errors of a run can tell."""

from __future__ import annotations

import math
from typing import Any

from toy.report.drawing import Drawing
from toy.report.table import show

Number = dict[str, Any]
HEROES = ("ours", "paper", "ambient-only")  # the method a page is about: the first of these that was run
SAME = 0.05  # relative difference up to which two numbers of a single seed are not told apart
SLIGHT = 0.01  # and those of several seeds, however small their standard errors
WORDS = {"better": "is better than", "same": "is not told apart from", "worse": "is worse than"}
NONE = (
    "There is no verdict, because this run has not both a network that was trained on noisy data alone and the filter to compare "
    "it with. The table holds the numbers of the methods that were run."
)


def hero_of(summary: list[dict[str, Any]]) -> str | None:
    """The method that a page compares with the others."""
    run = [row["method"] for row in summary]
    return next((name for name in HEROES if name in run), None)


def relation(a: Number, b: Number) -> str:
    """Whether a is better (smaller) than b: by more than two standard errors, and by enough to be worth a word."""
    low, high = sorted((a["mean"], b["mean"]))
    spread = [number["error"] for number in (a, b) if number["error"] is not None]
    least = max(SLIGHT * high, 2 * math.hypot(*spread)) if len(spread) == 2 else SAME * high
    return "same" if high - low <= least else "better" if a["mean"] < b["mean"] else "worse"


def compare(name: str, mine: Number, other: str, theirs: Number) -> str:
    """ours **is better than** the linear filter (0.0638 ± 0.0021 against 0.550 ± 0.010)."""
    return f"{name} **{WORDS[relation(mine, theirs)]}** {other} ({show(mine)} against {show(theirs)})"


def against(summary: list[dict[str, Any]], key: str, what: str) -> list[str]:
    """A column of the table: how the number of each method compares with that of the hero; small is good."""
    hero = hero_of(summary)
    if hero is None:
        return []
    mine, cells = next(row.get(key) for row in summary if row["method"] == hero), [f"{what}, against {hero}"]
    words = {"better": "smaller", "same": "not told apart", "worse": "larger"}
    for row in summary:
        number = None if row["method"] == hero else row.get(key)
        cells.append("-" if number is None or mine is None else words[relation(number, mine)])
    return cells


def with_truth(drawing: Drawing) -> str:
    """Whether a network beats the best linear filter below the data's noise, and whether consistency helped it there."""
    below = {row["method"]: row["sub_n"] for row in drawing.summary}
    hero = hero_of(drawing.summary) or ""
    mine, linear = below.get(hero), below.get("wiener")
    if mine is None or linear is None:
        return NONE
    told = f"In its mean error below the data's noise (sub-n mean) {compare(hero, mine, 'the best linear filter', linear)}."
    return told + effect_of_consistency(below)


def effect_of_consistency(below: dict[str, Number | None]) -> str:
    """The ambient loss with consistency against the same loss without it, by the sub-n mean of each method."""
    mine, alone = below.get("ours"), below.get("ambient-only")
    if mine is None or alone is None:
        return ""
    return f" In the sub-n mean {compare('ours, with consistency,', mine, 'ambient-only, without it', alone)}."


def without_truth(drawing: Drawing) -> str:
    """Whether a network beats the linear filter on held-out points at the data's noise; errors are over those points."""
    hero = hero_of(drawing.summary) or ""
    mine, linear = (drawing.number(name, "risk_1") for name in (hero, "wiener"))
    if mine is None or linear is None:
        return NONE
    if mine["error"] is None:
        mine = mine | {"error": drawing.held_out_error(hero, "risk_1")}
        linear = linear | {"error": drawing.held_out_error("wiener", "risk_1")}
    told = f"In its held-out risk at the data's noise {compare(hero, mine, 'the linear filter', linear)}."
    return f"{told} How good it is below that noise, these data cannot tell."
