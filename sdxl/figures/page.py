"""The report page of the figures, and lines for the terminal."""

from __future__ import annotations

from pathlib import Path

from harness import page
from harness.files import write_atomically
from harness.wording import several
from sdxl.corrupt.options import FEWEST
from sdxl.figures import commands, drawing
from sdxl.figures.runs import FID, MEMORY, NOISY, RESTORATION, Missing, RunFound, Runs, Shown

Made = dict[str, Shown | Missing]


def write(out: Path, runs: Runs, made: Made) -> None:
    """report.html and figures/*.png; pictures of an earlier page go."""
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for old in (out / "figures").glob("*.png"):
        old.unlink()
    shown = {name: one for name, one in made.items() if isinstance(one, Shown)}
    for one in shown.values():
        for name, drawn in one.pictures.items():
            write_atomically(out / "figures" / f"{name}.png", drawing.png(drawn))
    page.write(
        out, "sdxl", "figures.html.j2", made=made, shown=shown, fewest=FEWEST,
        commands={name: [commands.made(used, runs) for used in one.used] for name, one in shown.items()},
        random_features=any(one.config.extractor == "tiny" for one in runs.of(FID, MEMORY)),
        small=[(one.label, one.about.images) for one in runs.of(NOISY) if one.about.images < FEWEST],
        read=[[one.label, one.kind, _told(runs, one)] for one in runs.found],
    )  # fmt: skip


def _told(runs: Runs, found: RunFound) -> str:
    """Of what a directory is."""
    if found.kind == NOISY:
        return f"{several(found.about.images, 'image')} of {found.about.source}, t_n = {', '.join(found.about.levels)}"
    if found.kind == RESTORATION:
        return ", ".join(model.name for model in found.about.models)
    return f"in the features of {found.config.extractor}" if found.kind in (FID, MEMORY) else runs.model_of(found)


def plan(runs: Runs, made: Made) -> list[str]:
    """What --dry-run prints."""
    return [*(f"{one.folder}: {one.kind}" for one in runs.found), *summary(made)]


def summary(made: Made) -> list[str]:
    """A line for each figure."""
    return [
        f"{name}: {'missing: ' + shown.lacks if isinstance(shown, Missing) else ', '.join(shown.pictures)}"
        for name, shown in made.items()
    ]
