"""Whether one method is better than another, by the standard errors of a run."""

from __future__ import annotations

import math
from typing import Any

from toy.report.drawing import Drawing
from toy.report.table import show

Number = dict[str, Any]
SUBJECTS = ("ours", "paper", "ambient-only")  # a page is about the first of these that was run
SAME = 0.05  # relative difference up to which two numbers of a single seed are not told apart
SLIGHT = 0.01  # the same for several seeds, however small their standard errors are
WORDS = {"better": "is better than", "same": "is not told apart from", "worse": "is worse than"}
NONE = (
    "There is no verdict, because this run has not both a network that was trained on noisy data alone and the filter to compare "
    "it with. The table holds the numbers of the methods that were run."
)


def subject_of(summary: list[dict[str, Any]]) -> str | None:
    """The method that a page compares with the others."""
    run = [row["method"] for row in summary]
    return next((name for name in SUBJECTS if name in run), None)


def relation(a: Number, b: Number) -> str:
    """Whether a is better, which is smaller, than b: by more than two standard errors of their difference, and not slightly."""
    low, high = sorted((a["mean"], b["mean"]))
    spread = [number["error"] for number in (a, b) if number["error"] is not None]
    least = max(SLIGHT * high, 2 * math.hypot(*spread)) if len(spread) == 2 else SAME * high
    return "same" if high - low <= least else "better" if a["mean"] < b["mean"] else "worse"


def compare(name: str, mine: Number, other: str, theirs: Number) -> str:
    """ours **is better than** the linear filter (0.0638 ± 0.0021 against 0.550 ± 0.010)."""
    return f"{name} **{WORDS[relation(mine, theirs)]}** {other} ({show(mine)} against {show(theirs)})"


def against(summary: list[dict[str, Any]], key: str, what: str) -> list[str]:
    """A column of the table: how each method's number compares with that of the page's subject; empty if there is none."""
    subject = subject_of(summary)
    if subject is None:
        return []
    mine, cells = next(row.get(key) for row in summary if row["method"] == subject), [f"{what}, against {subject}"]
    words = {"better": "smaller", "same": "not told apart", "worse": "larger"}
    for row in summary:
        number = None if row["method"] == subject else row.get(key)
        cells.append("-" if number is None or mine is None else words[relation(number, mine)])
    return cells


def with_truth(drawing: Drawing) -> str:
    """Whether a network beats the best linear filter below the data's noise, and whether consistency helped it there."""
    below = {row["method"]: row["sub_n"] for row in drawing.summary}
    subject = subject_of(drawing.summary) or ""
    mine, linear = below.get(subject), below.get("wiener")
    if mine is None or linear is None:
        return NONE
    verdict = f"In its mean error below the data's noise (sub-n mean) {compare(subject, mine, 'the best linear filter', linear)}."
    return verdict + effect_of_consistency(below)


def effect_of_consistency(below: dict[str, Number | None]) -> str:
    """The ambient loss with consistency against the same loss without it, by the sub-n mean of each method."""
    mine, alone = below.get("ours"), below.get("ambient-only")
    if mine is None or alone is None:
        return ""
    return f" In the sub-n mean {compare('ours, with consistency,', mine, 'ambient-only, without it', alone)}."


def without_truth(drawing: Drawing) -> str:
    """Whether a network beats the linear filter on held-out points at the data's noise; errors are over those points."""
    subject = subject_of(drawing.summary) or ""
    mine, linear = (drawing.number(name, "risk_1") for name in (subject, "wiener"))
    if mine is None or linear is None:
        return NONE
    verdict = f"In its held-out risk at the data's noise {compare(subject, mine, 'the linear filter', linear)}."
    return f"{verdict} How good it is below that noise, these data cannot tell."
