"""The paper's figures and its table on one report page, from the directories of other commands.

    python -m sdxl figures --runs noisy run images attacked memory table1 fid --out figures
    python -m sdxl figures --runs runs/paper/* --data photos --out figures      with the data itself in Fig. 11

`--runs`: any mix of noisy sets and of directories of train, generate, attack and evaluate, which the command recognises by their
files. Writes report.html, one file with its pictures inside, and figures/*.png. A figure that lacks a directory is left out, and
the page shows the commands that would make it. Only pictures are computed: run the command again at any time.
"""

from __future__ import annotations

from pathlib import Path

from harness.config import parse
from harness.errors import UserError
from sdxl.figures.options import FiguresOptions

OPTIONS = FiguresOptions


def main(argv: list[str]) -> None:
    """Draw the figures of the directories that `argv` names."""
    config = parse(FiguresOptions, argv, prog="python -m sdxl figures", description=__doc__ or "")
    from sdxl.figures import page
    from sdxl.figures.runs import Runs

    if config.data and Path(config.data).is_file():
        raise UserError(f"--data {config.data} is a file; give a folder of images, a dataset, or the word photographs")
    out = Path(config.out)
    if out.is_dir() and not (out / "report.html").exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty and holds no report of figures; take another folder")
    runs = Runs.read(config.runs)
    figures = {name: draw(runs, config) for name, draw in page.FIGURES.items()}
    if config.dry_run:
        return print("\n".join([*(f"{run.folder}: {run.kind}" for run in runs.directories), *page.summary(figures)]))
    page.write(out, runs, figures)
    print("\n".join(page.summary(figures)) + f"\n-> {out / 'report.html'}")
