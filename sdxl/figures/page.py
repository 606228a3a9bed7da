"""The report page of the figures, and lines for the terminal."""

from __future__ import annotations

from html import escape
from pathlib import Path

from ambient.page import code, folded, highlights, paragraphs, picture, rich, table, write_page
from ambient.runs import write_atomically
from sdxl.corrupt import FEWEST
from sdxl.figures import commands, drawing
from sdxl.figures.found import FID, MEMORY, NOISY, RESTORATION, Found, Runs
from sdxl.figures.outcome import Missing, Shown
from sdxl.figures.paper import PaperFigure
from sdxl.survey import several

PAPER = "*Consistent Diffusion Meets Tweedie* (Daras, Dimakis, Daskalakis 2024)"
Made = dict[PaperFigure, Shown | Missing]


def write(out: Path, runs: Runs, made: Made) -> None:
    """report.html and figures/*.png; pictures of an earlier page go."""
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for old in (out / "figures").glob("*.png"):
        old.unlink()
    for shown in made.values():
        if isinstance(shown, Shown):
            for name, drawn in shown.pictures.items():
                write_atomically(out / "figures" / f"{name}.png", drawing.png(drawn))
    top = paragraphs(f"The figures of {PAPER}, drawn from runs of this repository by `python -m sdxl figures`.", kind="by")
    body = [part for figure, shown in made.items() for part in _section(out, runs, figure, shown)]
    parts = [top, highlights(overview(runs, made), "What is here"), *body, *_read(runs)]
    write_page(out, "The paper's figures, from these runs", parts)


def overview(runs: Runs, made: Made) -> list[str]:
    """Which figures there are, and what to mind of all of them."""
    missing = [figure.name for figure, shown in made.items() if isinstance(shown, Missing)]
    rest = f"; for want of runs {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not." if missing else "."
    found = [f"{len(made) - len(missing)} of {len(made)} are drawn{rest}"]
    if any(one.config.extractor == "tiny" for one in runs.of(FID, MEMORY)):
        found.append("**Similarities and distances here mean nothing:** what sees the images is a tiny random network.")
    for one in runs.of(NOISY):
        if one.about.images < FEWEST:
            holds = f"The set `{one.label}` holds {several(one.about.images, 'image')}"
            found.append(f"{holds}; the paper saw training fail on fewer than {FEWEST}.")
    return found


def _section(out: Path, runs: Runs, figure: PaperFigure, shown: Shown | Missing) -> list[str]:
    head = [f"<h2>{escape(figure.name)}: {escape(figure.title)}</h2>", paragraphs(f"**In the paper.** {figure.paper}")]
    if isinstance(shown, Missing):
        return [*head, paragraphs(f"Not drawn: these runs lack {shown.lacks}. What would make the figure (words in capitals are "
                                  "yours to fill in):", kind="remark"), code("\n".join(shown.commands))]  # fmt: skip
    pictures = [picture(out, name, shown.captions.get(name, ""), wide=True) for name in shown.pictures]
    numbers = [table(shown.table[0], [[rich(cell) for cell in row] for row in shown.table[1]])] if shown.table else []
    made = folded("Made by", code("\n".join(commands.made(one, runs) for one in shown.used)))
    return [*head, paragraphs(f"**Here.** {shown.here}"), *pictures, *numbers, made]


def _read(runs: Runs) -> list[str]:
    rows = [[escape(one.label), escape(one.kind), rich(_told(runs, one))] for one in runs.found]
    return ["<h2>What was read</h2>", table(["directory", "what it is", "of what"], rows)]


def _told(runs: Runs, found: Found) -> str:
    if found.kind == NOISY:
        return f"{several(found.about.images, 'image')} of {found.about.source}, t_n = {', '.join(found.about.levels)}"
    if found.kind == RESTORATION:
        return ", ".join(model.name for model in found.about.models)
    return f"seen by {found.config.extractor}" if found.kind in (FID, MEMORY) else runs.model_of(found)


def plan(runs: Runs, made: Made) -> list[str]:
    """What --dry-run prints."""
    return [*(f"{one.folder}: {one.kind}" for one in runs.found), *summary(made)]


def summary(made: Made) -> list[str]:
    """A line for each figure."""
    return [
        f"{figure.name}: {'missing: ' + shown.lacks if isinstance(shown, Missing) else ', '.join(shown.pictures)}"
        for figure, shown in made.items()
    ]
