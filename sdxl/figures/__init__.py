"""The paper's figures and its table, in miniature or in full, from what other commands have left: one report page.

    python -m sdxl figures --runs noisy run images attacked memory table1 fid --out figures
    python -m sdxl figures --runs runs/paper/* --data photos --out figures      with the data itself in Fig. 11

`--runs`: any mix of noisy sets, and of directories of train, generate, attack and evaluate; what each one is, is read from what
lies in it. Writes report.html, one file with its pictures inside, and figures/*.png. A figure for which something is missing is
left out, and the page says which command would make it. Nothing is computed but pictures: run it again at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ambient.config import Options, option, parse
from ambient.runs import UserError
from sdxl import options


@dataclass(frozen=True)
class Config(Options):
    """What is shown."""

    runs: tuple[str, ...] = option(
        (), "directories of corrupt, train, generate, attack and evaluate, in any order", group="data", metavar="DIR", path=True,
        required=True,
    )  # fmt: skip
    out: str = options.out("runs/figures", "folder for the page")
    data: str | None = options.source(None, "images to show as the data of Fig. 11", usual="Fig. 11 lacks them")
    split: str = option("", f"{options.SPLIT}, of --data", group="data", metavar="NAME", usual=options.USUAL_SPLIT)
    columns: int = options.count(6, "largest number of pictures in a row", group="output", at_most=1_000)
    dry_run: bool = options.dry_run("print what the directories are and which figures they give, and exit")


def main(argv: list[str]) -> None:
    """Draw what `argv` names."""
    config = parse(Config, argv, prog="python -m sdxl figures", description=__doc__ or "")
    from sdxl.figures import page
    from sdxl.figures.found import Runs
    from sdxl.figures.paper import FIGURES

    if config.data and Path(config.data).is_file():
        raise UserError(f"--data {config.data} is a file; give a folder of images, a dataset, or the word photographs")
    out = Path(config.out)
    if out.is_dir() and not (out / "report.html").exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty and holds no report of figures; take another folder")
    runs = Runs.read(config.runs)
    made = {name: draw(runs, config) for name, draw in FIGURES.items()}
    if config.dry_run:
        return print("\n".join(page.plan(runs, made)))
    page.write(out, runs, made)
    print("\n".join(page.summary(made)) + f"\n-> {out / 'report.html'}")
