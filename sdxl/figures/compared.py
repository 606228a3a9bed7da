"""What comparisons with training images say: lines of histograms, and words."""

from __future__ import annotations

from sdxl.evaluate.histograms import Line
from sdxl.evaluate.matches import GENERATED, HELD_OUT
from sdxl.evaluate.results import Difference
from sdxl.evaluate.shown import said, unequal
from sdxl.figures.found import Found

Key = tuple[str, str]  # images and kind


def drawn(kind: str) -> bool:
    """One step understates memory: samples are what is compared."""
    return not kind.endswith("one step")


def named(kind: str) -> str:
    return "plain samples" if kind == GENERATED else kind


def lines(memory: Found, labels: dict[Key, str]) -> list[Line]:
    """The held-out images, and each of these with its control."""
    found = memory.similarities()
    shown = [Line(HELD_OUT, found[HELD_OUT, ""])] if (HELD_OUT, "") in found else []
    for (name, kind), label in labels.items():
        shown.append(Line(label, found[name, kind], of=label))
        if (f"control of {name}", kind) in found:
            shown.append(Line(f"control of {name}", found[f"control of {name}", kind], of=label, control=True))
    return shown


def shares(memory: Found, keys: list[Key]) -> str:
    rows = {(row.model, row.kind): row for row in memory.about.models}
    told = []
    for name, kind in keys:
        row = rows[name, kind]
        told.append(f"{named(kind)} of `{name}` {said(row.copies)}")
        told += [f"its control {said(row.control.copies)}"] if row.control else []
    baseline = memory.about.baselines.get(HELD_OUT)
    told += [f"held-out images {said(baseline.copies)}"] if baseline else []
    return "; ".join(told) + "."


def warning(memory: Found) -> str:
    """Where attacks and their controls were compared with sets of different sizes."""
    counts = unequal(memory.about)
    if counts is None:
        return ""
    return (
        f" **Mind that attacks are compared with {counts[0]:,} images here and their controls with {counts[1]:,}:** among more "
        "images the nearest one is nearer, by chance alone."
    )


def apart(row: Difference) -> str:
    """Two models, and whether they are told apart."""
    low, high = row.similarity.interval
    word = "lies further right than" if low > 0 else "lies further left than" if high < 0 else "is not told apart from"
    return f"at {row.kind} `{row.model}` {word} `{row.less}`, {signed(row.similarity.mean)} ({signed(low)} to {signed(high)})"


def signed(x: float) -> str:
    """+0.012, 0.000, or with a minus sign."""
    shown = f"{x:+.3f}"
    return shown.replace("-", "\u2212") if float(shown) else "0.000"
