"""What comparisons with training images say: lines of histograms, and tables."""

from __future__ import annotations

from harness.copying import COPY
from sdxl.evaluate.memorization.figure import Line
from sdxl.evaluate.memorization.measure import GENERATED, HELD_OUT
from sdxl.evaluate.memorization.table import said, unequal
from sdxl.evaluate.results import Difference
from sdxl.figures.runs import RunFound

Key = tuple[str, str]  # images and kind


def drawn(kind: str) -> bool:
    """One step understates memory: samples are what is compared."""
    return not kind.endswith("one step")


def named(kind: str) -> str:
    return "plain samples" if kind == GENERATED else kind


def lines(memory: RunFound, labels: dict[Key, str]) -> list[Line]:
    """The held-out images, and each of these with its control."""
    found = memory.similarities()
    shown = [Line(HELD_OUT, found[HELD_OUT, ""])] if (HELD_OUT, "") in found else []
    for (name, kind), label in labels.items():
        shown.append(Line(label, found[name, kind], of=label))
        if (f"control of {name}", kind) in found:
            shown.append(Line(f"control of {name}", found[f"control of {name}", kind], of=label, control=True))
    return shown


def shares(memory: RunFound, keys: list[Key]) -> list[list[str]]:
    """The share of almost identical matches among each of these images, among their controls, and among held-out images."""
    rows = {(row.model, row.kind): row for row in memory.about.models}
    table = [["images", f"share above {COPY:g} (95 % interval)", "the same of the control"]]
    for name, kind in keys:
        row = rows[name, kind]
        control = said(row.control.copies) if row.control else ""
        table.append([f"{named(kind)} of {name}", said(row.copies), control])
    baseline = memory.about.baselines.get(HELD_OUT)
    return [*table, [HELD_OUT, said(baseline.copies), ""]] if baseline else table


def warning(memory: RunFound) -> tuple[str, ...]:
    """Where attacks and their controls were compared with sets of different sizes."""
    counts = unequal(memory.about)
    if counts is None:
        return ()
    return (
        f"Mind that in `{memory.label}` attacks are compared with {counts[0]:,} images and their controls with {counts[1]:,}: "
        "among more images the nearest one is nearer, by chance alone.",
    )


def apart(pairs: list[Difference]) -> list[list[str]]:
    """For each pair of models the difference of their mean similarities, and what its interval says."""
    table = [["at", "model", "its similarities lie", "difference of means (95 % interval)"]]
    for row in pairs:
        low, high = row.similarity.interval
        word = "further right than" if low > 0 else "further left than" if high < 0 else "not told apart from"
        difference = f"{signed(row.similarity.mean)} ({signed(low)} to {signed(high)})"
        table.append([row.kind, row.model, f"{word} {row.less}", difference])
    return table


def signed(x: float) -> str:
    """+0.012, 0.000, or with a minus sign."""
    shown = f"{x:+.3f}"
    return shown.replace("-", "\u2212") if float(shown) else "0.000"
