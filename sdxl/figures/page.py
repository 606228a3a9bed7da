"""The report page with the figures of the paper, and lines about them for the terminal."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness import page
from harness.files import write_atomically
from harness.wording import several
from sdxl.corrupt.options import FEWEST
from sdxl.figures import evaluations, samples
from sdxl.figures.options import FiguresOptions
from sdxl.figures.runs import FID, MEMORY, NOISY, RESTORATION, Drawn, Missing, RunDirectory, Runs
from sdxl.images.sheets import png

FIGURES: dict[str, Callable[[Runs, FiguresOptions], Drawn | Missing]] = {  # templates/figures.html.j2 has a text for each
    "Fig. 1": evaluations.masked,
    "Fig. 2": evaluations.noised,
    "Fig. 3": partial(evaluations.attack_and_samples, fine_tuned=False),
    "Fig. 4": evaluations.distances,
    "Table 1": evaluations.restored,
    "Fig. 5": samples.behind_noise,
    "Fig. 6": samples.by_level,
    "Fig. 7": samples.prompts,
    "Fig. 8": evaluations.two_models,
    "Fig. 9": evaluations.filled,
    "Fig. 10": partial(evaluations.attack_and_samples, fine_tuned=True),
    "Fig. 11": samples.other_data,
}


def write(out: Path, runs: Runs, figures: dict[str, Drawn | Missing]) -> None:
    """Write report.html and figures/*.png, and remove the pictures of an earlier page."""
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for earlier in (out / "figures").glob("*.png"):
        earlier.unlink()
    drawn = {name: figure for name, figure in figures.items() if isinstance(figure, Drawn)}
    for figure in drawn.values():
        for name, picture in figure.pictures.items():
            write_atomically(out / "figures" / f"{name}.png", picture if isinstance(picture, bytes) else png(picture))
    page.write(
        out, "sdxl", "figures.html.j2", made=figures, shown=drawn, fewest=FEWEST,
        commands={name: list(dict.fromkeys(map(runs.command, figure.used))) for name, figure in drawn.items()},
        random_features=any(run.config.extractor == "tiny" for run in runs.of(FID, MEMORY)),
        small=[(run.label, run.about.images) for run in runs.of(NOISY) if run.about.images < FEWEST],
        read=[[run.label, run.kind, description(runs, run)] for run in runs.directories],
    )  # fmt: skip


def description(runs: Runs, run: RunDirectory) -> str:
    """The data, the models or the features that a directory is of."""
    if run.kind == NOISY:
        return f"{several(run.about.images, 'image')} of {run.about.source}, t_n = {', '.join(run.about.levels)}"
    if run.kind == RESTORATION:
        return ", ".join(model.name for model in run.about.models)
    return f"in the features of {run.config.extractor}" if run.kind in (FID, MEMORY) else runs.model_of(run)


def summary(figures: dict[str, Drawn | Missing]) -> list[str]:
    """A line for each figure: its pictures, or what it lacks."""
    return [
        f"{name}: {'missing: ' + figure.lacks if isinstance(figure, Missing) else ', '.join(figure.pictures)}"
        for name, figure in figures.items()
    ]
