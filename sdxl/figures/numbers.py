"""Table 1 and Fig. 4: errors of restoration, and distances between generated images and the data."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from harness.wording import several
from sdxl.evaluate.distances import table as distances_table
from sdxl.evaluate.restoration.table import SPACES, mean_and_std, rows_of
from sdxl.evaluate.results import Restoration
from sdxl.figures.runs import FID, RESTORATION, Drawn, Missing, Runs

if TYPE_CHECKING:
    from sdxl.figures.options import FiguresOptions


def restored(runs: Runs, config: FiguresOptions) -> Drawn | Missing:
    """Table 1."""
    used = runs.of(RESTORATION)
    pictures = {f"restoration_{i}": (run.folder / "restoration.png").read_bytes() for i, run in enumerate(used)}
    tables = {f"`{run.label}`, {several(len(run.about.images), 'held-out image')}": errors(run.about) for run in used}
    return Drawn(pictures, used, tables=tables) if used else Missing("errors of restoration")


def errors(results: Restoration) -> list[list[str]]:
    """A table with the error of each model at each level, and how far latent errors of trained models lie apart."""
    levels, by_model = results.levels, {(row["level"], row["model"]): row for row in rows_of(results)}
    spaces = [space for space in SPACES if results.errors.get(space)]
    table = [["error of", "trained at", *(f"t = {level:g}" for level in levels)]]
    for model, space in product(results.models, spaces):
        cells = [mean_and_std(by_model[level, model.name], space) for level in levels]
        table.append([f"{model.name}, {space}", "" if model.t_n is None else f"t_n = {model.t_n:g}", *cells])
    names = [m.name for m in results.models if m.t_n is not None] or [m.name for m in results.models]
    if len(names) > 1:
        means = [[by_model[level, name]["latent_mean"] for name in names] for level in levels]
        table.append(
            ["largest over smallest latent error, less 1", "", *(f"{100 * (max(mean) / min(mean) - 1):.1f} %" for mean in means)]
        )
    return table


def distances(runs: Runs, config: FiguresOptions) -> Drawn | Missing:
    """Fig. 4."""
    used = runs.of(FID)
    pictures = {f"distances_{i}": (run.folder / "distances.png").read_bytes() for i, run in enumerate(used)}
    tables = {f"`{run.label}`, in the features of {run.config.extractor}": distances_table.rows(run.about) for run in used}
    remarks = dict.fromkeys(distances_table.TOO_FEW for run in used if any(row.too_few_for_frechet for row in run.about.rows))
    return Drawn(pictures, used, tables=tables, remarks=tuple(remarks)) if used else Missing("distances between images and data")
