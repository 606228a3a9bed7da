"""Options of `python -m sdxl figures`."""

from __future__ import annotations

from dataclasses import dataclass

from harness.options import Options, option
from sdxl import options


@dataclass(frozen=True)
class FiguresOptions(Options):
    """The options of the page."""

    runs: tuple[str, ...] = option(
        (), "directories of corrupt, train, generate, attack and evaluate, in any order", group="data", metavar="DIR", path=True,
        required=True,
    )  # fmt: skip
    out: str = options.out("runs/figures", "folder for the page")
    data: str | None = options.source(None, "images to show as the data of Fig. 11", usual="Fig. 11 lacks them")
    split: str = option("", f"{options.SPLIT}, of --data", group="data", metavar="NAME", usual=options.USUAL_SPLIT)
    columns: int = options.count(6, "largest number of pictures in a row", group="output", at_most=1_000)
    dry_run: bool = options.dry_run("print what the directories are and which figures they give, and exit")
